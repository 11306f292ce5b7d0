//! The newest offset of each key, in bounded memory: Kafka's `SkimpyOffsetMap`.
//!
//! A key is represented by a hash of 128 bits, so its length does not matter. Among a million keys,
//! two collide with a probability of 1 in 10^27. The caller passes a random seed, so clients cannot
//! prepare keys that collide.

use alloc::vec;
use alloc::vec::Vec;

use sedge_protocol::ids::Offset;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::limits::{KEY_LOAD_PERCENT, KEY_SLOTS_MIN};

/// The hash, and the offset plus 1; 0 marks an empty slot.
type Slot = [u64; 3];

const SLOT_BYTES: usize = size_of::<Slot>();

/// A map from keys to offsets; see the module.
#[derive(Debug)]
pub struct KeyOffsets {
    slots: Vec<Slot>,
    slots_max: usize,
    keys: usize,
    seed: u64,
}

impl KeyOffsets {
    /// Creates a map of at most `bytes_max`, including while it grows, but with room for at least
    /// some thousand keys.
    #[must_use]
    pub fn new(bytes_max: usize, seed: u64) -> Self {
        // During the last growth the old table, half the size, and the new one are both in memory.
        let slots_max = (bytes_max / SLOT_BYTES * 2 / 3).max(KEY_SLOTS_MIN);
        Self {
            slots: vec![[0; 3]; KEY_SLOTS_MIN],
            slots_max,
            keys: 0,
            seed,
        }
    }

    #[must_use]
    pub const fn len(&self) -> usize {
        self.keys
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.keys == 0
    }

    /// Records that the key has a record at `offset`; offsets must come in ascending order. Returns
    /// false if there is no room for another key.
    pub fn put(&mut self, key: &[u8], offset: Offset) -> bool {
        let hash = self.hash(key);
        let mut at = self.find(hash);
        if self.is_free(at) {
            if self.keys >= self.slots.len() * KEY_LOAD_PERCENT / 100 {
                if !self.grow() {
                    return false;
                }
                at = self.find(hash);
            }
            self.keys += 1;
        }
        self.set(at, hash, offset);
        true
    }

    /// Returns the newest offset of the key.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<Offset> {
        let slot = self.slots.get(self.find(self.hash(key)))?;
        (slot[2] != 0).then(|| Offset(slot[2].cast_signed() - 1))
    }

    fn hash(&self, key: &[u8]) -> [u64; 2] {
        let hash = xxh3_128_with_seed(key, self.seed);
        [hash as u64, (hash >> 64) as u64]
    }

    /// Returns the slot of the hash, or the free slot for it. There always is a free slot.
    fn find(&self, hash: [u64; 2]) -> usize {
        let count = self.slots.len();
        // The high half of the product spreads hashes evenly over any number of slots.
        let mut at = ((u128::from(hash[0]) * count as u128) >> 64) as usize;
        while self
            .slots
            .get(at)
            .is_some_and(|slot| slot[2] != 0 && slot[..2] != hash)
        {
            at = if at + 1 == count { 0 } else { at + 1 };
        }
        at
    }

    fn is_free(&self, at: usize) -> bool {
        self.slots.get(at).is_some_and(|slot| slot[2] == 0)
    }

    fn set(&mut self, at: usize, hash: [u64; 2], offset: Offset) {
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = [hash[0], hash[1], offset.get().cast_unsigned() + 1];
        }
    }

    fn grow(&mut self) -> bool {
        let count = (self.slots.len() * 2).min(self.slots_max);
        if count <= self.slots.len() {
            return false;
        }
        let old = core::mem::replace(&mut self.slots, vec![[0; 3]; count]);
        for [low, high, offset] in old.into_iter().filter(|slot| slot[2] != 0) {
            let at = self.find([low, high]);
            self.set(at, [low, high], Offset(offset.cast_signed() - 1));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_offset_of_each_key_is_known() {
        let mut map = KeyOffsets::new(1 << 20, 7);
        for offset in 0..20_000_i64 {
            let key = (offset % 9_000).to_be_bytes();
            assert!(map.put(&key, Offset(offset)));
        }
        assert_eq!(map.len(), 9_000);
        for key in 0..9_000_i64 {
            let newest = if key < 2_000 {
                key + 18_000
            } else {
                key + 9_000
            };
            assert_eq!(map.get(&key.to_be_bytes()), Some(Offset(newest)));
        }
        assert_eq!(map.get(b"another"), None);
        assert_eq!(KeyOffsets::new(0, 0).get(b""), None);
    }

    #[test]
    fn a_full_map_refuses_new_keys_and_takes_known_ones() {
        for bytes_max in [0, 200_000, 1 << 20, 3_000_000] {
            let mut map = KeyOffsets::new(bytes_max, 1);
            let mut count = 0_i64;
            while map.put(&count.to_be_bytes(), Offset(count)) {
                count += 1;
                assert!(map.slots.len() * SLOT_BYTES <= bytes_max.max(KEY_SLOTS_MIN * SLOT_BYTES));
            }
            let room = bytes_max / SLOT_BYTES * 2 / 3;
            let keys = room.max(KEY_SLOTS_MIN) * KEY_LOAD_PERCENT / 100;
            assert_eq!((count as usize, map.len()), (keys, keys));
            assert!(map.put(&0_i64.to_be_bytes(), Offset(count)));
            assert_eq!(map.get(&0_i64.to_be_bytes()), Some(Offset(count)));
            assert_eq!(map.get(&count.to_be_bytes()), None);
        }
    }
}

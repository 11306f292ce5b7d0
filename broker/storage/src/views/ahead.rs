//! Reads stretches of the log's views from the base in advance.
//!
//! A commit that changes a long stretch reads it first, under the lock that every reader needs. The
//! base may be slow just then: fjall holds a lock of its own while it writes its list of tables to
//! the disk, with four fsyncs. So the stretch is read before the lock is taken.
//!
//! **Invariant:** the base must not have changed since the read: the caller checks that nothing was
//! flushed.

use std::collections::BTreeMap;

use super::reserve::Reserve;
use super::tables::LogKey;
use super::{Base, Change, KeyValue, Space};
use crate::error::Error;

/// The base, with the stretches that were read from it.
#[derive(Debug)]
pub(crate) struct Ahead<'a> {
    base: &'a dyn Base,
    stretches: Vec<Stretch>,
}

/// All keys in `low..=high`.
#[derive(Debug)]
struct Stretch {
    low: Vec<u8>,
    high: Vec<u8>,
    found: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Stretch {
    fn covers(&self, low: &[u8], high: &[u8]) -> bool {
        *self.low <= *low && *high <= *self.high
    }
}

impl<'a> Ahead<'a> {
    pub fn new(base: &'a dyn Base) -> Self {
        Self {
            base,
            stretches: Vec::new(),
        }
    }

    /// Reads `low..=high`, and the last key before that is not below `floor`. The three differ only
    /// in the offset.
    pub fn read(&mut self, floor: LogKey, low: LogKey, high: LogKey) -> Result<(), Error> {
        let mut found = BTreeMap::new();
        self.base.scan(
            Space::Log,
            &low.encode(),
            Some(&high.encode()),
            &mut |key, value| {
                found.insert(key.to_vec(), value.to_vec());
                true
            },
        )?;
        let mut from = floor;
        if low.offset > floor.offset {
            let mut before = low;
            before.offset -= 1;
            let last = self
                .base
                .last(Space::Log, &floor.encode(), &before.encode())?;
            if let Some((key, value)) = last {
                from = LogKey::decode(&key).ok_or(Error::ViewEntry { view: "log" })?;
                found.insert(key, value);
            }
        }
        self.stretches.push(Stretch {
            low: from.encode().to_vec(),
            high: high.encode().to_vec(),
            found,
        });
        Ok(())
    }

    /// Returns the stretch that covers the base's keys in `low..=high`.
    fn of(&self, space: Space, low: &[u8], high: &[u8]) -> Option<&Stretch> {
        let mut stretches = self.stretches.iter();
        stretches.find(|stretch| space == Space::Log && stretch.covers(low, high))
    }
}

impl Base for Ahead<'_> {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        match self.of(space, key, key) {
            Some(stretch) => Ok(stretch.found.get(key).cloned()),
            None => self.base.get(space, key),
        }
    }

    fn last(&self, space: Space, low: &[u8], high: &[u8]) -> Result<Option<KeyValue>, Error> {
        // A stretch that has the key need not reach down to the end of the search.
        if let Some(stretch) = self.of(space, high, high) {
            let last = stretch.found.range(..=high.to_vec()).next_back();
            if let Some((key, value)) = last.filter(|(key, _)| ***key >= *low) {
                return Ok(Some((key.clone(), value.clone())));
            }
            if *low >= *stretch.low {
                return Ok(None);
            }
        }
        self.base.last(space, low, high)
    }

    fn scan(
        &self,
        space: Space,
        low: &[u8],
        high: Option<&[u8]>,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        let stretch = high.and_then(|high| Some((self.of(space, low, high)?, high)));
        let Some((stretch, high)) = stretch else {
            return self.base.scan(space, low, high, each);
        };
        if low <= high {
            for (key, value) in stretch.found.range(low.to_vec()..=high.to_vec()) {
                if !each(key, value) {
                    break;
                }
            }
        }
        Ok(())
    }

    fn write(&self, changes: Vec<Change>) -> Result<(), Error> {
        self.base.write(changes)
    }

    fn sync(&self) -> Result<(), Error> {
        self.base.sync()
    }

    fn reserve(&self) -> Option<&Reserve> {
        self.base.reserve()
    }
}

#[cfg(test)]
mod tests {
    use sedge_protocol::ids::{Offset, PartitionId};

    use super::*;
    use crate::views::memory_base::MemoryBase;

    const KEYS: std::ops::Range<i64> = 0..40;

    fn key(partition: u32, offset: i64) -> LogKey {
        LogKey::run(PartitionId(partition), Offset(offset))
    }

    /// Fills a base with every third offset of three partitions.
    fn base() -> MemoryBase {
        let base = MemoryBase::new();
        let offsets = KEYS.step_by(3);
        let keys = (0..3).flat_map(|of| offsets.clone().map(move |offset| key(of, offset)));
        let changes = keys.map(|key| Change {
            space: Space::Log,
            key: key.encode().to_vec(),
            value: Some(key.encode().to_vec()),
        });
        base.write(changes.collect()).unwrap();
        base
    }

    fn scanned(base: &dyn Base, low: LogKey, high: LogKey) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        let mut each = |key: &[u8], _: &[u8]| {
            found.push(key.to_vec());
            true
        };
        base.scan(Space::Log, &low.encode(), Some(&high.encode()), &mut each)
            .unwrap();
        found
    }

    #[test]
    fn it_says_what_the_base_says() {
        let base = base();
        for (low, high) in [(0, 39), (10, 20), (1, 2), (12, 12), (30, 100)] {
            let mut ahead = Ahead::new(&base);
            ahead.read(key(1, 0), key(1, low), key(1, high)).unwrap();
            for partition in 0..3 {
                for from in KEYS {
                    let one = key(partition, from).encode();
                    let got = |of: &dyn Base| of.get(Space::Log, &one).unwrap();
                    assert_eq!(got(&ahead), got(&base));
                    for to in from..KEYS.end {
                        let (from, to) = (key(partition, from), key(partition, to));
                        let last = |of: &dyn Base| {
                            of.last(Space::Log, &from.encode(), &to.encode()).unwrap()
                        };
                        assert_eq!(last(&ahead), last(&base), "{from:?}..={to:?}");
                        assert_eq!(scanned(&ahead, from, to), scanned(&base, from, to));
                    }
                }
            }
        }
    }

    #[test]
    fn a_stretch_that_was_read_is_not_read_again() {
        let base = base();
        let mut ahead = Ahead::new(&base);
        ahead.read(key(1, 0), key(1, 10), key(1, 20)).unwrap();
        base.clear();
        assert_eq!(scanned(&ahead, key(1, 10), key(1, 20)).len(), 3);
        let last = ahead.last(Space::Log, &key(1, 0).encode(), &key(1, 11).encode());
        assert_eq!(last.unwrap().unwrap().0, key(1, 9).encode().to_vec());
        assert_eq!(ahead.get(Space::Log, &key(1, 21).encode()).unwrap(), None);
    }
}

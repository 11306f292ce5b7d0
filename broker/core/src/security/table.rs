//! A hash map keyed by name, with constant-time lookups.

use alloc::sync::Arc;
use core::fmt;

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

/// A hash map from names to values. Iteration order is unspecified.
#[derive(Clone)]
pub struct Table<V>(HashTable<(Arc<str>, V)>);

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self(HashTable::new())
    }
}

impl<V: fmt::Debug> fmt::Debug for Table<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<V> Table<V> {
    /// Returns the value of `name`, which is in bytes because a prefix can end inside a character.
    pub fn get(&self, name: &[u8]) -> Option<&V> {
        let is_it = |(known, _): &(Arc<str>, V)| known.as_bytes() == name;
        let found = self.0.find(xxh3_64(name), is_it);
        found.map(|(_, value)| value)
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut V> {
        let is_it = |(known, _): &(Arc<str>, V)| &**known == name;
        let found = self.0.find_mut(xxh3_64(name.as_bytes()), is_it);
        found.map(|(_, value)| value)
    }

    pub fn get_or_default(&mut self, name: &Arc<str>) -> &mut V
    where
        V: Default,
    {
        let is_it = |(known, _): &(Arc<str>, V)| known == name;
        let entry = self.0.entry(xxh3_64(name.as_bytes()), is_it, hash);
        let entry = entry.or_insert_with(|| (Arc::clone(name), V::default()));
        &mut entry.into_mut().1
    }

    /// Removes a name. Returns its value.
    pub fn remove(&mut self, name: &str) -> Option<V> {
        let is_it = |(known, _): &(Arc<str>, V)| &**known == name;
        let found = self.0.find_entry(xxh3_64(name.as_bytes()), is_it).ok()?;
        let ((_, value), _) = found.remove();
        // Free the memory of a table that was large once.
        if self.0.len() < self.0.capacity() / 4 {
            self.0.shrink_to_fit(hash);
        }
        Some(value)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &V)> {
        self.0.iter().map(|(name, value)| (name, value))
    }
}

fn hash<V>((name, _): &(Arc<str>, V)) -> u64 {
    xxh3_64(name.as_bytes())
}

//! A base in memory, for tests: it can be made to fail, and copied as after a kill or a power cut.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::reserve::Reserve;
use super::{Base, Change, KeyValue, Space};
use crate::disk::memory::Fuse;
use crate::error::Error;

type Map = BTreeMap<(Space, Vec<u8>), Vec<u8>>;

/// The most flushes that a power cut may undo.
const UNDONE_MAX: usize = 4;

/// A base in memory. Clones share the map.
#[derive(Clone, Debug, Default)]
pub struct MemoryBase {
    map: Arc<Mutex<Map>>,
    /// The map before each of the last flushes.
    before: Arc<Mutex<VecDeque<Map>>>,
    failing: Arc<AtomicBool>,
    fuse: Fuse,
}

impl MemoryBase {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes `write` fail from now on, or work again.
    pub fn set_failing(&self, failing: bool) {
        self.failing.store(failing, Ordering::SeqCst);
    }

    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::SeqCst)
    }

    /// Removes everything, like removing the directory.
    pub fn clear(&self) {
        self.map().clear();
    }

    /// Shares the fuse of a disk.
    #[must_use]
    pub fn with_fuse(mut self, fuse: Fuse) -> Self {
        self.fuse = fuse;
        self
    }

    /// Returns the base as another process would find it.
    #[must_use]
    pub fn copy(&self) -> Self {
        let map = self.map().clone();
        Self {
            map: Arc::new(Mutex::new(map)),
            ..Self::default()
        }
    }

    /// Returns the base after a power cut: some of the flushes since the last sync may be undone.
    /// `choose` picks one of the given number of states, the last of which is the newest.
    #[must_use]
    pub fn cut_power(&self, choose: &mut dyn FnMut(usize) -> usize) -> Self {
        let before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        match before.get(choose(before.len() + 1)) {
            Some(map) => Self {
                map: Arc::new(Mutex::new(map.clone())),
                ..Self::default()
            },
            None => self.copy(),
        }
    }

    fn map(&self) -> MutexGuard<'_, Map> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Base for MemoryBase {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.map().get(&(space, key.to_vec())).cloned())
    }

    fn last(&self, space: Space, low: &[u8], high: &[u8]) -> Result<Option<KeyValue>, Error> {
        let map = self.map();
        let range = (space, low.to_vec())..=(space, high.to_vec());
        Ok(map
            .range(range)
            .next_back()
            .map(|((_, key), value)| (key.clone(), value.clone())))
    }

    fn scan(
        &self,
        space: Space,
        low: &[u8],
        high: Option<&[u8]>,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        // One key at a time, so that `each` may call back in.
        let mut from = Bound::Included((space, low.to_vec()));
        loop {
            let found = {
                let map = self.map();
                let next = map.range((from, Bound::Unbounded)).next();
                next.map(|((of, key), value)| (*of, key.clone(), value.clone()))
            };
            match found {
                Some((of, key, value))
                    if of == space
                        && high.is_none_or(|high| &key[..] <= high)
                        && each(&key, &value) =>
                {
                    from = Bound::Excluded((space, key));
                }
                _ => return Ok(()),
            }
        }
    }

    fn write(&self, changes: Vec<Change>) -> Result<(), Error> {
        if self.failing.load(Ordering::SeqCst) || !self.fuse.burn() {
            return Err(Error::Full);
        }
        let mut map = self.map();
        {
            let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
            if before.len() == UNDONE_MAX {
                before.pop_front();
            }
            before.push_back(map.clone());
        }
        for change in changes {
            let key = (change.space, change.key);
            match change.value {
                Some(value) => map.insert(key, value),
                None => map.remove(&key),
            };
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), Error> {
        self.before
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        Ok(())
    }

    fn reserve(&self) -> Option<&Reserve> {
        None
    }
}

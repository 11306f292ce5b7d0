//! The state of a filter for one partition: a small map, bounded, whose changes are undone unless
//! they are written.
//!
//! A batch changes the map at once, and the map keeps what was there before. What the caller
//! writes of it ([`StateTable::changes`]) is one value for each key, however often the key was
//! changed; [`StateTable::commit`] or [`StateTable::undo`] ends the batch.
//!
//! **Invariant:** the bytes of a table, and of all tables of a budget, are at most their limits,
//! unless more was restored. Keys that a batch removes count until the batch ends, so a plugin that
//! adds and removes keys without end meets the limit too.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use wasmtime::component::{ComponentType, Lower};

use crate::{
    limits::{STATE_ENTRY_BYTES, STATE_KEY_BYTES_MAX, STATE_VALUE_BYTES_MAX},
    state_value::Value,
};

/// The map of one plugin for one partition of a topic.
#[derive(Debug)]
pub struct StateTable {
    /// The places of keys in `entries`.
    places: HashMap<Arc<[u8]>, usize>,
    entries: Vec<Entry>,
    /// The places in `entries` that no key has.
    free: Vec<usize>,
    /// The place that was found last: most keys are got and then put.
    found: Option<usize>,
    /// The short value that was got last. Its memory is used again.
    got: Arc<[u8]>,
    /// The places of what the batch changed, each once.
    changed: Vec<usize>,
    bytes: usize,
    /// The bytes before the batch.
    bytes_before: usize,
    budget: Arc<StateBudget>,
    refused: u64,
}

#[derive(Debug)]
struct Entry {
    key: Arc<[u8]>,
    /// `None` if the batch removed the key, or if no key has the place.
    value: Option<Value>,
    before: Before,
}

/// The value of a key before the batch.
#[derive(Debug)]
enum Before {
    /// The batch did not change it.
    Same,
    /// `None` if there was none.
    Was(Option<Value>),
}

impl Before {
    const fn is_same(&self) -> bool {
        matches!(self, Self::Same)
    }
}

/// The bytes of all tables.
#[derive(Debug)]
pub struct StateBudget {
    bytes: AtomicUsize,
    bytes_max: usize,
    /// The same for one table.
    table_bytes_max: usize,
}

/// Reason why a put changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
pub enum StateRefusal {
    #[component(name = "key-too-large")]
    KeyTooLarge,
    #[component(name = "value-too-large")]
    ValueTooLarge,
    /// The table, or all of them together, would be larger than allowed.
    #[component(name = "full")]
    Full,
}

/// A plugin used its state while it was not called with a batch.
#[derive(Debug)]
pub struct NoBatch;

impl StateBudget {
    #[must_use]
    pub const fn new(table_bytes_max: usize, bytes_max: usize) -> Self {
        Self {
            bytes: AtomicUsize::new(0),
            bytes_max,
            table_bytes_max,
        }
    }

    /// Returns the bytes of all tables.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let has_room = before.saturating_add(bytes) <= self.bytes_max;
        if !has_room {
            self.give_back(bytes);
        }
        has_room
    }

    fn give_back(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Bytes that a key and its value count.
const fn cost(key: &[u8], value: usize) -> usize {
    STATE_ENTRY_BYTES + key.len() + value
}

impl StateTable {
    #[must_use]
    pub fn new(budget: &Arc<StateBudget>) -> Self {
        Self {
            places: HashMap::new(),
            entries: Vec::new(),
            free: Vec::new(),
            found: None,
            got: Arc::default(),
            changed: Vec::new(),
            bytes: 0,
            bytes_before: 0,
            budget: Arc::clone(budget),
            refused: 0,
        }
    }

    /// Sets or removes a key as a start reads it from the log, whatever the limits are by now.
    pub fn restore(&mut self, key: &[u8], value: Option<&[u8]>) {
        if let Some(place) = self.find(key)
            && let Some(entry) = self.entries.get_mut(place)
        {
            let bytes = cost(
                key,
                entry.value.take().map_or(0, |value| value.bytes().len()),
            );
            self.bytes -= bytes;
            self.budget.give_back(bytes);
            self.free(place);
        }
        if let Some(value) = value {
            let bytes = cost(key, value.len());
            self.bytes += bytes;
            self.budget.bytes.fetch_add(bytes, Ordering::Relaxed);
            self.insert(key, value, Before::Same);
        }
        self.bytes_before = self.bytes;
    }

    /// Gives a new key a place. Returns the place.
    fn insert(&mut self, key: &[u8], value: &[u8], before: Before) -> usize {
        let key: Arc<[u8]> = key.into();
        let entry = Entry {
            key: Arc::clone(&key),
            value: Some(value.into()),
            before,
        };
        let free = self.free.pop();
        let place = free.unwrap_or(self.entries.len());
        match self.entries.get_mut(place) {
            Some(of) => *of = entry,
            None => self.entries.push(entry),
        }
        self.places.insert(key, place);
        place
    }

    /// Forgets the key of a place.
    fn free(&mut self, place: usize) {
        if let Some(entry) = self.entries.get_mut(place) {
            let key = std::mem::take(&mut entry.key);
            self.places.remove(&key);
            (entry.value, entry.before) = (None, Before::Same);
            self.free.push(place);
            self.found = None;
        }
    }

    /// Returns the place of a key.
    fn find(&mut self, key: &[u8]) -> Option<usize> {
        let found = self.found.and_then(|place| self.entries.get(place));
        if found.is_none_or(|entry| *entry.key != *key) {
            self.found = self.places.get(key).copied();
        }
        self.found
    }

    /// Returns the value of a key.
    #[must_use]
    pub fn get(&mut self, key: &[u8]) -> Option<Arc<[u8]>> {
        let place = self.find(key)?;
        let value = self.entries.get(place)?.value.as_ref()?;
        Some(value.shared(&mut self.got))
    }

    /// Sets the value of a key.
    ///
    /// # Errors
    /// The key or the value is too large, or there is no room for them.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateRefusal> {
        if key.len() > STATE_KEY_BYTES_MAX {
            return Err(StateRefusal::KeyTooLarge);
        }
        if value.len() > STATE_VALUE_BYTES_MAX {
            return Err(StateRefusal::ValueTooLarge);
        }
        let place = self.find(key);
        let Some((place, entry)) = place.and_then(|at| Some((at, self.entries.get_mut(at)?)))
        else {
            Self::grow(&mut self.bytes, &self.budget, cost(key, value.len()))
                .inspect_err(|_| self.refused += 1)?;
            let place = self.insert(key, value, Before::Was(None));
            self.changed.push(place);
            return Ok(());
        };
        let old = entry.value.as_ref().map_or(0, |value| value.bytes().len());
        let grown = value.len().saturating_sub(old);
        if grown > 0 {
            Self::grow(&mut self.bytes, &self.budget, grown).inspect_err(|_| self.refused += 1)?;
        }
        let shrunk = old.saturating_sub(value.len());
        if shrunk > 0 {
            self.bytes -= shrunk;
            self.budget.give_back(shrunk);
        }
        if entry.before.is_same() {
            if entry.value.as_ref().map(Value::bytes) == Some(value) {
                return Ok(());
            }
            entry.before = Before::Was(entry.value.take());
            self.changed.push(place);
        }
        entry.value = Some(value.into());
        Ok(())
    }

    fn grow(bytes: &mut usize, budget: &StateBudget, by: usize) -> Result<(), StateRefusal> {
        let has_room = bytes.saturating_add(by) <= budget.table_bytes_max;
        if !has_room || !budget.take(by) {
            return Err(StateRefusal::Full);
        }
        *bytes += by;
        Ok(())
    }

    /// Removes a key.
    pub fn delete(&mut self, key: &[u8]) {
        let Some(place) = self.find(key) else {
            return;
        };
        let Some(entry) = self.entries.get_mut(place) else {
            return;
        };
        let Some(value) = entry.value.take() else {
            return;
        };
        // The key itself counts until the batch ends.
        let bytes = value.bytes().len();
        self.bytes -= bytes;
        self.budget.give_back(bytes);
        if entry.before.is_same() {
            entry.before = Before::Was(Some(value));
            self.changed.push(place);
        }
    }

    /// Returns what the batch changed: each key with its value, or `None` if it is removed. Keys
    /// that have the value of before are not among them.
    pub fn changes(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.changed.iter().filter_map(|place| {
            let entry = self.entries.get(*place)?;
            match &entry.before {
                Before::Was(before) if *before != entry.value => {
                    Some((&*entry.key, entry.value.as_ref().map(Value::bytes)))
                }
                _ => None,
            }
        })
    }

    /// Ends the batch with its changes.
    pub fn commit(&mut self) {
        let mut changed = std::mem::take(&mut self.changed);
        for place in changed.drain(..) {
            let Some(entry) = self.entries.get_mut(place) else {
                continue;
            };
            entry.before = Before::Same;
            if entry.value.is_none() {
                let bytes = cost(&entry.key, 0);
                self.bytes -= bytes;
                self.budget.give_back(bytes);
                self.free(place);
            }
        }
        // Its memory is used again.
        self.changed = changed;
        self.bytes_before = self.bytes;
    }

    /// Ends the batch without its changes.
    pub fn undo(&mut self) {
        for place in std::mem::take(&mut self.changed) {
            let Some(entry) = self.entries.get_mut(place) else {
                continue;
            };
            match std::mem::replace(&mut entry.before, Before::Same) {
                Before::Same => {}
                Before::Was(Some(value)) => entry.value = Some(value),
                Before::Was(None) => self.free(place),
            }
        }
        let now = self.bytes;
        self.bytes = self.bytes_before;
        // What was there before has its place again, even if other tables have grown meanwhile.
        self.budget.bytes.fetch_add(self.bytes, Ordering::Relaxed);
        self.budget.give_back(now);
    }

    /// Returns the number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Returns the bytes that count against the limit.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns how many puts were refused for lack of room since the last time, and forgets that.
    pub fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    /// Returns all keys with their values, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let entries = self.entries.iter();
        entries.filter_map(|entry| Some((&*entry.key, entry.value.as_ref()?.bytes())))
    }
}

impl Drop for StateTable {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

impl fmt::Display for NoBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it used its state while it was not called with a batch")
    }
}

impl std::error::Error for NoBatch {}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(table_bytes_max: usize, bytes_max: usize) -> (StateTable, Arc<StateBudget>) {
        let budget = Arc::new(StateBudget::new(table_bytes_max, bytes_max));
        (StateTable::new(&budget), budget)
    }

    fn content(table: &StateTable) -> Vec<(Vec<u8>, Vec<u8>)> {
        let entries = table.iter();
        let mut content: Vec<_> = entries
            .map(|(key, value)| (key.to_vec(), value.to_vec()))
            .collect();
        content.sort();
        content
    }

    fn changes(table: &StateTable) -> Vec<(&[u8], Option<&[u8]>)> {
        table.changes().collect()
    }

    #[test]
    fn a_key_that_is_changed_twice_is_one_change() {
        let (mut table, _) = table(1 << 20, 1 << 20);
        table.restore(b"old", Some(b"1"));
        table.restore(b"same", Some(b"1"));
        for value in [b"2", b"3", b"4"] {
            table.put(b"old", value).unwrap();
            table.put(b"new", value).unwrap();
        }
        table.put(b"same", b"1").unwrap();
        table.put(b"passing", b"1").unwrap();
        table.delete(b"passing");
        assert_eq!(
            changes(&table),
            [(&b"old"[..], Some(&b"4"[..])), (b"new", Some(b"4"))]
        );
        table.commit();
        assert_eq!(changes(&table), []);
        // Back to what was there.
        table.put(b"old", b"5").unwrap();
        table.put(b"old", b"4").unwrap();
        table.delete(b"new");
        table.delete(b"new");
        assert_eq!(changes(&table), [(&b"new"[..], None)]);
    }

    #[test]
    fn what_is_undone_leaves_no_trace() {
        let (mut table, budget) = table(1 << 20, 1 << 20);
        table.restore(b"a", Some(b"1"));
        table.restore(b"b", Some(b"long value"));
        let (before, bytes) = (content(&table), table.bytes());
        for round in 0..3 {
            table.put(b"a", b"a longer value").unwrap();
            table.delete(b"b");
            table.put(b"b", b"2").unwrap();
            table.put(b"c", b"3").unwrap();
            table.delete(b"a");
            assert_eq!(content(&table).len(), 2);
            table.undo();
            assert_eq!(content(&table), before, "{round}");
            assert_eq!((table.bytes(), budget.bytes()), (bytes, bytes), "{round}");
            assert_eq!(changes(&table), []);
        }
        drop(table);
        assert_eq!(budget.bytes(), 0);
    }

    #[test]
    fn bytes_are_those_of_what_is_there() {
        let (mut table, budget) = table(1 << 20, 1 << 20);
        table.put(b"abc", b"12345").unwrap();
        table.put(b"abc", b"1").unwrap();
        table.put(b"", b"").unwrap();
        table.put(b"gone", b"123").unwrap();
        table.delete(b"gone");
        table.commit();
        assert_eq!(table.bytes(), 2 * STATE_ENTRY_BYTES + 3 + 1);
        assert_eq!(budget.bytes(), table.bytes());
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn a_table_and_all_together_are_bounded() {
        let (mut one, budget) = table(1_000, 1_500);
        let mut other = StateTable::new(&budget);
        let fill = |table: &mut StateTable| {
            let keys = (0..100_u32).map(u32::to_be_bytes);
            let taken = keys.take_while(|key| table.put(key, &[7; 20]).is_ok());
            let taken = taken.count();
            assert_eq!(table.put(b"more", &[7; 20]), Err(StateRefusal::Full));
            taken
        };
        assert_eq!(fill(&mut one), 1_000 / (STATE_ENTRY_BYTES + 24));
        assert_eq!(one.take_refused(), 2);
        fill(&mut other);
        assert!(budget.bytes() <= 1_500, "{}", budget.bytes());
        assert_eq!(one.put(&[0; 4], &[7; 500]), Err(StateRefusal::Full));
        one.put(&0_u32.to_be_bytes(), &[8; 20])
            .expect("the same size");
        let key = [0; STATE_KEY_BYTES_MAX + 1];
        assert_eq!(one.put(&key, &[]), Err(StateRefusal::KeyTooLarge));
        let value = vec![0; STATE_VALUE_BYTES_MAX + 1];
        assert_eq!(one.put(&[], &value), Err(StateRefusal::ValueTooLarge));
        one.undo();
        other.undo();
        assert_eq!(budget.bytes(), 0);
    }

    #[test]
    fn places_are_used_again() {
        let (mut table, _) = table(1 << 20, 1 << 20);
        for round in 0..10_u8 {
            for key in 0..10 {
                table.put(&[round, key], &[key; 40]).unwrap();
            }
            table.commit();
            for key in 0..10 {
                table.delete(&[round, key]);
            }
            table.put(&[round, 3], b"after all").unwrap();
            table.undo();
            assert_eq!(table.get(&[round, 3]).as_deref(), Some(&[3; 40][..]));
            for key in 0..10 {
                table.delete(&[round, key]);
            }
            table.commit();
            assert_eq!((table.len(), table.entries.len()), (0, 10));
        }
    }

    /// Keys that are added and removed in one batch took memory without a limit.
    #[test]
    fn keys_that_come_and_go_within_a_batch_are_bounded() {
        let (mut table, _) = table(10_000, 1 << 20);
        let full = (0..1_000_u32).find(|number| {
            let key = number.to_be_bytes();
            let put = table.put(&key, b"");
            table.delete(&key);
            put == Err(StateRefusal::Full)
        });
        assert!(full.is_some());
        table.commit();
        assert_eq!((table.bytes(), table.len()), (0, 0));
    }

    /// The place that was found last has another key by now, or none.
    #[test]
    fn a_place_is_found_only_by_its_key() {
        let (mut table, _) = table(1 << 20, 1 << 20);
        table.put(b"a", b"1").unwrap();
        table.put(b"b", b"22").unwrap();
        let got = [table.get(b"a"), table.get(b"b"), table.get(b"a")];
        let got = got.each_ref().map(|value| value.as_deref());
        assert_eq!(got, [Some(&b"1"[..]), Some(b"22"), Some(b"1")]);
        table.undo();
        assert_eq!((table.get(b"a"), table.get(b"")), (None, None));
        table.put(b"", b"3").unwrap();
        assert_eq!(table.get(b"").as_deref(), Some(&b"3"[..]));
        assert_eq!(table.get(b"a"), None);
        table.restore(b"", None);
        assert_eq!((table.get(b""), table.len()), (None, 0));
    }

    #[test]
    fn what_was_restored_may_be_more_than_the_limits_by_now() {
        let (mut table, _) = table(100, 100);
        table.restore(b"a", Some(&[7; 500]));
        table.restore(b"a", Some(&[8; 600]));
        assert_eq!(table.put(b"b", b""), Err(StateRefusal::Full));
        assert_eq!(table.put(b"a", &[9; 601]), Err(StateRefusal::Full));
        table.put(b"a", &[9; 100]).expect("it shrinks");
        table.restore(b"a", None);
        assert_eq!(table.bytes(), 0);
    }
}

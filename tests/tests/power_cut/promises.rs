//! The broker's promises, each with the moment (a number of writes and flushes of the disk) before
//! which it was made.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A record. Without a value, it removes its key.
#[derive(Debug, PartialEq, Eq)]
pub struct Written {
    pub moment: usize,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

/// A partition.
pub type Of = (&'static str, i32);

/// A partition as a client read it. What was missing then may not come back after a cut later than
/// `moment`: a later write behind all of it in the log was acknowledged after the read.
#[derive(Debug)]
pub struct Seen {
    pub moment: usize,
    pub of: Of,
    pub log_start: i64,
    /// For a compacted topic, the existing offsets, and the offset up to which it was read.
    pub records: Option<(BTreeSet<i64>, i64)>,
}

#[derive(Debug, Default)]
pub struct Promises {
    /// Everything that was written, by offset; each record was acknowledged in the end.
    pub logs: BTreeMap<Of, BTreeMap<i64, Written>>,
    /// Log starts that clients asked for.
    pub asked_starts: BTreeMap<Of, i64>,
    pub deletions: usize,
    /// Log starts that were acknowledged, and partitions as read.
    pub seen: Vec<Seen>,
    pub deleted_topics: Vec<(usize, String)>,
}

/// The promises, behind a lock.
#[derive(Debug, Default)]
pub struct Shared(Mutex<Promises>);

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, Promises> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn into_inner(self) -> Promises {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Promises {
    /// Records acknowledgements from offset `base` on.
    pub fn wrote(&mut self, of: Of, base: i64, records: impl IntoIterator<Item = Written>) {
        let log = self.logs.entry(of).or_default();
        for (offset, record) in (base..).zip(records) {
            let before = log.insert(offset, record);
            assert!(before.is_none(), "{of:?}: {offset} was given twice");
        }
    }

    /// Returns the moment of the first acknowledgement.
    pub fn first_moment(&self) -> usize {
        let moments = self.logs.values().flat_map(BTreeMap::values);
        let first = moments.map(|record| record.moment).min();
        first.expect("something was written")
    }

    /// Returns the lowest permitted log start.
    pub fn log_start(&self, of: Of, moment: usize) -> i64 {
        let known = self.seen_of(of, moment).map(|seen| seen.log_start);
        known.max().unwrap_or(0)
    }

    /// Returns the last read of a compacted log.
    pub fn last_read(&self, of: Of, moment: usize) -> Option<&(BTreeSet<i64>, i64)> {
        let read = self.seen_of(of, moment).filter(|of| of.records.is_some());
        read.max_by_key(|seen| seen.moment)
            .and_then(|seen| seen.records.as_ref())
    }

    /// Returns the end of the acknowledged records.
    pub fn acknowledged_end(&self, of: Of, moment: usize) -> i64 {
        let log = self.logs.get(&of).into_iter().flatten();
        let acknowledged = log.filter(|(_, record)| record.moment <= moment);
        acknowledged
            .map(|(offset, _)| offset + 1)
            .max()
            .unwrap_or(0)
    }

    fn seen_of(&self, of: Of, moment: usize) -> impl Iterator<Item = &Seen> {
        let until = move |seen: &&Seen| seen.of == of && seen.moment <= moment;
        self.seen.iter().filter(until)
    }
}

impl fmt::Display for Promises {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let records: usize = self.logs.values().map(BTreeMap::len).sum();
        let reads = self.seen.iter().filter(|seen| seen.records.is_some());
        write!(
            f,
            "{records} records, {} deletions of records, {} deleted topics acknowledged, {} reads of \
             compacted partitions",
            self.deletions,
            self.deleted_topics.len(),
            reads.count()
        )
    }
}

//! Checks the state after a start on the disk that a cut left.
//!
//! For a cut at moment *m*, and for each partition with log start *s* and log end *e* after the
//! start:
//!
//! - *e* is behind everything acknowledged before *m*;
//! - *s* is not before a log start that was acknowledged or seen before *m*; if only clients
//!   delete, *s* is not behind what they asked for; and if retention is by size, at least
//!   `retention.bytes` are left;
//! - every record is, byte for byte, one that was written at its offset;
//! - if the log is not compacted, all offsets from *s* to *e* are there;
//! - if it is compacted, a consumer from *s* ends with the keys and values that result from
//!   everything written up to *e*, each at its original offset. So no older value comes back, nor
//!   does a removed key;
//! - if it is compacted, no record is there that a client saw removed before *m*.

use std::collections::BTreeMap;
use std::path::Path;

use sedge_tests::sedge::Sedge;
use sedge_tests::wire::{self, Connection, Record, error};

use super::options;
use super::promises::{Of, Promises, Written};
use super::topics::{self, Loses, RETENTION_BYTES, Topic};

/// `ListOffsets` timestamps of the log start and the high watermark.
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;
/// Least bytes of a record besides its value.
const BATCH_BYTES: usize = 80;

/// A partition as read by a consumer.
#[derive(Debug)]
pub struct Read {
    pub log_start: i64,
    pub end: i64,
    pub records: BTreeMap<i64, Record>,
}

pub fn log_start(connection: &mut Connection, (topic, partition): Of) -> i64 {
    wire::offset_for_time(connection, topic, partition, EARLIEST)
}

/// Reads from start to end. Retention may continue meanwhile.
pub fn read(connection: &mut Connection, of: Of) -> Read {
    let (topic, partition) = of;
    let mut found = Read {
        log_start: log_start(connection, of),
        end: wire::offset_for_time(connection, topic, partition, LATEST),
        records: BTreeMap::new(),
    };
    if found.log_start == found.end {
        // A fetch would wait for more.
        return found;
    }
    let mut next = found.log_start;
    loop {
        let fetched = wire::fetch(connection, topic, partition, next);
        if fetched.error == error::OFFSET_OUT_OF_RANGE {
            let log_start = log_start(connection, of);
            assert!(log_start > next, "{of:?}: {next} is out of range");
            found.records = found.records.split_off(&log_start);
            (found.log_start, next) = (log_start, log_start);
            continue;
        }
        assert_eq!(fetched.error, error::NONE, "{of:?} from {next}");
        let records = wire::records(&fetched.records);
        let wanted = records.into_iter().filter(|record| record.offset >= next);
        found
            .records
            .extend(wanted.map(|record| (record.offset, record)));
        next = wire::next_offset(&fetched.records).unwrap_or(fetched.high_watermark);
        if next >= fetched.high_watermark {
            found.end = fetched.high_watermark;
            return found;
        }
    }
}

/// Starts on the disk that a cut at `moment` left, and checks everything promised before it.
/// Returns the number of records.
pub fn after_cut(data: &Path, moment: usize, promises: &Promises) -> usize {
    let mut sedge = Sedge::start(data, options());
    let mut connection = Connection::open(&sedge.bootstrap());
    let mut checked = 0;
    for (topic, partition) in topics::partitions() {
        let of = (topic.name, partition);
        let found = read(&mut connection, of);
        let check = Check {
            topic,
            of,
            moment,
            promises,
            found: &found,
        };
        if let Err(wrong) = check.run() {
            panic!(
                "{of:?} after a cut at {moment}: {wrong}; it has {} records from {} to {}\n{}",
                found.records.len(),
                found.log_start,
                found.end,
                sedge.process().tail()
            );
        }
        checked += found.records.len();
    }
    for (when, topic) in &promises.deleted_topics {
        if *when <= moment {
            let fetched = wire::fetch(&mut connection, topic, 0, 0);
            assert_eq!(fetched.error, error::UNKNOWN_TOPIC, "{topic} is back");
        }
    }
    wire::wait_leader(&mut connection, topics::STAYS, 0);
    sedge.kill();
    checked
}

struct Check<'a> {
    topic: &'a Topic,
    of: Of,
    moment: usize,
    promises: &'a Promises,
    found: &'a Read,
}

impl Check<'_> {
    fn run(&self) -> Result<(), String> {
        let nothing = BTreeMap::new();
        let written = self.promises.logs.get(&self.of).unwrap_or(&nothing);
        self.check_bounds()?;
        self.check_written(written)?;
        if self.topic.is_compacted() {
            self.check_latest(written)?;
            self.check_gone()
        } else {
            self.check_whole()
        }
    }

    fn check_bounds(&self) -> Result<(), String> {
        let (start, end) = (self.found.log_start, self.found.end);
        let acknowledged = self.promises.acknowledged_end(self.of, self.moment);
        if end < acknowledged {
            return Err(format!("it ends before {acknowledged}: records are lost"));
        }
        let deleted = self.promises.log_start(self.of, self.moment);
        if start < deleted {
            return Err(format!("records before {deleted} are back"));
        }
        let asked = self.promises.asked_starts.get(&self.of).copied();
        let bytes = self.found.records.values().map(|record| record.value.len());
        let bytes = bytes.sum::<usize>() + self.found.records.len() * BATCH_BYTES;
        let went_too_far = match self.topic.loses {
            Loses::OnRequest | Loses::ByKey => start > asked.unwrap_or(0),
            Loses::BySize => start > 0 && bytes < RETENTION_BYTES,
            Loses::ByTime | Loses::ByKeyAndTime => false,
        };
        if went_too_far {
            return Err(format!("nobody deleted so much ({asked:?}, {bytes} bytes)"));
        }
        Ok(())
    }

    fn check_written(&self, written: &BTreeMap<i64, Written>) -> Result<(), String> {
        for (offset, record) in &self.found.records {
            let as_written = written
                .get(offset)
                .is_some_and(|of| of.key == record.key && of.value == record.value);
            if !as_written {
                return Err(format!("{offset} is not what was written there"));
            }
        }
        Ok(())
    }

    fn check_whole(&self) -> Result<(), String> {
        let all = self.found.log_start..self.found.end;
        let missing = all.clone().find(|of| !self.found.records.contains_key(of));
        missing.map_or(Ok(()), |offset| Err(format!("{offset} is lost")))
    }

    /// Checks that a consumer builds the state that was written.
    fn check_latest(&self, written: &BTreeMap<i64, Written>) -> Result<(), String> {
        let mut latest: BTreeMap<&[u8], (i64, &Written)> = BTreeMap::new();
        for (offset, record) in written.range(..self.found.end) {
            latest.insert(&record.key, (*offset, record));
        }
        let mut found: BTreeMap<&[u8], i64> = BTreeMap::new();
        for (offset, record) in &self.found.records {
            found.insert(&record.key, *offset);
        }
        for (key, (offset, record)) in latest {
            let key_found = found.get(key).copied();
            let has_gone = record.value.is_empty() || offset < self.found.log_start;
            if key_found != Some(offset) && !(has_gone && key_found.is_none()) {
                return Err(format!(
                    "{} is from {key_found:?}, not from {offset}",
                    String::from_utf8_lossy(key)
                ));
            }
        }
        Ok(())
    }

    /// Checks that records seen as compacted away stay away.
    fn check_gone(&self) -> Result<(), String> {
        let Some((there, until)) = self.promises.last_read(self.of, self.moment) else {
            return Ok(());
        };
        let mut back = self.found.records.range(..until).map(|(offset, _)| offset);
        match back.find(|offset| !there.contains(offset)) {
            Some(offset) => Err(format!("{offset} was compacted away and is back")),
            None => Ok(()),
        }
    }
}

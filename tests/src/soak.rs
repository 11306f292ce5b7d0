//! A producer of numbered records that continues through kills and cuts, and its acknowledgements.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::client::value;
use crate::process::Process;
use crate::wire::{Connection, Record, error, fetch, next_offset, records, without_control};
use crate::{limits, tools};

/// One acknowledged record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acked {
    pub number: i64,
    pub partition: i32,
    pub offset: i64,
}

/// The running producer.
#[derive(Debug)]
pub struct Soak {
    name: &'static str,
    process: Process,
}

/// A producer program: its library and its command.
pub type Producer = (&'static str, fn() -> Command);

/// The programs with the `soak` command, both idempotent with acks=all.
pub const PRODUCERS: [Producer; 2] = [
    ("franz-go", || tools::go("franz")),
    ("confluent-kafka", || tools::python("confluent.py")),
];

impl Soak {
    pub fn start(producer: Producer, bootstrap: &str, topic: &str, partitions: i32) -> Self {
        Self::start_as("soak", producer, bootstrap, topic, partitions)
    }

    /// Starts a producer with readings of sensors as values.
    pub fn start_readings(bootstrap: &str, topic: &str, partitions: i32) -> Self {
        Self::start_as("readings", PRODUCERS[0], bootstrap, topic, partitions)
    }

    fn start_as(
        what: &str,
        (name, command): Producer,
        bootstrap: &str,
        topic: &str,
        partitions: i32,
    ) -> Self {
        let mut command = command();
        command.args([what, bootstrap, topic, &partitions.to_string()]);
        Self {
            name,
            process: Process::spawn(name, &mut command),
        }
    }

    /// Returns the number of lines so far: about the number of acknowledged records.
    pub fn count(&self) -> usize {
        self.process.output().stdout.len()
    }

    /// Waits until `more` records were acknowledged after the first `than`.
    pub fn wait_count(&mut self, than: usize, more: usize) {
        let what = format!("{more} acknowledged records after {than}");
        self.process.wait_for(&what, limits::CONDITION, |output| {
            (output.stdout.len() >= than + more).then_some(())
        });
    }

    /// Lets it send its pending records, and returns all acknowledged ones. Fails if it gave up a
    /// record.
    pub fn finish(mut self) -> Vec<Acked> {
        self.process.close_stdin();
        let status = self.process.wait_exit(limits::COMMAND);
        assert!(
            status.success(),
            "{}: {status}\n{}",
            self.name,
            self.process.tail()
        );
        let output = self.process.output();
        let lines = output
            .stdout
            .iter()
            .filter_map(|l| serde_json::from_str::<Value>(l).ok());
        let mut acked = Vec::new();
        for line in lines {
            assert!(
                line["failed"].is_null(),
                "{}: a record was given up: {line}",
                self.name
            );
            if let (Some(number), Some(p), Some(offset)) =
                (line["n"].as_i64(), line["p"].as_i64(), line["o"].as_i64())
            {
                acked.push(Acked {
                    number,
                    partition: p as i32,
                    offset,
                });
            }
        }
        acked
    }
}

/// Reads all records of a partition with the raw client.
pub fn read_partition(from: &mut Connection, topic: &str, partition: i32) -> Vec<Record> {
    let mut all: Vec<Record> = Vec::new();
    let mut next = 0;
    loop {
        let fetched = fetch(from, topic, partition, next);
        assert_eq!(
            fetched.error,
            error::NONE,
            "a fetch of {topic} {partition} at {next}"
        );
        if next >= fetched.high_watermark {
            return all;
        }
        let got = records(&without_control(&fetched.records));
        all.extend(got.into_iter().filter(|record| record.offset >= next));
        next = next_offset(&fetched.records).unwrap_or(next);
    }
}

/// Checks that every acknowledged record is in `log` exactly once, at its acknowledged place, and
/// that each partition's numbers are in order without repeats. Returns the number of records.
pub fn check(acked: &[Acked], log: &BTreeMap<i32, Vec<Record>>) -> usize {
    for (partition, records) in log {
        let mut last = -1;
        for (at, record) in records.iter().enumerate() {
            assert_eq!(
                record.offset, at as i64,
                "partition {partition} has no holes"
            );
            let number = number(record);
            assert!(
                number > last,
                "partition {partition}: {number} follows {last}"
            );
            last = number;
        }
    }
    for promise in acked {
        let record = log
            .get(&promise.partition)
            .and_then(|r| r.get(promise.offset as usize));
        let found = record.map(number);
        assert_eq!(
            found,
            Some(promise.number),
            "acknowledged and not there: {promise:?}"
        );
    }
    log.values().map(Vec::len).sum()
}

/// Returns the number of a record, after checking its value.
pub fn number(record: &Record) -> i64 {
    let key = String::from_utf8_lossy(&record.key);
    let number = key.strip_prefix('k').and_then(|n| n.parse().ok());
    let number = number.unwrap_or_else(|| panic!("not one of our keys: {record:?}"));
    assert_eq!(
        String::from_utf8_lossy(&record.value),
        value(number),
        "the value of {key}"
    );
    number
}

/// Returns the number of a reading that the range filter keeps, after checking its value.
pub fn kept_reading(record: &Record) -> i64 {
    let key = String::from_utf8_lossy(&record.key);
    let number: i64 = key[1..].parse().expect("one of our keys");
    assert_ne!(number % 5, 0, "a reading out of range: {record:?}");
    let (sensor, celsius) = (number % 7, 20 + number % 10);
    let wanted = format!("{{\"sensor\":\"s{sensor}\",\"celsius\":{celsius}}}");
    assert_eq!(
        String::from_utf8_lossy(&record.value),
        wanted,
        "the value of {key}"
    );
    number
}

/// Returns whether the long variants are requested (`cargo xtask test --soak`).
pub fn is_long() -> bool {
    std::env::var("SEDGE_SOAK").is_ok_and(|wanted| wanted != "0")
}

/// Random numbers for choosing moments; the tests print the seed, and `SEDGE_SEED` replays it.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    pub fn new() -> Self {
        let given = std::env::var("SEDGE_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(1, |d| d.as_nanos() as u64);
        Self::of(given.unwrap_or(now))
    }

    /// Creates a generator for one thread.
    pub fn of(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub fn seed(&self) -> u64 {
        self.0
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::new()
    }
}

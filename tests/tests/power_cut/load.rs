//! The load: everything that writes, deletes, compacts and frees, on a logged disk.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sedge_tests::http::metric;
use sedge_tests::power_cut::{Events, LoggedDisk};
use sedge_tests::report;
use sedge_tests::sedge::Sedge;
use sedge_tests::soak::Random;
use sedge_tests::wire::{self, Batch, Connection, Decoder, Encoder, error};

use super::check::{self, Read};
use super::options;
use super::promises::{Of, Promises, Seen, Shared, Written};
use super::topics::{self, AGED, COMPACTED, MARKS, RETAINED, SHORTENED, STAYS};

/// Room for some dozens of segments, as many spares, and the journal of the views.
const DISK_BYTES: u64 = 512 << 20;
const SECONDS: u64 = 14;
/// Sizes of values in topics that are not compacted.
const VALUE_BYTES: [usize; 4] = [100, 1000, 5000, 30_000];
const STAYING_BYTES: usize = 400;
/// Few keys, so that most records are soon superseded.
const KEYS: u64 = 60;
const KEYED_BYTES: usize = 300;
const KEYED_RECORDS_MAX: u64 = 8;
/// One record in this many removes its key.
const REMOVALS: u64 = 6;
const DELETE_RECORDS: i16 = 21;
const DELETE_EVERY: u64 = 25;
const KEPT_RECORDS: i64 = 40;

/// What must have happened, and how often at least.
const HAPPENED: [(&str, f64); 6] = [
    ("sedge_cleaner_compactions_total", 50.0),
    ("sedge_cleaner_records_removed_total", 1000.0),
    ("sedge_cleaner_segments_emptied_total", 20.0),
    ("sedge_retention_records_total{reason=\"limits\"}", 100.0),
    ("sedge_storage_segments_freed_total", 50.0),
    ("sedge_storage_segments_recycled_total", 20.0),
];

/// State shared by all parts of the load.
struct Load<'a> {
    address: &'a str,
    events: &'a Events,
    promises: &'a Shared,
    over: &'a AtomicBool,
}

/// Runs the whole load for a while.
pub fn run(directory: &Path, random: &mut Random) -> (Events, Promises) {
    let disk = LoggedDisk::start(directory, DISK_BYTES);
    let mut sedge = Sedge::start(&disk.path().join("data"), options());
    topics::create_all(&mut Connection::open(&sedge.bootstrap()));
    let (promises, over) = (Shared::default(), AtomicBool::new(false));
    let load = &Load {
        address: &sedge.bootstrap(),
        events: &disk.events,
        promises: &promises,
        over: &over,
    };
    std::thread::scope(|scope| {
        for producer in 0..SHORTENED.len() {
            scope.spawn(move || load.shorten(producer));
        }
        for topic in COMPACTED {
            let random = Random::of(random.below(u64::MAX));
            scope.spawn(move || load.supersede(topic, random));
        }
        scope.spawn(|| load.stay());
        scope.spawn(|| load.delete_topics());
        scope.spawn(|| load.look());
        // This is the length of the load, not a wait for a condition.
        std::thread::sleep(Duration::from_secs(SECONDS));
        over.store(true, Ordering::Relaxed);
    });
    for (name, least) in HAPPENED {
        let count = metric(sedge.console(), name);
        report::line(format_args!("{name} {count}"));
        assert!(count >= least, "{name} is {count}, not {least}");
    }
    assert!(
        metric(sedge.console(), "sedge_cleaner_set_aside") == 0.0,
        "something is not cleaned\n{}",
        sedge.process().tail()
    );
    sedge.kill();
    drop(sedge);
    (disk.end(), promises.into_inner())
}

impl Load<'_> {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    /// Writes a batch and notes what its acknowledgement promises. Returns its first offset.
    fn write(&self, to: &mut Connection, of: Of, records: Vec<(Vec<u8>, Vec<u8>)>) -> i64 {
        let valued = records.iter().map(|(key, value)| {
            let value = (!value.is_empty()).then(|| value.clone());
            (key.clone(), value)
        });
        let batch = Batch::keyed(&valued.collect::<Vec<_>>()).encode();
        let produced = wire::produce(to, of.0, of.1, &batch);
        assert_eq!(produced.error, error::NONE, "{produced:?}");
        let moment = self.events.count();
        let written = records
            .into_iter()
            .map(|(key, value)| Written { moment, key, value });
        let base = produced.base_offset;
        self.promises.lock().wrote(of, base, written);
        base
    }

    /// Writes records that are deleted by time, by size and, in a topic for each producer, on
    /// request.
    fn shorten(&self, producer: usize) {
        let mut connection = Connection::open(self.address);
        let mut n = 0_u64;
        while self.goes_on() {
            n += 1;
            let topic = match n % 4 {
                0 => RETAINED,
                1 => AGED,
                _ => SHORTENED[producer],
            };
            let mut value = format!("{producer}:{n}:").into_bytes();
            value.resize(VALUE_BYTES[(n / 4) as usize % 4], b'a' + (n % 26) as u8);
            let of = (topic, (n / 2 % 4) as i32);
            let base = self.write(&mut connection, of, vec![(Vec::new(), value)]);
            let before = base - KEPT_RECORDS;
            if topic == SHORTENED[producer] && n % DELETE_EVERY < 2 && before > 0 {
                self.delete_records(&mut connection, of, before);
            }
        }
    }

    /// Writes a little to every segment that is never deleted.
    fn stay(&self) {
        let mut connection = Connection::open(self.address);
        let mut n = 0_u64;
        while self.goes_on() {
            n += 1;
            let mut value = format!("{n}:").into_bytes();
            value.resize(STAYING_BYTES, b's');
            let of = (STAYS, (n % 20) as i32);
            self.write(&mut connection, of, vec![(Vec::new(), value)]);
        }
    }

    /// Writes few keys repeatedly.
    fn supersede(&self, topic: &'static str, mut random: Random) {
        let mut connection = Connection::open(self.address);
        let mut n = 0_u64;
        while self.goes_on() {
            n += 1;
            let count = 1 + random.below(KEYED_RECORDS_MAX);
            let record = |of| {
                let key = format!("key-{}", random.below(KEYS)).into_bytes();
                let mut value = format!("{n}:{of}:").into_bytes();
                value.resize(KEYED_BYTES, b'k');
                if random.below(REMOVALS) == 0 {
                    value.clear();
                }
                (key, value)
            };
            let records = (0..count).map(record).collect();
            self.write(&mut connection, (topic, (n % 2) as i32), records);
        }
    }

    fn delete_records(&self, connection: &mut Connection, of: Of, before: i64) {
        self.promises.lock().asked_starts.insert(of, before);
        let body = Encoder::default().i32(1).string(of.0).i32(1).i32(of.1);
        let body = body.i64(before).i32(30_000).0;
        let reply = connection.ask(DELETE_RECORDS, 1, &body);
        let mut d = Decoder(&reply);
        d.i32();
        d.i32();
        d.string();
        d.i32();
        d.i32();
        d.i64();
        assert_eq!(d.i16(), error::NONE, "deleting records");
        let seen = Seen {
            moment: self.events.count(),
            of,
            log_start: before,
            records: None,
        };
        let mut promises = self.promises.lock();
        promises.deletions += 1;
        promises.seen.push(seen);
    }

    fn delete_topics(&self) {
        let mut connection = Connection::open(self.address);
        let mut n = 0;
        while self.goes_on() {
            n += 1;
            let topic = format!("deleted-{n}");
            wire::create_topic(&mut connection, &topic, 2, &[]);
            for _ in 0..n % 5 {
                wire::wait_leader(&mut connection, &topic, 1);
            }
            wire::delete_topic(&mut connection, &topic);
            let moment = self.events.count();
            self.promises.lock().deleted_topics.push((moment, topic));
        }
    }

    /// Reads what was deleted and compacted. The result counts as durable once something written
    /// later is durable.
    fn look(&self) {
        let mut connection = Connection::open(self.address);
        let mut n = 0;
        while self.goes_on() {
            n += 1;
            let looked: Vec<(Of, i64, Option<Read>)> = topics::partitions()
                .map(|(topic, partition)| {
                    let of = (topic.name, partition);
                    let start = check::log_start(&mut connection, of);
                    let is_read = topic.is_compacted();
                    (of, start, is_read.then(|| check::read(&mut connection, of)))
                })
                .collect();
            let value = format!("mark {n}").into_bytes();
            self.write(&mut connection, (MARKS, 0), vec![(Vec::new(), value)]);
            let moment = self.events.count();
            let seen = looked.into_iter().map(|(of, log_start, read)| Seen {
                moment,
                of,
                log_start,
                records: read.map(|read| {
                    let offsets: BTreeSet<i64> = read.records.keys().copied().collect();
                    (offsets, read.end)
                }),
            });
            self.promises.lock().seen.extend(seen);
        }
    }
}

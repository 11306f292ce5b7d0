//! Power cuts on ext4: the broker runs on a disk whose every write and flush is seen; of that, the
//! disks are made that a cut at random moments would have left, and on each of them the broker
//! starts and is asked for what it acknowledged before that moment.
//!
//! Long, and it mounts: it runs where `SEDGE_SOAK` is set (`cargo xtask test --only power_cut
//! --soak`), as root.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sedge_tests::power_cut::{self, Events, LoggedDisk, Mounted};
use sedge_tests::report;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::soak::{self, Random};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Batch, Connection, Decoder, Encoder, error, key};

const CUTS: usize = 200;
/// Holds some segments and the journal of the views.
const DISK_BYTES: u64 = 512 << 20;
const LOAD_SECONDS: u64 = 12;
const PRODUCERS: usize = 4;
const PARTITIONS: i32 = 4;
/// Written by all, and kept short by retention.
const RETAINED: &str = "retained";
const RETENTION_BYTES: &str = "1000000";
const DELETE_RECORDS: i16 = 21;
const DELETE_EVERY: u64 = 25;
const KEPT_RECORDS: i64 = 40;

/// What the broker promised, each with the moment before which it did.
#[derive(Debug, Default)]
struct Promises {
    records: Vec<Record>,
    /// Log starts that were asked for, and those of them that were acknowledged.
    asked_starts: Vec<(String, i32, i64)>,
    log_starts: Vec<(usize, String, i32, i64)>,
    deleted_topics: Vec<(usize, String)>,
}

#[derive(Debug)]
struct Record {
    moment: usize,
    topic: String,
    partition: i32,
    offset: i64,
    value: Vec<u8>,
}

type Shared = Mutex<Promises>;

fn options() -> Options {
    Options::default()
        .set("sedge.profile", "small")
        .set("log.retention.check.interval.ms", "300")
}

#[test]
fn what_was_acknowledged_outlives_power_cuts() {
    if !soak::is_long() {
        return report::line(format_args!("power cuts: left out without SEDGE_SOAK"));
    }
    if let Some(why) = power_cut::is_missing() {
        return report::line(format_args!("power cuts: left out, {why}"));
    }
    let mut random = Random::new();
    report::line(format_args!("SEDGE_SEED={}", random.seed()));
    let directory = TempDir::new("power-cut");
    let (events, promises) = load(directory.path());
    let first = promises.records[0].moment;
    report::line(format_args!(
        "{} records, {} log starts, {} deleted topics acknowledged; {} writes and flushes, {} \
         flushes",
        promises.records.len(),
        promises.log_starts.len(),
        promises.deleted_topics.len(),
        events.count(),
        events.flushes()
    ));
    let span = (events.count() - first) as u64;
    let mut moments: Vec<usize> = (0..CUTS)
        .map(|_| first + random.below(span) as usize)
        .collect();
    moments.sort_unstable();

    let durable = LoggedDisk::base(directory.path());
    let image = directory.join("cut");
    let mut applied = 0;
    let mut checked = 0;
    for moment in moments {
        let flushed = events.flushed(moment);
        let open = |path: &Path| {
            File::options()
                .write(true)
                .open(path)
                .expect("the image is there")
        };
        events.apply(applied, flushed, &open(&durable));
        applied = flushed;
        let copied = Command::new("cp")
            .args(["--sparse=always", "--reflink=auto"])
            .args([&durable, &image])
            .status();
        assert!(
            copied.is_ok_and(|status| status.success()),
            "the image is copied"
        );
        events.apply_in_doubt(flushed, moment, &open(&image), &mut random);
        checked += check(&image, &directory.join("after"), moment, &promises);
    }
    report::line(format_args!(
        "{CUTS} power cuts: {checked} records asked for, 0 lost, 0 deleted ones back, 0 starts refused"
    ));
}

/// Runs the broker on a disk that is seen, with producers, and deletions of all kinds.
fn load(directory: &Path) -> (Events, Promises) {
    let disk = LoggedDisk::start(directory, DISK_BYTES);
    let mut sedge = Sedge::start(&disk.path().join("data"), options());
    let address = sedge.bootstrap();
    let mut connection = Connection::open(&address);
    let retention = [("retention.bytes", RETENTION_BYTES)];
    wire::create_topic(&mut connection, RETAINED, PARTITIONS, &retention);
    let promises = Shared::default();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for producer in 0..PRODUCERS {
            let topic = format!("load-{producer}");
            wire::create_topic(&mut connection, &topic, PARTITIONS, &[]);
            let (address, events, promises, over) = (&address, &disk.events, &promises, &over);
            scope.spawn(move || produce(address, &topic, producer, events, promises, over));
        }
        scope.spawn(|| delete_topics(&address, &disk.events, &promises, &over));
        // So long is a length of the load, not a wait for anything.
        std::thread::sleep(Duration::from_secs(LOAD_SECONDS));
        over.store(true, Ordering::Relaxed);
    });
    sedge.kill();
    drop(sedge);
    let promises = promises
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    (disk.end(), promises)
}

fn produce(
    address: &str,
    topic: &str,
    producer: usize,
    events: &Events,
    promises: &Shared,
    over: &AtomicBool,
) {
    let mut connection = Connection::open(address);
    let mut n = 0u64;
    while !over.load(Ordering::Relaxed) {
        n += 1;
        let partition = (n % PARTITIONS as u64) as i32;
        let topic = if n.is_multiple_of(4) { RETAINED } else { topic };
        let bytes = [100, 1000, 5000, 30_000][(n / 4) as usize % 4];
        let mut value = format!("{producer}:{n}:").into_bytes();
        value.resize(bytes, b'a' + (n % 26) as u8);
        let batch = Batch::of(std::slice::from_ref(&value)).encode();
        let produced = wire::produce(&mut connection, topic, partition, &batch);
        assert_eq!(produced.error, error::NONE, "{produced:?}");
        let record = Record {
            moment: events.count(),
            topic: topic.to_owned(),
            partition,
            offset: produced.base_offset,
            value,
        };
        lock(promises).records.push(record);
        if n.is_multiple_of(DELETE_EVERY) && topic != RETAINED {
            let before = produced.base_offset - KEPT_RECORDS;
            if before > 0 {
                delete_records(
                    &mut connection,
                    (topic, partition, before),
                    events,
                    promises,
                );
            }
        }
    }
}

fn delete_records(
    connection: &mut Connection,
    (topic, partition, before): (&str, i32, i64),
    events: &Events,
    promises: &Shared,
) {
    lock(promises)
        .asked_starts
        .push((topic.to_owned(), partition, before));
    let body = Encoder::default()
        .i32(1)
        .string(topic)
        .i32(1)
        .i32(partition);
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
    let moment = events.count();
    lock(promises)
        .log_starts
        .push((moment, topic.to_owned(), partition, before));
}

fn delete_topics(address: &str, events: &Events, promises: &Shared, over: &AtomicBool) {
    let mut connection = Connection::open(address);
    let mut n = 0;
    while !over.load(Ordering::Relaxed) {
        n += 1;
        let topic = format!("deleted-{n}");
        wire::create_topic(&mut connection, &topic, 2, &[]);
        for _ in 0..n % 5 {
            wire::wait_leader(&mut connection, &topic, 1);
        }
        wire::delete_topic(&mut connection, &topic);
        let moment = events.count();
        lock(promises).deleted_topics.push((moment, topic));
    }
}

/// Starts on what a cut at `moment` left, and asks for all that was promised before it.
fn check(image: &Path, at: &Path, moment: usize, promises: &Promises) -> usize {
    let mut disk = Mounted::new(image, at);
    let mut sedge = Sedge::start(&disk.path().join("data"), options());
    let mut connection = Connection::open(&sedge.bootstrap());
    let mut wanted: BTreeMap<(&str, i32), BTreeMap<i64, &[u8]>> = BTreeMap::new();
    for record in promises.records.iter().filter(|of| of.moment <= moment) {
        let of = wanted.entry((&record.topic, record.partition)).or_default();
        of.insert(record.offset, &record.value);
    }
    let mut checked = 0;
    for ((topic, partition), records) in wanted {
        let log_start = log_start(&mut connection, topic, partition);
        let acknowledged = promises
            .log_starts
            .iter()
            .filter(|(when, of, index, _)| *when <= moment && of == topic && *index == partition)
            .map(|(.., before)| *before)
            .max();
        let asked = promises
            .asked_starts
            .iter()
            .filter(|(of, index, _)| of == topic && *index == partition)
            .map(|(.., before)| *before)
            .max();
        assert!(
            log_start >= acknowledged.unwrap_or(0),
            "{topic} {partition}: deleted records are back from {log_start}, not {acknowledged:?}, \
             after a cut at {moment}"
        );
        assert!(
            topic == RETAINED || log_start <= asked.unwrap_or(0),
            "{topic} {partition}: nobody deleted up to {log_start}, after a cut at {moment}"
        );
        let there = read(&mut connection, topic, partition, log_start);
        for (offset, value) in records.range(log_start..) {
            assert!(
                there.get(offset).is_some_and(|found| found == value),
                "{topic} {partition}: offset {offset} is lost after a cut at {moment}: {}\n{}",
                there.len(),
                sedge.process().tail()
            );
            checked += 1;
        }
    }
    for (when, topic) in &promises.deleted_topics {
        if *when <= moment {
            let fetched = wire::fetch(&mut connection, topic, 0, 0);
            assert_eq!(fetched.error, error::UNKNOWN_TOPIC, "{topic} is back");
        }
    }
    wire::wait_leader(&mut connection, "load-0", 0);
    sedge.kill();
    disk.unmount();
    checked
}

fn log_start(connection: &mut Connection, topic: &str, partition: i32) -> i64 {
    let body = Encoder::default().i32(-1).i32(1).string(topic).i32(1);
    let body = body.i32(partition).i64(-2).0;
    let reply = connection.ask(key::LIST_OFFSETS, 1, &body);
    let mut d = Decoder(&reply);
    d.i32();
    d.string();
    d.i32();
    d.i32();
    assert_eq!(d.i16(), error::NONE, "the log start of {topic} {partition}");
    d.i64();
    d.i64()
}

fn read(
    connection: &mut Connection,
    topic: &str,
    partition: i32,
    from: i64,
) -> BTreeMap<i64, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut next = from;
    loop {
        let fetched = wire::fetch(connection, topic, partition, next);
        assert_eq!(
            fetched.error,
            error::NONE,
            "{topic} {partition} from {next}"
        );
        let records = wire::records(&fetched.records);
        let Some(last) = records.last() else {
            return found;
        };
        next = last.offset + 1;
        found.extend(
            records
                .into_iter()
                .map(|record| (record.offset, record.value)),
        );
        if next >= fetched.high_watermark {
            return found;
        }
    }
}

fn lock(promises: &Shared) -> std::sync::MutexGuard<'_, Promises> {
    promises.lock().unwrap_or_else(PoisonError::into_inner)
}

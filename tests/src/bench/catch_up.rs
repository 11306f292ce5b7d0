//! `bench catch-up`: reads one partition of a thousand from start to end, before and after its
//! segments were cleaned, and compares it with a log of one partition.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::limits;
use crate::metrics::sample;
use crate::sedge::{Options, Sedge};
use crate::temp_dir::TempDir;
use crate::wire::{self, Batch, Connection, error};

use super::{Load, Peer, Spread};

const PARTITIONS: i32 = 1000;
/// Bytes of each partition.
const BYTES: usize = 1 << 20;
const BATCH_BYTES: usize = 8 << 10;
/// Number of partitions that are read.
const READS: i32 = 40;

pub fn run(with_kafka: bool) -> String {
    let directory = TempDir::new("bench-catch-up");
    let options = Options::default()
        .config("durability = \"interval\"\n")
        .set("log.cleaner.backoff.ms", "500");
    let mut sedge = Sedge::start(&directory.join("data"), options);
    let shared = load(&sedge.bootstrap(), "shared", PARTITIONS);
    let single = read_alone(&sedge.bootstrap(), &sedge.data().join("segments"));
    create(&shared);
    create(&load(&sedge.bootstrap(), "gone", 1));
    fill(&sedge);
    let segments = sedge.data().join("segments");
    let read_some = || {
        let mut speeds = Spread::default();
        for partition in (0..PARTITIONS).step_by((PARTITIONS / READS) as usize) {
            read_one(&segments, &shared, partition, &mut speeds);
        }
        speeds
    };
    let before = read_some();
    wire::delete_topic(&mut Connection::open(&sedge.bootstrap()), "gone");
    let cleaned_in = settle(&sedge);
    let after = read_some();
    let cleaned = sample(sedge.console(), "sedge_cleaner_written_bytes_total");
    sedge.terminate();
    let mut text = format!(
        "catch-up from the disk, {} MiB a partition in batches of {} KiB, MB/s\n",
        BYTES >> 20,
        BATCH_BYTES >> 10
    );
    for (what, speed) in [
        ("a log of one partition", &single),
        ("one of 1,000, as written", &before),
        ("one of 1,000, after cleaning", &after),
    ] {
        writeln!(text, "{what}: {}", speed.show(0)).expect("a String takes everything");
    }
    writeln!(
        text,
        "after cleaning: {:.0} % of that; the cleaner wrote {:.0} MB in {:.1} s",
        after.median() / single.median() * 100.0,
        cleaned / 1e6,
        cleaned_in.as_secs_f64()
    )
    .expect("as above");
    if with_kafka {
        let mut kafka = Peer::kafka(directory.path());
        let theirs = read_alone(&kafka.bootstrap(), &kafka.segments());
        kafka.terminate();
        writeln!(
            text,
            "kafka, a partition, which has files of its own: {}\nsedge/kafka after cleaning {:.2}",
            theirs.show(0),
            after.median() / theirs.median()
        )
        .expect("as above");
    }
    text
}

/// Reads topics of one partition, each written and then read alone.
fn read_alone(bootstrap: &str, segments: &Path) -> Spread {
    let alone: Vec<Load> = (0..READS)
        .map(|number| load(bootstrap, &format!("alone-{number}"), 1))
        .collect();
    for of in &alone {
        of.create(&[]);
        of.produce(Duration::MAX, BYTES as u64);
    }
    let mut speeds = Spread::default();
    for of in &alone {
        read_one(segments, of, 0, &mut speeds);
    }
    speeds
}

fn load(bootstrap: &str, topic: &str, partitions: i32) -> Load {
    Load {
        bootstrap: bootstrap.into(),
        topic: topic.into(),
        partitions,
        in_flight: 5,
        batch_bytes: BATCH_BYTES,
        record_bytes: 1 << 10,
        tls: None,
    }
}

fn create(of: &Load) {
    let mut connection = Connection::open(&of.bootstrap);
    wire::create_topic(&mut connection, &of.topic, of.partitions, &[]);
    wire::wait_known(&mut connection, &of.topic, of.partitions - 1);
}

/// Writes a batch to each partition in turn, and as much in between to a topic that will be
/// deleted, so that half of each segment becomes dead.
fn fill(sedge: &Sedge) {
    let batch = Batch::filled(BATCH_BYTES >> 10, 1 << 10).encode();
    let mut connection = Connection::open(&sedge.bootstrap());
    for _ in 0..BYTES / BATCH_BYTES {
        for first in (0..PARTITIONS).step_by(20) {
            let bodies = (first..first + 20).flat_map(|partition| {
                [
                    wire::produce_request("shared", partition, -1, &batch),
                    wire::produce_request("gone", 0, -1, &batch),
                ]
            });
            let sent = bodies
                .map(|body| connection.send(wire::key::PRODUCE, wire::PRODUCE_VERSION, &body))
                .count();
            for _ in 0..sent {
                let answer = wire::produced(&connection.reply().frame()[4..]);
                assert_eq!(answer.error, error::NONE, "{answer:?}");
            }
        }
    }
}

/// Waits until the cleaner has written for a while and then stopped. Returns how long it took.
fn settle(sedge: &Sedge) -> Duration {
    let written = || sample(sedge.console(), "sedge_cleaner_written_bytes_total");
    let began = Instant::now();
    let (mut last, mut changed) = (0.0, Instant::now());
    while last == 0.0 || changed.elapsed() < Duration::from_secs(4) {
        std::thread::sleep(Duration::from_millis(200));
        if written() > last {
            (last, changed) = (written(), Instant::now());
        }
        assert!(began.elapsed() < limits::COMMAND, "{last} bytes so far");
    }
    changed - began
}

/// Measures the read speed, in MB/s, of a partition that is not in memory.
fn read_one(segments: &Path, of: &Load, partition: i32, speeds: &mut Spread) {
    rustix::fs::sync();
    forget_cached(segments);
    speeds.add(of.fetch_one(partition).mb_per_second());
}

/// Evicts the files below a directory from the page cache.
fn forget_cached(segments: &Path) {
    for entry in std::fs::read_dir(segments).expect("it is there").flatten() {
        let path = entry.path();
        if path.is_dir() {
            forget_cached(&path);
        } else if let Ok(file) = std::fs::File::open(path) {
            let advice = rustix::fs::Advice::DontNeed;
            let whole = rustix::fs::fadvise(&file, 0, None, advice);
            whole.expect("a file takes advice");
        }
    }
}

//! `bench compaction`: the speed and memory of compacting a topic, the bytes written for each byte
//! produced, and the effect on a consumer beside it.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::metrics::sample;
use crate::sedge::{Options, Sedge};
use crate::temp_dir::TempDir;
use crate::wire::{self, Connection};
use crate::{limits, proc};

use super::updates::{BATCH_RECORDS, KEYS, RECORDS, Updates, VALUE_BYTES};
use super::{Peer, beside_cleaner};

const TOPIC: &str = "state";

/// Long enough to examine the broker before the cleaner begins.
const BACKOFF: Duration = Duration::from_secs(3);

pub fn run(with_kafka: bool) -> String {
    let updates = Updates::make();
    let mut text = format!(
        "{RECORDS} records of {VALUE_BYTES} B over {KEYS} keys, batches of {BATCH_RECORDS}\n"
    );
    let mut lines = beside(&updates, with_kafka);
    lines.extend([speed(&updates), amplification(&updates)]);
    for line in lines {
        writeln!(text, "{line}").expect("a String takes everything");
    }
    text
}

/// Measures clients beside the cleaner, one broker after the other.
fn beside(updates: &Updates, with_kafka: bool) -> Vec<String> {
    let directory = TempDir::new("bench-beside");
    let mut starts: Vec<fn(&Path) -> Peer> =
        vec![|at| Peer::sedge_set(at, "interval", beside_cleaner::SETTINGS)];
    if with_kafka {
        starts.push(|at| Peer::kafka_set(at, beside_cleaner::SETTINGS));
    }
    let measured = starts.iter().map(|start| {
        let mut peer = start(directory.path());
        let text = beside_cleaner::run(&mut peer, updates);
        peer.terminate();
        text
    });
    measured.collect()
}

fn options(cleans: bool) -> Options {
    Options::default()
        .config("durability = \"interval\"\n")
        .set("log.cleaner.enable", if cleans { "true" } else { "false" })
        .set("log.cleaner.backoff.ms", &BACKOFF.as_millis().to_string())
}

/// Creates a topic that is compacted completely, its active segment included, because it is
/// overdue.
fn create(connection: &mut Connection, topic: &str) {
    let configs = [
        ("cleanup.policy", "compact"),
        ("max.compaction.lag.ms", "1"),
    ];
    wire::create_topic(connection, topic, 1, &configs);
    wire::wait_known(connection, topic, 0);
}

fn wait(sedge: &Sedge, what: &str, is_done: impl Fn(&Sedge) -> bool) {
    let deadline = Instant::now() + limits::CONDITION;
    while !is_done(sedge) {
        assert!(Instant::now() < deadline, "waiting for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn compactions(sedge: &Sedge) -> f64 {
    sample(sedge.console(), "sedge_cleaner_compactions_total")
}

fn has_begun(sedge: &Sedge) -> bool {
    sample(sedge.console(), "sedge_cleaner_read_bytes_total") > 0.0
}

/// Returns whether all but the last update of each key is gone.
fn is_over(sedge: &Sedge) -> bool {
    let removed = sample(sedge.console(), "sedge_cleaner_records_removed_total");
    removed >= (RECORDS - KEYS) as f64
}

/// Returns a broker with uncleaned records, whose cleaner is about to begin.
fn prepared(directory: &TempDir, updates: &Updates) -> Sedge {
    let sedge = Sedge::start(&directory.join("data"), options(false));
    let mut connection = Connection::open(&sedge.bootstrap());
    create(&mut connection, TOPIC);
    updates.produce(&mut connection, TOPIC);
    sedge
}

fn speed(updates: &Updates) -> String {
    let directory = TempDir::new("bench-compaction");
    let mut sedge = prepared(&directory, updates);
    sedge.terminate();
    sedge.set_options(options(true));
    sedge.start_again();
    let pid = sedge.process().pid();
    std::thread::sleep(BACKOFF / 2);
    let idle = proc::resident_kib(pid);
    wait(&sedge, "the cleaner to begin", has_begun);
    let began = Instant::now();
    let mut most = idle;
    while !is_over(&sedge) {
        most = most.max(proc::resident_kib(pid));
        assert!(began.elapsed() < limits::CONDITION, "it does not end");
    }
    let took = began.elapsed().as_secs_f64();
    let passes = compactions(&sedge);
    sedge.terminate();
    format!(
        "speed: {:.0} records/s ({took:.2} s, {passes} passes), memory {:.1} MiB over idle \
         ({:.1} MiB)",
        RECORDS as f64 / took,
        (most - idle) as f64 / 1024.0,
        idle as f64 / 1024.0
    )
}

fn amplification(updates: &Updates) -> String {
    let directory = TempDir::new("bench-compaction");
    let options = Options::default().set("log.cleaner.backoff.ms", "500");
    let mut sedge = Sedge::start(&directory.join("data"), options);
    let mut connection = Connection::open(&sedge.bootstrap());
    let configs = [("cleanup.policy", "compact")];
    wire::create_topic(&mut connection, TOPIC, 1, &configs);
    wire::wait_known(&mut connection, TOPIC, 0);
    let pid = sedge.process().pid();
    let before = proc::written_bytes(pid);
    updates.produce(&mut connection, TOPIC);
    let produced = updates.bytes() as f64;
    // Some writes reach the disk only later: wait until the broker is done.
    let mut last = proc::written_bytes(pid);
    loop {
        std::thread::sleep(BACKOFF);
        let now = proc::written_bytes(pid);
        if now == last {
            break;
        }
        last = now;
    }
    let passes = compactions(&sedge);
    let cleaned = sample(sedge.console(), "sedge_cleaner_written_bytes_total");
    sedge.terminate();
    format!(
        "written for each byte produced, every commit synced: {:.3}, of which by the cleaner {:.3} \
         ({passes} passes)",
        (last - before) as f64 / produced,
        cleaned / produced
    )
}

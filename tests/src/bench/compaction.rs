//! `bench compaction`: how fast a compacted topic is compacted, in how much memory, what it writes
//! for each byte produced, and what a consumer beside it notices.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::metrics::sample;
use crate::sedge::{Options, Sedge};
use crate::temp_dir::TempDir;
use crate::wire::{self, Batch, Connection, error, key};
use crate::{limits, proc};

use super::{Load, Outcome};

const TOPIC: &str = "state";
const KEYS: u64 = 10_000;
const RECORDS: u64 = 1_000_000;
const VALUE_BYTES: usize = 100;
/// What a producer with `linger.ms=5` or so puts into one batch.
const BATCH_RECORDS: u64 = 100;

/// Java's default.
const IN_FLIGHT: usize = 5;

/// Long enough to look at the broker before the cleaner begins.
const BACKOFF: Duration = Duration::from_secs(3);
/// The consumer asks so often, so that its latency is not that of its own load.
const FETCH_EVERY: Duration = Duration::from_millis(4);
const FETCHES_IDLE: usize = 1000;
/// Compacted beside the consumer.
const TOPICS: u32 = 8;

pub fn run() -> String {
    let mut text = format!(
        "{RECORDS} records of {VALUE_BYTES} B over {KEYS} keys, batches of {BATCH_RECORDS}\n"
    );
    for line in [speed(), beside_a_consumer(), amplification()] {
        writeln!(text, "{line}").expect("a String takes everything");
    }
    text
}

fn options(cleans: bool) -> Options {
    Options::default()
        .config("durability = \"interval\"\n")
        .set("log.cleaner.enable", if cleans { "true" } else { "false" })
        .set("log.cleaner.backoff.ms", &BACKOFF.as_millis().to_string())
}

/// A topic of which all is compacted at once: what lies in the active segment too, because it is
/// overdue.
fn create(connection: &mut Connection, topic: &str) {
    let configs = [
        ("cleanup.policy", "compact"),
        ("max.compaction.lag.ms", "1"),
    ];
    wire::create_topic(connection, topic, 1, &configs);
    wire::wait_known(connection, topic, 0);
}

/// Updates in no order, so that each key has its last one somewhere near the end.
fn produce(connection: &mut Connection, topic: &str, records: u64) -> u64 {
    let (mut bytes, mut in_flight, mut state) = (0, 0, 1_u64);
    let reply = |connection: &mut Connection| {
        let produced = wire::produced(&connection.reply().frame()[4..]);
        assert_eq!(produced.error, error::NONE, "{:?}", produced.message);
    };
    for _ in 0..records / BATCH_RECORDS {
        let records: Vec<_> = (0..BATCH_RECORDS)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let key = format!("{:08}", (state >> 33) % KEYS).into_bytes();
                let mut value = state.to_be_bytes().to_vec();
                value.resize(VALUE_BYTES, b'.');
                (key, Some(value))
            })
            .collect();
        let batch = Batch::keyed(&records).encode();
        bytes += batch.len() as u64;
        if in_flight == IN_FLIGHT {
            reply(connection);
            in_flight -= 1;
        }
        let body = wire::produce_request(topic, 0, -1, &batch);
        connection.send(key::PRODUCE, wire::PRODUCE_VERSION, &body);
        in_flight += 1;
    }
    (0..in_flight).for_each(|_| reply(connection));
    bytes
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

/// All but the last update of each key is gone.
fn is_over(sedge: &Sedge) -> bool {
    let removed = sample(sedge.console(), "sedge_cleaner_records_removed_total");
    removed >= (RECORDS - KEYS) as f64
}

/// A broker that has the records and has not cleaned, its cleaner about to begin.
fn prepared(directory: &TempDir) -> Sedge {
    let sedge = Sedge::start(&directory.join("data"), options(false));
    let mut connection = Connection::open(&sedge.bootstrap());
    create(&mut connection, TOPIC);
    produce(&mut connection, TOPIC, RECORDS);
    sedge
}

fn speed() -> String {
    let directory = TempDir::new("bench-compaction");
    let mut sedge = prepared(&directory);
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

fn beside_a_consumer() -> String {
    let directory = TempDir::new("bench-compaction");
    let mut sedge = prepared(&directory);
    let load = Load {
        bootstrap: sedge.bootstrap(),
        topic: "read".into(),
        partitions: 1,
        in_flight: 5,
        batch_bytes: 16 << 10,
        record_bytes: 1 << 10,
    };
    load.create(&[]);
    load.produce(Duration::MAX, 64 << 20);
    // More to clean, so that there is something to measure beside.
    let mut connection = Connection::open(&sedge.bootstrap());
    for number in 1..TOPICS {
        let topic = format!("{TOPIC}-{number}");
        create(&mut connection, &topic);
        produce(&mut connection, &topic, RECORDS);
    }
    sedge.terminate();
    sedge.set_options(options(true));
    sedge.start_again();
    let mut idle = read_until(&sedge, |_, count| count >= FETCHES_IDLE / 2);
    wait(&sedge, "the cleaner to begin", has_begun);
    let mut busy = read_until(&sedge, |sedge, count| {
        count.is_multiple_of(50) && compactions(sedge) >= f64::from(TOPICS)
    });
    let mut after = read_until(&sedge, |_, count| count >= FETCHES_IDLE);
    let idle_p99 = idle.latency_ms(99.0).min(after.latency_ms(99.0));
    let text = format!(
        "a consumer's p99: {idle_p99:.2} ms idle, {:.2} ms while it cleans ({} fetches)",
        busy.latency_ms(99.0),
        busy.requests
    );
    sedge.terminate();
    text
}

/// Fetches of 64 KiB here and there, at a steady pace.
fn read_until(sedge: &Sedge, is_enough: impl Fn(&Sedge, usize) -> bool) -> Outcome {
    let mut connection = Connection::open(&sedge.bootstrap());
    let mut outcome = Outcome::default();
    let mut offset = 7;
    for count in 1.. {
        offset = (offset * 7919 + 13) % 60_000;
        let body = wire::fetch_request("read", 0, offset, 64 << 10);
        let asked = Instant::now();
        let answer = wire::fetched(&connection.ask(key::FETCH, wire::FETCH_VERSION, &body));
        assert_eq!(answer.error, error::NONE);
        outcome.note(asked.elapsed(), answer.records.len());
        if is_enough(sedge, count) {
            break;
        }
        std::thread::sleep(FETCH_EVERY);
    }
    outcome
}

fn amplification() -> String {
    let directory = TempDir::new("bench-compaction");
    let options = Options::default().set("log.cleaner.backoff.ms", "500");
    let mut sedge = Sedge::start(&directory.join("data"), options);
    let mut connection = Connection::open(&sedge.bootstrap());
    let configs = [("cleanup.policy", "compact")];
    wire::create_topic(&mut connection, TOPIC, 1, &configs);
    wire::wait_known(&mut connection, TOPIC, 0);
    let pid = sedge.process().pid();
    let before = proc::written_bytes(pid);
    let produced = produce(&mut connection, TOPIC, RECORDS) as f64;
    // What was written is written when the broker is done.
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

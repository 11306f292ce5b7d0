//! Measures how a cleaner at full speed affects a consumer and a producer.
//!
//! Both clients send requests at a steady rate far below the broker's capacity, so that their
//! latency is not caused by their own load. A latency is the client's: from before its request is
//! sent until it has the reply, on the same cores as the broker, so that any thread that is woken
//! late counts. The consumer reads 64 KiB at changing places of a log that is in memory; the
//! producer writes a batch of 16 KiB, which is acknowledged before it is synced, as in Apache
//! Kafka.
//!
//! A round fills compacted topics, measures while compaction is not allowed, then allows it
//! (`min.compaction.lag.ms`) without a cap on its bytes, and measures until it is done.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::metrics::sample;
use crate::wire::{self, Batch, Connection, error, key};
use crate::{limits, proc};

use super::updates::{RECORDS, Updates};
use super::{Load, Outcome, Peer, Spread};

const ROUNDS: usize = 5;
const TOPICS: u32 = 6;
/// Interval of the cleaner's checks, short so that it begins soon.
const BACKOFF_MS: &str = "50";
const LAG: &str = "min.compaction.lag.ms";
const NEVER_MS: &str = "86400000";

const FETCH_EVERY: Duration = Duration::from_millis(4);
const FETCH_BYTES: i32 = 64 << 10;
const READ_BYTES: u64 = 64 << 20;
/// Records in the log then, slightly fewer than KiB.
const READ_RECORDS: i64 = 60_000;
const PRODUCE_EVERY: Duration = Duration::from_millis(10);
const BATCH_BYTES: usize = 16 << 10;
const FETCHES_IDLE: usize = 500;
/// Fetches between two checks of the cleaner.
const LOOK_EVERY: usize = 25;
/// Fetches before measuring: a JVM compiles code that has run often.
const FETCHES_BEFORE: usize = 5000;

/// Settings that a broker needs for this measurement.
pub const SETTINGS: &[(&str, &str)] = &[("log.cleaner.backoff.ms", BACKOFF_MS)];

/// Latencies of both clients.
#[derive(Debug, Default)]
struct Seen {
    fetches: Outcome,
    produces: Outcome,
    /// The consumer's p99 of each round.
    rounds: Spread,
}

impl Seen {
    fn add(&mut self, (mut fetches, produces): (Outcome, Outcome)) {
        self.rounds.add(fetches.latency_ms(99.0));
        self.fetches.merge(fetches);
        self.produces.merge(produces);
    }

    fn show(&mut self) -> String {
        format!(
            "consumer p50 {:.2}, p99 {:.2} (rounds {}), p99.9 {:.2}; producer p99 {:.2} ms \
             ({} fetches)",
            self.fetches.latency_ms(50.0),
            self.fetches.latency_ms(99.0),
            self.rounds.show(2),
            self.fetches.latency_ms(99.9),
            self.produces.latency_ms(99.0),
            self.fetches.requests,
        )
    }
}

/// Returns one broker's figures, and the ratio of the figures beside the cleaner to the idle ones.
pub fn run(peer: &mut Peer, updates: &Updates) -> String {
    let mut connection = Connection::open(&peer.bootstrap());
    // Apache Kafka never compacts the active segment, so its segments are small; sedge's are the
    // store's.
    let segments = match peer {
        Peer::Kafka(_) => Some(("segment.bytes", "16777216")),
        Peer::Sedge(_) => None,
    };
    let configs: Vec<_> = [("cleanup.policy", "compact"), (LAG, NEVER_MS)]
        .into_iter()
        .chain(segments)
        .collect();
    for number in 0..TOPICS {
        wire::create_topic(&mut connection, &topic(number), 1, &configs);
        wire::wait_known(&mut connection, &topic(number), 0);
    }
    for name in ["read", "written"] {
        load(peer, name).create(&[]);
    }
    load(peer, "read").produce(Duration::MAX, READ_BYTES);
    measure(&peer.bootstrap(), &mut |count| count >= FETCHES_BEFORE);
    let (mut idle, mut busy, mut took) = (Seen::default(), Seen::default(), Spread::default());
    let resident = proc::resident_kib(peer.pid());
    for _ in 0..ROUNDS {
        for number in 0..TOPICS {
            updates.produce(&mut connection, &topic(number));
        }
        // Rolls sedge's active segment, and leaves nothing that waits for the disk.
        load(peer, "read").produce(Duration::MAX, READ_BYTES);
        rustix::fs::sync();
        let bootstrap = peer.bootstrap();
        idle.add(measure(&bootstrap, &mut |count| count >= FETCHES_IDLE));
        let before = compactions(peer);
        for number in 0..TOPICS {
            wire::alter_topic(&mut connection, &topic(number), (LAG, "0"));
        }
        let began = Instant::now();
        busy.add(measure(&bootstrap, &mut |count| {
            let is_late = began.elapsed() > limits::CONDITION;
            assert!(!is_late, "{} compactions", compactions(peer) - before);
            count.is_multiple_of(LOOK_EVERY) && compactions(peer) - before >= u64::from(TOPICS)
        }));
        took.add(began.elapsed().as_secs_f64());
        for number in 0..TOPICS {
            wire::alter_topic(&mut connection, &topic(number), (LAG, NEVER_MS));
        }
    }
    let mut text = format!(
        "{}, {ROUNDS} rounds of {TOPICS} topics, {} s to clean (about {:.0} records/s), \
         {:.0} MiB resident before, {:.0} after\n",
        peer.name(),
        took.show(1),
        RECORDS as f64 * f64::from(TOPICS) / took.median(),
        resident as f64 / 1024.0,
        proc::resident_kib(peer.pid()) as f64 / 1024.0,
    );
    writeln!(text, "  idle:     {}", idle.show()).expect("a String takes everything");
    writeln!(text, "  cleaning: {}", busy.show()).expect("as above");
    let mut times = |of: fn(&mut Seen) -> &mut Outcome, percent: f64| {
        of(&mut busy).latency_ms(percent) / of(&mut idle).latency_ms(percent)
    };
    write!(
        text,
        "  cleaning/idle: consumer p50 {:.2}, p99 {:.2}, producer p99 {:.2}",
        times(|seen| &mut seen.fetches, 50.0),
        times(|seen| &mut seen.fetches, 99.0),
        times(|seen| &mut seen.produces, 99.0),
    )
    .expect("as above");
    text
}

fn topic(number: u32) -> String {
    format!("beside-{number}")
}

fn load(peer: &Peer, topic: &str) -> Load {
    Load {
        bootstrap: peer.bootstrap(),
        topic: topic.into(),
        partitions: 1,
        in_flight: 5,
        batch_bytes: BATCH_BYTES,
        record_bytes: 1 << 10,
        tls: None,
    }
}

/// Returns the number of compactions so far.
fn compactions(peer: &mut Peer) -> u64 {
    match peer {
        Peer::Sedge(sedge) => sample(sedge.console(), "sedge_cleaner_compactions_total") as u64,
        Peer::Kafka(_) => {
            let log = peer.log();
            let lines = log
                .iter()
                .filter(|line| line.contains("cleaned log beside"));
            lines.count() as u64
        }
    }
}

/// Runs both clients at their rate, until the consumer has done enough.
fn measure(bootstrap: &str, is_enough: &mut dyn FnMut(usize) -> bool) -> (Outcome, Outcome) {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let producer = scope.spawn(|| produce_until(bootstrap, &is_over));
        let over = EndOnDrop(&is_over);
        let fetches = fetch_until(bootstrap, is_enough);
        drop(over);
        let produces = producer.join().expect("the producer runs to its end");
        (fetches, produces)
    })
}

/// Stops the producer, even if the consumer fails.
struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn fetch_until(bootstrap: &str, is_enough: &mut dyn FnMut(usize) -> bool) -> Outcome {
    let mut connection = Connection::open(bootstrap);
    let mut outcome = Outcome::default();
    let mut offset = 7;
    for count in 1.. {
        offset = (offset * 7919 + 13) % READ_RECORDS;
        let body = wire::fetch_request("read", 0, offset, FETCH_BYTES);
        let asked = Instant::now();
        let answer = wire::fetched(&connection.ask(key::FETCH, wire::FETCH_VERSION, &body));
        outcome.note(asked.elapsed(), answer.records.len());
        assert_eq!(answer.error, error::NONE);
        if is_enough(count) {
            break;
        }
        std::thread::sleep(FETCH_EVERY);
    }
    outcome
}

fn produce_until(bootstrap: &str, is_over: &AtomicBool) -> Outcome {
    let mut connection = Connection::open(bootstrap);
    let mut outcome = Outcome::default();
    let batch = Batch::filled(BATCH_BYTES >> 10, 1 << 10).encode();
    while !is_over.load(Ordering::Acquire) {
        let asked = Instant::now();
        let produced = wire::produce(&mut connection, "written", 0, &batch);
        outcome.note(asked.elapsed(), batch.len());
        assert_eq!(produced.error, error::NONE, "{produced:?}");
        std::thread::sleep(PRODUCE_EVERY);
    }
    outcome
}

//! `bench metadata`: measures a start after a million metadata records that leave a thousand
//! topics.

use std::fmt::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::bench::{Peer, Spread};
use crate::limits;
use crate::proc::allocated_bytes;
use crate::temp_dir::TempDir;
use crate::wire::{self, Connection, Decoder, Encoder, error, key};

/// Topics that are left; others come and go.
const TOPICS: usize = 1_000;
/// Topics in a request, so that it is one change of the controller and takes much less than a
/// second.
const TOPICS_AT_ONCE: usize = 50;
/// Configuration keys; each change of one is a record.
const KEYS: [&str; 10] = [
    "delete.retention.ms",
    "file.delete.delay.ms",
    "flush.ms",
    "index.interval.bytes",
    "max.compaction.lag.ms",
    "max.message.bytes",
    "retention.bytes",
    "retention.ms",
    "segment.jitter.ms",
    "segment.ms",
];
/// Records between two topics that are created and deleted again.
const RECORDS_A_TOPIC: u64 = 1_000;
const WRITERS: usize = 4;
/// Rounds with Apache Kafka, whose restarts take seconds each.
const KAFKA_ROUNDS: usize = 2;

/// The amount of data, and the number of rounds.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub records: u64,
    /// Rounds of each kind of restart.
    pub rounds: usize,
    pub with_kafka: bool,
}

/// Runs the benchmark. Reports each line as soon as it is measured.
pub fn run(plan: Plan, say: &dyn Fn(&str)) {
    let directory = TempDir::new("bench-metadata");
    say(&format!(
        "{} records of metadata, {TOPICS} topics left; sedge durability interval, Kafka's default",
        plan.records
    ));
    measure(
        &mut Peer::sedge(directory.path(), "interval"),
        plan,
        plan.rounds,
        say,
    );
    if plan.with_kafka {
        let rounds = plan.rounds.min(KAFKA_ROUNDS);
        measure(&mut Peer::kafka(directory.path()), plan, rounds, say);
    }
}

fn measure(peer: &mut Peer, plan: Plan, rounds: usize, say: &dyn Fn(&str)) {
    let began = Instant::now();
    let mut connection = Connection::patient(&peer.bootstrap(), limits::MANY_PARTITIONS);
    for number in 0..TOPICS {
        wire::create_topic(&mut connection, &topic(number), 1, &[]);
    }
    let address = peer.bootstrap();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let address = &address;
            scope.spawn(move || churn(address, writer, plan.records / WRITERS as u64));
        }
    });
    let name = peer.name();
    let written = began.elapsed().as_secs_f64();
    let bytes = allocated_bytes(&peer.segments());
    say(&format!(
        "{name} written in {written:.1} s, {:.1} MiB on disk",
        bytes as f64 / f64::from(1 << 20)
    ));
    for (how, stop) in [
        ("after SIGTERM", Peer::terminate as fn(&mut Peer)),
        ("after kill -9", Peer::kill),
    ] {
        let mut spread = Spread::default();
        for _ in 0..rounds {
            stop(peer);
            spread.add(started(peer).as_secs_f64());
        }
        let mut line = String::new();
        write!(
            line,
            "{name} start to the first produce {how}, s: {}",
            spread.show(3)
        )
        .expect("a String takes everything");
        say(&line);
    }
    let left = wire::topics(&mut Connection::open(&address)).len();
    assert!(left >= TOPICS, "{left} topics are left of {TOPICS}");
}

fn topic(number: usize) -> String {
    format!("kept-{number}")
}

/// Alters configurations, and sometimes creates and deletes topics, until `records` are written.
fn churn(address: &str, writer: usize, records: u64) {
    let mut connection = Connection::patient(address, limits::MANY_PARTITIONS);
    let own: Vec<usize> = (writer..TOPICS).step_by(WRITERS).collect();
    let mut written = 0;
    let mut since_a_topic = 0;
    let mut value = 1_000_000_u64;
    while written < records {
        for some in own.chunks(TOPICS_AT_ONCE) {
            value += 1;
            alter(&mut connection, some, value);
            let count = (some.len() * KEYS.len()) as u64;
            written += count;
            since_a_topic += count;
            if since_a_topic >= RECORDS_A_TOPIC {
                // Records of a topic, its partition, and its deletion.
                since_a_topic = 0;
                written += 3;
                let name = format!("passing-{writer}-{value}");
                wire::create_topic(&mut connection, &name, 1, &[]);
                wire::delete_topic(&mut connection, &name);
            }
            if written >= records {
                break;
            }
        }
    }
}

/// Sets all keys of some topics (`IncrementalAlterConfigs` v0).
fn alter(at: &mut Connection, topics: &[usize], value: u64) {
    const TOPIC: i8 = 2;
    const SET: i8 = 0;
    let value = value.to_string();
    let mut body = Encoder::default().i32(topics.len() as i32);
    for number in topics {
        body = body
            .i8(TOPIC)
            .string(&*topic(*number))
            .i32(KEYS.len() as i32);
        for key in KEYS {
            body = body.string(key).i8(SET).string(&*value);
        }
    }
    let reply = at.ask(key::INCREMENTAL_ALTER_CONFIGS, 0, &body.i8(0).0);
    let mut d = Decoder(&reply);
    d.i32();
    for _ in 0..d.i32() {
        let (code, message) = (d.i16(), d.string());
        d.take(1);
        let name = d.string();
        assert_eq!(code, error::NONE, "altering {name:?}: {message:?}");
    }
}

/// Starts the process. Returns the time to the first acknowledged produce.
fn started(peer: &mut Peer) -> Duration {
    let began = Instant::now();
    peer.launch();
    let address = peer.bootstrap();
    while TcpStream::connect(&address).is_err() {
        assert!(
            began.elapsed() < limits::MANY_PARTITIONS,
            "nothing listens on {address}"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut connection = Connection::patient(&address, limits::MANY_PARTITIONS);
    wire::wait_leader(&mut connection, &topic(0), 0);
    began.elapsed()
}

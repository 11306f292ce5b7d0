//! `bench quotas`: producers with a byte-rate quota beside a neighbour without one. Measures how
//! near each is to its rate, and the neighbour's latency compared with running alone.
//!
//! A client that was idle has a credit, and sends it as fast as the broker takes it. So the
//! neighbour's latency is told twice: while the credits are used up (and a virtual machine starts),
//! and while all are held to their rates.

use std::fmt::Write as _;
use std::process::Command;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::alter_client_quotas_request::{
    AlterClientQuotasRequestData, EntityData, EntryData, OpData,
};
use sedge_protocol::kafka::generated::alter_client_quotas_response::AlterClientQuotasResponseData;

use crate::bench::{Outcome, Peer};
use crate::process::Process;
use crate::temp_dir::TempDir;
use crate::wire::{
    self, Batch, Connection, Decoder, Encoder, PRODUCE_VERSION, error, frame_of, key,
    produce_request, produced,
};
use crate::{ask, kafka_tools};

/// The quota of each client that has one, in bytes a second.
const RATE: u64 = 1_000_000;
const RECORD_BYTES: usize = 10_000;
/// Bytes that a client may send at once after it was idle, including the current window. After them
/// it is limited to its rate.
const CREDIT: u64 = 11 * RATE;
/// Interval at which the end of a topic is read.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Requests in flight of the client that ignores throttling.
const IN_FLIGHT: usize = 5;
/// Time between two requests of the neighbour.
const NEIGHBOUR_EVERY: Duration = Duration::from_millis(2);

/// The clients with a quota: name, and the command that produces without end.
type Start = fn(bootstrap: &str) -> Command;

const CLIENTS: &[(&str, Start)] = &[
    ("java", |bootstrap| {
        let mut command = kafka_tools::command("kafka-producer-perf-test");
        let count = RECORDS.to_string();
        command.args([
            "--topic",
            "java",
            "--throughput",
            "-1",
            "--num-records",
            &count,
        ]);
        command.args(["--record-size", &RECORD_BYTES.to_string()]);
        command.args(["--bootstrap-server", bootstrap]);
        command.args(["--command-property", "client.id=java"]);
        command
    }),
    ("librdkafka", |bootstrap| {
        let mut command = Command::new("sh");
        let line = "x".repeat(RECORD_BYTES);
        command.arg("-c").arg(format!(
            "yes {line} | head -n {RECORDS} | kcat -q -P -b {bootstrap} -t librdkafka \
             -X client.id=librdkafka -X batch.num.messages=10"
        ));
        command
    }),
];

/// A client that ignores `throttle_time_ms`.
const RUDE: &str = "rude";
const NEIGHBOUR: &str = "neighbour";

/// More records than a client can send.
const RECORDS: u64 = 3600 * RATE / RECORD_BYTES as u64;

/// The part of a run in which all clients are held to their rates.
struct Steady {
    all_used_their_credit: Barrier,
    is_now: AtomicBool,
}

impl Steady {
    fn new(clients: usize) -> Self {
        Self {
            all_used_their_credit: Barrier::new(clients),
            is_now: AtomicBool::new(false),
        }
    }

    /// Waits for the clients that still have credit.
    fn begin(&self) {
        if self.all_used_their_credit.wait().is_leader() {
            self.is_now.store(true, Ordering::Relaxed);
        }
    }

    fn end(&self) {
        self.is_now.store(false, Ordering::Relaxed);
    }

    fn is_now(&self) -> bool {
        self.is_now.load(Ordering::Relaxed)
    }
}

/// Returns the table for `seconds` of each broker.
pub fn run(seconds: u64, with_kafka: bool) -> String {
    let directory = TempDir::new("bench-quotas");
    let mut table = format!(
        "quotas of {RATE} bytes/s, over {seconds} s; % of the quota, and the neighbour's latency in \
         ms (p99 p99.9 max)\n"
    );
    let mut peers: Vec<fn(&TempDir) -> Peer> =
        vec![|directory| Peer::sedge(directory.path(), "interval")];
    if with_kafka {
        peers.push(|directory| Peer::kafka(directory.path()));
    }
    for start in peers {
        let mut peer = start(&directory);
        table.push_str(&measure(&mut peer, seconds));
        peer.terminate();
    }
    table
}

fn measure(peer: &mut Peer, seconds: u64) -> String {
    let bootstrap = peer.bootstrap();
    let names = || CLIENTS.iter().map(|(name, _)| *name).chain([RUDE]);
    for topic in names().chain([NEIGHBOUR]) {
        let mut connection = Connection::open(&bootstrap);
        wire::create_topic(&mut connection, topic, 1, &[]);
        wire::wait_leader(&mut connection, topic, 0);
    }
    let (is_over, steady) = (AtomicBool::new(false), Steady::new(names().count()));
    let time = Duration::from_secs(seconds.min(10));
    let [mut alone, _] = neighbour(&bootstrap, time, &is_over, &steady);
    for client in names() {
        set(&bootstrap, client);
    }
    let (mut beside, mut rates) = (<[Outcome; 2]>::default(), Vec::new());
    std::thread::scope(|scope| {
        let (bootstrap, is_over, steady) = (&bootstrap, &is_over, &steady);
        let rude = scope.spawn(move || rude(bootstrap, is_over));
        let clients: Vec<_> = CLIENTS
            .iter()
            .map(|(name, start)| {
                scope.spawn(move || {
                    let _client = Process::spawn(name, &mut start(bootstrap));
                    rate(bootstrap, name, seconds, steady)
                })
            })
            .collect();
        let of_rude = scope.spawn(move || rate(bootstrap, RUDE, seconds, steady));
        let beside_them = scope.spawn(move || neighbour(bootstrap, Duration::MAX, is_over, steady));
        rates = clients
            .into_iter()
            .chain([of_rude])
            .map(|client| client.join().expect("the client goes on"))
            .collect();
        is_over.store(true, Ordering::Relaxed);
        beside = beside_them.join().expect("the neighbour goes on");
        rude.join().expect("the client goes on");
    });
    let mut line = format!("{:<6}", peer.name());
    for (name, rate) in names().zip(rates) {
        let percent = rate / RATE as f64 * 100.0;
        write!(line, "  {name} {percent:.1} %").expect("a String takes all");
    }
    let tail =
        |outcome: &mut Outcome| [99.0, 99.9, 100.0].map(|percent| outcome.latency_ms(percent));
    let (alone, [bursts, steady]) = (tail(&mut alone), beside.each_mut().map(tail));
    for (when, [p99, p999, max]) in [("alone", alone), ("bursts", bursts), ("at rates", steady)] {
        write!(line, "  {when} {p99:.2} {p999:.2} {max:.2}").expect("a String takes all");
    }
    writeln!(line, "  ({:.2} times)", steady[0] / alone[0]).expect("a String takes all");
    line
}

/// Measures the bytes a second of a client that writes to the topic of its name.
fn rate(bootstrap: &str, client: &str, seconds: u64, steady: &Steady) -> f64 {
    let mut connection = Connection::open(bootstrap);
    let mut reach = |is_there: &dyn Fn(u64) -> bool| loop {
        let bytes = written(&mut connection, client);
        if is_there(bytes) {
            return (Instant::now(), bytes);
        }
        std::thread::sleep(LOOK_EVERY);
    };
    reach(&|bytes| bytes >= CREDIT);
    steady.begin();
    let (began, from) = reach(&|_| true);
    let (ended, to) = reach(&|_| began.elapsed() >= Duration::from_secs(seconds));
    steady.end();
    (to - from) as f64 / (ended - began).as_secs_f64()
}

fn written(connection: &mut Connection, topic: &str) -> u64 {
    let body = Encoder::default().i32(-1).i8(0).i32(1).string(topic);
    let body = body.i32(1).i32(0).i32(-1).i64(-1).0;
    let reply = connection.ask(key::LIST_OFFSETS, 4, &body);
    let mut d = Decoder(&reply);
    d.take(8);
    d.string();
    d.take(8);
    assert_eq!(d.i16(), error::NONE, "the end of {topic}");
    d.i64();
    d.i64() as u64 * RECORD_BYTES as u64
}

/// Sends without waiting, with its window of requests full, until the others are done.
fn rude(bootstrap: &str, is_over: &AtomicBool) {
    let batch = Batch::of(&[vec![b'x'; RECORD_BYTES], vec![b'x'; RECORD_BYTES]]).encode();
    let body = produce_request(RUDE, 0, -1, &batch);
    let request = frame_of(RUDE, (key::PRODUCE, PRODUCE_VERSION), 1, &body);
    let mut connection = Connection::open(bootstrap);
    for _ in 0..IN_FLIGHT {
        connection.send_raw(&request);
    }
    while !is_over.load(Ordering::Relaxed) {
        let reply = connection.reply().frame();
        assert_eq!(produced(&reply[4..]).error, error::NONE);
        connection.send_raw(&request);
    }
}

/// Produces small batches at an even pace. Returns the outcome before the clients are held to their
/// rates, and then.
fn neighbour(
    bootstrap: &str,
    time: Duration,
    is_over: &AtomicBool,
    steady: &Steady,
) -> [Outcome; 2] {
    let batch = Batch::of(&[vec![b'x'; 100]]).encode();
    let body = produce_request(NEIGHBOUR, 0, -1, &batch);
    let request = frame_of(NEIGHBOUR, (key::PRODUCE, PRODUCE_VERSION), 1, &body);
    let mut connection = Connection::open(bootstrap);
    let mut outcomes = <[Outcome; 2]>::default();
    let began = Instant::now();
    while began.elapsed() < time && !is_over.load(Ordering::Relaxed) {
        let asked = Instant::now();
        connection.send_raw(&request);
        let reply = connection.reply().frame();
        assert_eq!(produced(&reply[4..]).error, error::NONE);
        outcomes[usize::from(steady.is_now())].note(asked.elapsed(), batch.len());
        std::thread::sleep(NEIGHBOUR_EVERY);
    }
    outcomes
}

/// Sets the quota of the clients with an id.
fn set(bootstrap: &str, client: &str) {
    let text = |text: &str| KafkaString::from(text.to_owned());
    let entity = EntityData::default()
        .with_entity_type(text("client-id"))
        .with_entity_name(Some(text(client)));
    let op = OpData::default()
        .with_key(text("producer_byte_rate"))
        .with_value(RATE as f64);
    let entry = EntryData::default()
        .with_entity(vec![entity])
        .with_ops(vec![op]);
    let request = AlterClientQuotasRequestData::default().with_entries(vec![entry]);
    let mut admin = Connection::open(bootstrap);
    let answer = ask!(&mut admin, AlterClientQuotas 1, request => AlterClientQuotasResponseData);
    assert_eq!(answer.entries[0].error_code, error::NONE, "{answer:?}");
}

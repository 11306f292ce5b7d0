//! `bench tails`: latencies at a steady pace, from the produce to its acknowledgement and to the
//! consumer, up to the worst one, compared with Apache Kafka in one run.
//!
//! A batch is due every millisecond, whether the ones before it are acknowledged or not, and its
//! latency counts from when it was due: a broker that stands still delays all that comes meanwhile.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Seek, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::bench::throughput::warm;
use crate::bench::{Outcome, Peer, Spread};
use crate::temp_dir::TempDir;
use crate::wire::{
    self, Batch, Connection, FETCH_VERSION, PRODUCE_VERSION, error, fetched, frame, key,
    produce_request, produced,
};

/// How often, how long, and which cells.
#[derive(Clone, Debug)]
pub struct Plan {
    pub rounds: usize,
    pub seconds: u64,
    pub warm_bytes: u64,
    /// Only cells whose name contains this.
    pub cells: String,
    pub with_kafka: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            rounds: 10,
            seconds: 10,
            warm_bytes: 1_000_000_000,
            cells: String::new(),
            with_kafka: true,
        }
    }
}

const EVERY: Duration = Duration::from_millis(1);
const RECORD_BYTES: usize = 1 << 10;
/// Records in each batch.
const BATCHES: [usize; 2] = [1, 20];
const DURABILITIES: [&str; 2] = ["interval", "sync"];
const BESIDES: [Beside; 3] = [Beside::Nothing, Beside::ForeignWrites, Beside::FlushedTopic];
const FETCH_BYTES: i32 = 1 << 20;
/// What another process writes to the same disk: the bytes of a write, their pace, and the size of
/// the file, which is written from the start again and again.
const FOREIGN_BYTES: usize = 1 << 20;
const FOREIGN_EVERY: Duration = Duration::from_micros(2_500);
const FOREIGN_FILE: u64 = 2 << 30;
/// A flushed batch, and the pause after each.
const FLUSHED_BYTES: usize = 64 << 10;
const FLUSHED_EVERY: Duration = Duration::from_millis(5);

const PERCENTS: [(&str, f64); 4] = [
    ("p50", 50.0),
    ("p99", 99.0),
    ("p99.9", 99.9),
    ("worst", 100.0),
];

/// The latencies of a broker in a cell, of each run: of produces, and from end to end.
#[derive(Debug, Default)]
struct Column {
    produce: [Spread; PERCENTS.len()],
    end_to_end: [Spread; PERCENTS.len()],
}

/// What goes on beside the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    Nothing,
    /// Another process writes to the same disk.
    ForeignWrites,
    /// Another client produces to a topic of which each batch is flushed.
    FlushedTopic,
}

impl Beside {
    const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "idle disk",
            Self::ForeignWrites => "foreign writes",
            Self::FlushedTopic => "a flushed topic beside",
        }
    }
}

/// Runs every cell and returns the table.
pub fn run(plan: &Plan, progress: &dyn Fn(&str)) -> String {
    let directory = TempDir::on_disk("bench-tails");
    let kafka = plan.with_kafka.then(|| Peer::kafka(directory.path()));
    let sedge = Peer::sedge(directory.path(), "interval");
    let mut peers: Vec<Peer> = kafka.into_iter().chain([sedge]).collect();
    for peer in &mut peers {
        warm(peer, None, plan.warm_bytes);
    }
    let head = format!(
        "latency in ms, median (smallest-largest) of {} runs of {} s; records of {RECORD_BYTES} \
         bytes\n",
        plan.rounds, plan.seconds
    );
    progress(&head);
    let mut table = head;
    for durability in DURABILITIES {
        for beside in BESIDES {
            for records in BATCHES {
                let a_second = records * 1000 / EVERY.as_millis() as usize;
                let cell = format!("{durability}, {}, {a_second} a second", beside.name());
                if !cell.contains(&plan.cells) {
                    continue;
                }
                let columns = measure(&peers, plan, durability, beside, records, directory.path());
                let rows = rows(&cell, &peers, &columns);
                progress(&rows);
                table.push_str(&rows);
            }
        }
    }
    table
}

fn measure(
    peers: &[Peer],
    plan: &Plan,
    durability: &str,
    beside: Beside,
    records: usize,
    directory: &Path,
) -> Vec<Column> {
    let mut columns: Vec<Column> = peers.iter().map(|_| Column::default()).collect();
    for round in 0..plan.rounds {
        for (peer, column) in peers.iter().zip(&mut columns) {
            let topic = format!("tails-{durability}-{beside:?}-{records}-{round}");
            let mut admin = Connection::open(&peer.bootstrap());
            let sync: &[(&str, &str)] = &[("flush.messages", "1")];
            let configs = if durability == "sync" { sync } else { &[] };
            wire::create_topic(&mut admin, &topic, 1, configs);
            // That writes records of its own.
            wire::wait_leader(&mut admin, &topic, 0);
            let paced = Paced {
                bootstrap: peer.bootstrap(),
                records,
                count: plan.seconds * 1000 / EVERY.as_millis() as u64,
                first: wire::fetch(&mut admin, &topic, 0, 0).high_watermark,
                topic,
            };
            rustix::fs::sync();
            let is_over = AtomicBool::new(false);
            let (produce, end_to_end) = thread::scope(|scope| {
                match beside {
                    Beside::Nothing => {}
                    Beside::ForeignWrites => {
                        scope.spawn(|| write_beside(&directory.join("foreign"), &is_over));
                    }
                    Beside::FlushedTopic => {
                        scope.spawn(|| flush_beside(&paced.bootstrap, &is_over));
                    }
                }
                let measured = paced.run();
                is_over.store(true, Ordering::Relaxed);
                measured
            });
            note(&mut column.produce, produce);
            note(&mut column.end_to_end, end_to_end);
            wire::delete_topic(&mut admin, &paced.topic);
        }
    }
    columns
}

fn note(spreads: &mut [Spread], mut outcome: Outcome) {
    for (spread, (_, percent)) in spreads.iter_mut().zip(PERCENTS) {
        spread.add(outcome.latency_ms(percent));
    }
}

/// A producer with an even pace, and a consumer at the end of the log.
struct Paced {
    bootstrap: String,
    topic: String,
    /// Records in a batch.
    records: usize,
    /// Batches.
    count: u64,
    /// The offset of the first record.
    first: i64,
}

impl Paced {
    /// Returns the latencies of the produces, and those from end to end.
    fn run(&self) -> (Outcome, Outcome) {
        let bytes = RECORD_BYTES - 70;
        let batch = Batch::filled(self.records, bytes).encode();
        let body = produce_request(&self.topic, 0, -1, &batch);
        let request = frame(key::PRODUCE, PRODUCE_VERSION, 1, &body);
        let mut replies = Connection::open(&self.bootstrap);
        let requests = replies.stream.try_clone().expect("a socket has two halves");
        let mut consumer = Connection::open(&self.bootstrap);
        let began = Instant::now() + EVERY;
        let due = |number: u64| began + EVERY * u32::try_from(number).expect("a few batches");
        thread::scope(|scope| {
            scope.spawn(|| self.send(requests, &request, &due));
            let consumed = scope.spawn(|| self.consume(&mut consumer, &due));
            let mut produced_all = Outcome::default();
            for number in 0..self.count {
                let reply = replies.reply().frame();
                let now = Instant::now();
                let answer = produced(&reply[4..]);
                assert_eq!(answer.error, error::NONE, "produce: {answer:?}");
                produced_all.note(now - due(number), batch.len());
            }
            (
                produced_all,
                consumed.join().expect("the consumer reads all"),
            )
        })
    }

    fn send(&self, mut stream: TcpStream, request: &[u8], due: &dyn Fn(u64) -> Instant) {
        for number in 0..self.count {
            thread::sleep(due(number).saturating_duration_since(Instant::now()));
            stream.write_all(request).expect("the broker reads");
        }
    }

    fn consume(&self, connection: &mut Connection, due: &dyn Fn(u64) -> Instant) -> Outcome {
        let mut outcome = Outcome::default();
        let (mut offset, mut number) = (self.first, 0);
        while number < self.count {
            let body = wire::fetch_request(&self.topic, 0, offset, FETCH_BYTES);
            let answer = fetched(&connection.ask(key::FETCH, FETCH_VERSION, &body));
            let now = Instant::now();
            assert_eq!(answer.error, error::NONE, "fetch at {offset}");
            offset = wire::next_offset(&answer.records).unwrap_or(offset);
            while number < (offset - self.first) as u64 / self.records as u64 {
                outcome.note(now - due(number), RECORD_BYTES * self.records);
                number += 1;
            }
        }
        outcome
    }
}

/// Writes some 400 MB a second until `is_over`.
fn write_beside(path: &Path, is_over: &AtomicBool) {
    let mut file = File::create(path).expect("the directory is writable");
    let chunk = vec![b'x'; FOREIGN_BYTES];
    let (began, mut written) = (Instant::now(), 0);
    while !is_over.load(Ordering::Relaxed) {
        file.write_all(&chunk).expect("the disk has room");
        written += 1;
        if file.stream_position().expect("a file has a position") >= FOREIGN_FILE {
            file.rewind().expect("a file has a start");
        }
        let next = began + FOREIGN_EVERY * written;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    drop(file);
    std::fs::remove_file(path).expect("the file is there");
}

/// Produces to a topic of which each batch is flushed, until `is_over`.
fn flush_beside(bootstrap: &str, is_over: &AtomicBool) {
    const TOPIC: &str = "flushed-beside";
    let mut connection = Connection::open(bootstrap);
    wire::create_topic(&mut connection, TOPIC, 1, &[("flush.messages", "1")]);
    wire::wait_leader(&mut connection, TOPIC, 0);
    let batch = Batch::filled(1, FLUSHED_BYTES).encode();
    while !is_over.load(Ordering::Relaxed) {
        let answer = wire::produce(&mut connection, TOPIC, 0, &batch);
        assert_eq!(answer.error, error::NONE, "produce: {answer:?}");
        thread::sleep(FLUSHED_EVERY);
    }
    wire::delete_topic(&mut connection, TOPIC);
}

/// The rows of a cell; with two brokers, Apache Kafka is the first.
fn rows(cell: &str, peers: &[Peer], columns: &[Column]) -> String {
    let mut text = String::new();
    let names = || PERCENTS.iter().map(|(name, _)| name);
    for (what, of) in [
        ("produce", (|c: &Column| &c.produce) as fn(&Column) -> &_),
        ("end to end", |c: &Column| &c.end_to_end),
    ] {
        for (peer, column) in peers.iter().zip(columns) {
            write!(text, "{cell} | {what} | {}", peer.name()).expect("a String takes all");
            for (name, spread) in names().zip(of(column)) {
                write!(text, " | {name} {}", spread.show(2)).expect("a String takes all");
            }
            text.push('\n');
        }
        let [kafka, sedge] = columns else { continue };
        write!(text, "{cell} | {what} | sedge/kafka").expect("a String takes all");
        for ((name, kafka), sedge) in names().zip(of(kafka)).zip(of(sedge)) {
            let (median, worst) = (sedge.median() / kafka.median(), sedge.max() / kafka.max());
            write!(text, " | {name} {median:.2} (largest {worst:.2})").expect("a String takes all");
        }
        text.push('\n');
    }
    text
}

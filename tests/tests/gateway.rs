//! Gateways for microcontrollers: devices over TCP and serial lines, read back by kcat.

#[path = "gateway/boards.rs"]
mod boards;
#[path = "gateway/full.rs"]
mod full;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sedge_link::Topic;
use sedge_link::message::{Reason, Usage};
use sedge_tests::device::{Board, Place, publishes};
use sedge_tests::process::Process;
use sedge_tests::sedge::{self, Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Connection};
use sedge_tests::{broker, committed, limits, metrics, ports, tools};

const TOPICS: &[Topic<'static>] = &[publishes("temperature"), publishes("pressure")];
const COMMANDS: &[Topic<'static>] = &[Topic {
    name: "commands",
    usage: Usage::SubscribeEarliest,
}];
/// The name of a device's count, which it keeps.
const INSTANCE: u32 = 7;

/// Starts a broker with a gateway that listens. Returns its address as well.
fn start(data: &Path, more: &str) -> (Sedge, Place) {
    let address = format!("127.0.0.1:{}", ports::free());
    let config = format!(
        "[gateway.field]\nlisten = \"{address}\"\ntopic = \"sensors.{{name}}\"\n\
         publish = [\"sensors.*\"]\nsubscribe = [\"sensors.commands\"]\n{more}"
    );
    let options = Options::default().config(config);
    (Sedge::start(data, options), Place::Tcp(address))
}

/// Returns the values of a topic's partitions, in order.
fn values(broker: &Sedge, topic: &str) -> Vec<u64> {
    let read: BTreeMap<i32, Vec<String>> = committed::read(&broker.bootstrap(), topic);
    let values = read.into_values().flatten();
    values
        .map(|value| value.parse().expect("a number"))
        .collect()
}

/// A device with a source of numbers, which it keeps over resets: a number is its reading's
/// sequence.
struct Source {
    board: Board,
    next: u64,
}

impl Source {
    fn new(place: Place) -> Self {
        Self {
            board: Board::new(place, "pump-1", INSTANCE, TOPICS),
            next: 0,
        }
    }

    /// Publishes the numbers before `end`, until the broker has all of them.
    fn run(&mut self, end: u64) {
        self.board
            .wait("the numbers", |board| board.device.is_open());
        let mut steps = 0;
        while self.next < end || self.board.device.queued() > 0 {
            self.fill(end);
            self.board.step();
            steps += 1;
            assert!(steps < 200_000, "the link is stuck: {:?}", self.board);
        }
    }

    /// Publishes what the queue takes.
    fn fill(&mut self, end: u64) {
        if self.board.device.queued() == 0 {
            self.next = u64::from(self.board.device.next_sequence());
        }
        while self.board.device.is_open() && self.next < end {
            if !self.board.publish(0, &self.next.to_string()) {
                break;
            }
            self.next += 1;
        }
    }

    /// Runs for some steps, which may end in the middle of anything.
    fn run_for(&mut self, steps: u32, end: u64) {
        for _ in 0..steps {
            self.fill(end);
            self.board.step();
        }
    }
}

#[test]
fn readings_are_there_once_over_kills_noise_and_resets() {
    if broker::is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::new("gateway-kills");
    let (mut broker, place) = start(&directory.path().join("data"), "");
    let mut source = Source::new(place);
    source.board.noise = 100;
    let end = 20_000;
    for round in 0..12 {
        source.run_for(400, end);
        if round % 3 == 2 {
            broker.kill();
            source.run_for(50, end);
            broker.start_again();
        } else {
            source.board.reset();
        }
    }
    source.board.noise = 0;
    source.run(end);
    let expected: Vec<u64> = (0..end).collect();
    let seen = values(&broker, "sensors.temperature");
    assert!(seen == expected, "{} values", seen.len());
    assert!(metrics::sample(broker.console(), "sedge_gateway_noise_total") > 0.0);
}

/// Two ends of a serial line.
struct Pair {
    socat: Process,
    ends: [PathBuf; 2],
}

impl Pair {
    /// Returns `None` if there is no socat.
    fn start(directory: &Path) -> Option<Self> {
        let ends = ["broker", "device"].map(|name| directory.join(name));
        let mut command = Command::new("socat");
        for end in &ends {
            command.arg(format!("pty,raw,echo=0,link={}", end.display()));
        }
        if Command::new("socat").arg("-V").output().is_err() {
            eprintln!("skipped: there is no socat");
            return None;
        }
        let socat = Process::spawn("socat", &mut command);
        let deadline = std::time::Instant::now() + limits::COMMAND;
        while !ends.iter().all(|end| end.exists()) {
            assert!(std::time::Instant::now() < deadline, "{}", socat.tail());
            std::thread::sleep(Duration::from_millis(5));
        }
        Some(Self { socat, ends })
    }
}

/// Starts a broker with a gateway on one end of a serial line.
fn start_serial(data: &Path, pair: &Pair) -> Sedge {
    let config = format!(
        "[gateway.line]\ndevice = \"{}\"\nbaud = 115200\nparity = \"none\"\npublish = [\".*\"]",
        pair.ends[0].display()
    );
    Sedge::start(data, Options::default().config(config))
}

#[test]
fn a_serial_line_is_served_and_opened_again_after_a_hang_up() {
    if broker::is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::new("gateway-serial");
    let Some(mut pair) = Pair::start(directory.path()) else {
        return;
    };
    let mut broker = start_serial(&directory.path().join("data"), &pair);
    let mut source = Source::new(Place::Serial(pair.ends[1].clone()));
    source.board.noise = 1000;
    source.run(500);
    source.run_for(50, 2000);
    // The line hangs up in the middle, then the broker is killed.
    pair.socat.kill();
    for end in &pair.ends {
        let _ = std::fs::remove_file(end);
    }
    let _pair = Pair::start(directory.path());
    source.run(1000);
    source.run_for(20, 2000);
    broker.kill();
    broker.start_again();
    source.run(2000);
    let expected: Vec<u64> = (0..2000).collect();
    assert!(values(&broker, "temperature") == expected);
}

#[test]
fn the_newer_of_two_devices_with_one_identity_wins_and_nothing_is_doubled() {
    if broker::is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::new("gateway-twins");
    let (broker, place) = start(&directory.path().join("data"), "");
    let mut older = Board::new(place.clone(), "pump-1", 1, TOPICS);
    let mut newer = Board::new(place, "pump-1", 2, TOPICS);
    older.wait("a session", |board| board.device.is_open());
    for value in 0..20 {
        assert!(older.publish(0, &value.to_string()));
    }
    older.wait("the commit", |board| board.device.queued() == 0);
    // These are on their way when the other one comes.
    for value in 20..40 {
        assert!(older.publish(0, &value.to_string()));
    }
    older.step();
    newer.wait("a session", |board| board.device.is_open());
    assert!(newer.publish(0, "1000"));
    newer.wait("the commit", |board| board.device.queued() == 0);
    older.wait("being told", |board| board.stopped.is_some());
    assert_eq!(older.stopped, Some(Reason::Replaced));
    // The older one comes back: its count goes on, and what was written is not written again.
    let now_ms = older.now_ms();
    older.device.restart(now_ms);
    older.wait("the commit", |board| {
        board.device.is_open() && board.device.queued() == 0
    });
    let mut seen = values(&broker, "sensors.temperature");
    seen.sort_unstable();
    let expected: Vec<u64> = (0..40).chain([1000]).collect();
    assert_eq!(seen, expected);
}

#[test]
fn only_devices_with_their_secret_are_served() {
    if broker::is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::new("gateway-secrets");
    let (mut broker, place) = start(&directory.path().join("data"), "secret.pump-1 = \"s3\"\n");
    let board = |identity, secret| {
        Board::new(place.clone(), identity, INSTANCE, TOPICS).with_secret(secret)
    };
    for (identity, secret) in [("pump-1", "wrong"), ("pump-2", "s3")] {
        let mut stranger = board(identity, secret);
        stranger.wait("a refusal", |board| board.stopped.is_some());
        assert_eq!(stranger.stopped, Some(Reason::Identity));
        broker.wait_log(&["refuses device", identity]);
    }
    let mut known = board("pump-1", "s3");
    known.wait("a session", |board| board.device.is_open());
    assert!(known.publish(0, "1"));
    known.wait("the commit", |board| board.device.queued() == 0);
    assert_eq!(values(&broker, "sensors.temperature"), [1]);
}

#[test]
fn a_gateway_that_other_machines_reach_needs_secrets() {
    if broker::is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::new("gateway-open");
    let config = format!(
        "[gateway.field]\nlisten = \"0.0.0.0:{}\"\npublish = [\".*\"]",
        ports::free()
    );
    let options = Options::default().config(config);
    let data = directory.path().join("data");
    let mut serve = sedge::serve(&data, "127.0.0.1:0", &options);
    let done = Process::run("sedge", &mut serve, b"", limits::COMMAND);
    assert!(!done.status.success());
    let told = done.stderr.contains("gateway field") && done.stderr.contains("secret.DEVICE");
    assert!(told, "{}", done.stderr);
}

#[test]
fn a_device_uses_only_the_topics_of_its_gateway() {
    const USES: &[Topic<'static>] = &[
        publishes("temperature"),
        // Not a name that a topic can have.
        publishes("a/b"),
        Topic {
            name: "temperature",
            usage: Usage::SubscribeEarliest,
        },
    ];
    if broker::is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::new("gateway-rights");
    let (mut broker, place) = start(&directory.path().join("data"), "");
    let mut board = Board::new(place, "pump-1", INSTANCE, USES);
    board.wait("a session", |board| board.device.is_open());
    assert_eq!(
        board.topics_refused,
        [(1, Reason::Topic), (2, Reason::Denied)]
    );
    broker.wait_log(&["User:pump-1", "denied", "sensors.temperature"]);
    assert!(board.publish(1, "1") && board.publish(0, "2") && board.publish(1, "3"));
    board.wait("the answers", |board| board.device.queued() == 0);
    assert_eq!(board.readings_refused.len(), 2);
    assert_eq!(values(&broker, "sensors.temperature"), [2]);
}

#[test]
fn a_device_receives_records_and_goes_on_where_it_was() {
    if broker::is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::new("gateway-subscribe");
    let (mut broker, place) = start(&directory.path().join("data"), "");
    produce(&broker, "sensors.commands", 0..50);
    let mut board = Board::new(place, "pump-1", INSTANCE, COMMANDS);
    board.noise = 200;
    board.wait("the records", |board| board.seen.len() >= 50);
    let committed = "sedge_gateway_delivered_total";
    board.wait("the confirmation", |_| {
        metrics::sample(broker.console(), committed) >= 50.0
    });
    broker.kill();
    broker.start_again();
    produce(&broker, "sensors.commands", 50..60);
    board.wait("the newer records", |board| {
        board.seen.iter().any(|record| record.value == b"59")
    });
    let mut offsets: Vec<u64> = board.seen.iter().map(|record| record.offset).collect();
    let first: Vec<u64> = offsets[..50].to_vec();
    assert_eq!(first, (0..50).collect::<Vec<u64>>());
    // Those of the last second may come again.
    offsets.sort_unstable();
    offsets.dedup();
    assert_eq!(offsets, (0..60).collect::<Vec<u64>>());
}

#[test]
fn a_device_receives_only_what_transactions_commit() {
    if broker::is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::new("gateway-transactions");
    let (broker, place) = start(&directory.path().join("data"), "");
    let bootstrap = broker.bootstrap();
    let topic = "sensors.commands";
    wire::create_topic(&mut Connection::open(&bootstrap), topic, 1, &[]);
    let mut write = tools::python("transactions.py");
    // The second one is aborted.
    write.args(["write", &bootstrap, topic, "1", "3"]);
    let done = Process::run("a writer", &mut write, b"", limits::COMMAND);
    tools::must(done, "transactions");
    let mut board = Board::new(place, "pump-1", INSTANCE, COMMANDS);
    board.wait("the last record", |board| {
        board.seen.iter().any(|record| record.value == b"2.6")
    });
    let seen = board.seen.iter();
    let seen: Vec<_> = seen
        .map(|record| String::from_utf8_lossy(&record.value))
        .collect();
    let committed = committed::read(&bootstrap, topic);
    assert_eq!(seen, committed[&0]);
}

fn produce(broker: &Sedge, topic: &str, values: std::ops::Range<u64>) {
    let mut input = Vec::new();
    for value in values {
        writeln!(input, "{value}").expect("a vector takes it");
    }
    let mut kcat = Command::new("kcat");
    kcat.args(["-P", "-b", &broker.bootstrap(), "-t", topic]);
    let done = Process::run("kcat", &mut kcat, &input, limits::COMMAND);
    assert!(done.status.success(), "{}", done.stderr);
}

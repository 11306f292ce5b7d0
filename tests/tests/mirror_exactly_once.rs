//! Tests exactly-once links to Apache Kafka: a `read_committed` consumer sees every record once, in
//! order, whatever happens to the link, the broker and the upstream.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use sedge_tests::apache_kafka::ApacheKafka;
use sedge_tests::link::Site;
use sedge_tests::process::Process;
use sedge_tests::proxy::Proxy;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::soak::{self, Random};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Batch, Connection, error};
use sedge_tests::{committed, kafka_tools, limits, ports, report, tools};

const TOPIC: &str = "sensors";
const PARTITIONS: i32 = 3;

/// What happens while records are produced and copied.
struct Trials {
    cuts: usize,
    kills: usize,
    upstream_restarts: usize,
    records: usize,
    /// Records of a batch.
    batch: usize,
}

const SHORT: Trials = Trials {
    cuts: 4,
    kills: 2,
    upstream_restarts: 1,
    records: 40_000,
    batch: 50,
};
const LONG: Trials = Trials {
    cuts: 200,
    kills: 50,
    upstream_restarts: 20,
    records: 10_000_000,
    batch: 500,
};

/// A broker with a link to an upstream that is reachable only through a proxy.
struct Edge {
    here: Connection,
    sedge: Sedge,
    proxy: Proxy,
    kafka: ApacheKafka,
    random: Random,
    produced: usize,
    // Last, so that the processes end before their directories are removed.
    directory: TempDir,
}

fn link(bootstrap: &str, mode: &str) -> String {
    format!(
        "[mirror.hq]\n\
         bootstrap.servers = \"{bootstrap}\"\n\
         topics = [\".*\"]\n\
         mode = \"{mode}\"\n"
    )
}

impl Edge {
    fn start() -> Self {
        let random = Random::new();
        report::line(format_args!("exactly-once: SEDGE_SEED={}", random.seed()));
        let directory = TempDir::new("exactly-once");
        let proxy = Proxy::start();
        let advertised = format!("PLAINTEXT://{}", proxy.address());
        let settings = [("advertised.listeners".to_string(), advertised)];
        let kafka = ApacheKafka::start(&directory.join("kafka"), &settings);
        proxy.forward_to(&kafka.bootstrap());
        let config = link(&proxy.address(), "exactly-once");
        let sedge = Sedge::start(&directory.join("edge"), Options::default().config(config));
        let mut here = Connection::open(&sedge.bootstrap());
        wire::create_topic(&mut here, TOPIC, PARTITIONS, &[]);
        Self {
            here,
            sedge,
            proxy,
            kafka,
            random,
            produced: 0,
            directory,
        }
    }

    fn produce(&mut self, count: usize, batch: usize) {
        let mut left = count;
        while left > 0 {
            let size = batch.min(left);
            let values = self.produced..self.produced + size;
            let values: Vec<Vec<u8>> = values.map(|n| n.to_string().into_bytes()).collect();
            let partition = self.random.below(PARTITIONS as u64) as i32;
            let bytes = Batch::of(&values).encode();
            let produced = wire::produce(&mut self.here, TOPIC, partition, &bytes);
            assert_eq!(produced.error, error::NONE);
            self.produced += size;
            left -= size;
        }
    }

    fn pause(&mut self, below_ms: u64) {
        std::thread::sleep(Duration::from_millis(self.random.below(below_ms)));
    }

    fn cut(&mut self) {
        self.proxy.cut();
        self.pause(100);
        self.proxy.restore();
    }

    fn kill(&mut self) {
        self.sedge.kill();
        self.sedge.start_again();
        self.here = Connection::open(&self.sedge.bootstrap());
    }

    /// Waits until upstream is what is here.
    fn wait_same(&mut self) -> BTreeMap<i32, Vec<String>> {
        let wanted = committed::read(&self.sedge.bootstrap(), TOPIC);
        let deadline = Instant::now() + limits::CONDITION * 4;
        loop {
            let there = committed::read(&self.proxy.address(), TOPIC);
            if there == wanted {
                return wanted;
            }
            for (partition, there) in &there {
                let wanted = &wanted[partition];
                let is_start = wanted.starts_with(there);
                let mut pairs = there.iter().zip(wanted);
                let first = pairs.position(|(there, wanted)| there != wanted);
                assert!(is_start, "partition {partition} differs at {first:?}");
            }
            let tail = self.sedge.process().tail();
            assert!(Instant::now() < deadline, "upstream has not all\n{tail}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

#[test]
fn every_record_is_upstream_once() {
    let mut edge = Edge::start();
    let trials = if soak::is_long() { LONG } else { SHORT };
    let part = trials.records / trials.cuts;
    for round in 0..trials.cuts {
        edge.produce(part / 2, trials.batch);
        // While this is copied.
        edge.pause(200);
        edge.cut();
        edge.produce(part / 2, trials.batch);
        edge.pause(200);
        if is_due(round, trials.kills, trials.cuts) {
            edge.kill();
        }
        if is_due(round, trials.upstream_restarts, trials.cuts) {
            edge.kafka.kill();
            edge.kafka.start_again();
        }
    }
    let all = edge.wait_same();
    let (count, produced) = (all.values().map(Vec::len).sum::<usize>(), edge.produced);
    assert_eq!(count, produced);
    check_with_kafkas_consumer(&edge.kafka, count);
    let Trials {
        cuts,
        kills,
        upstream_restarts,
        ..
    } = trials;
    report::line(format_args!(
        "exactly-once: {count} records, {cuts} cuts, {kills} kills, {upstream_restarts} restarts \
         of the upstream: 0 lost, 0 twice, order kept"
    ));
}

/// Returns whether one of `times` events, spread over `rounds`, is in this round.
fn is_due(round: usize, times: usize, rounds: usize) -> bool {
    (round + 1) * times / rounds > round * times / rounds
}

/// Counts the distinct records with the console consumer.
fn check_with_kafkas_consumer(kafka: &ApacheKafka, count: usize) {
    let mut consumer = kafka_tools::command("kafka-console-consumer");
    consumer.args(["--bootstrap-server", &kafka.bootstrap(), "--topic", TOPIC]);
    consumer.args(["--from-beginning", "--isolation-level", "read_committed"]);
    // A machine under load may pause for seconds.
    consumer.args(["--max-messages", &count.to_string()]);
    consumer.args(["--timeout-ms", "60000"]);
    let read = Process::run("console-consumer", &mut consumer, b"", limits::COMMAND * 4);
    let mut numbers: Vec<&str> = read.stdout.lines().collect();
    assert_eq!(numbers.len(), count, "{}", read.stderr);
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), count);
}

fn describe(sedge: &Sedge) -> serde_json::Value {
    let mut command = Command::new(tools::sedge());
    command.args(["mirror", "--bootstrap-server", &sedge.bootstrap()]);
    command.args(["describe", "hq", "-o", "json"]);
    let described = Process::run("sedge mirror", &mut command, b"", limits::COMMAND);
    serde_json::from_str(&tools::must(described, "describe").stdout).expect("-o json is JSON")
}

fn wait_state(sedge: &mut Sedge, state: &str) -> String {
    let deadline = Instant::now() + limits::CONDITION;
    loop {
        let described = describe(sedge);
        if described["state"] == state {
            return described["why"].as_str().unwrap_or_default().to_owned();
        }
        let tail = sedge.process().tail();
        assert!(
            Instant::now() < deadline,
            "{described}, not {state}\n{tail}"
        );
        std::thread::sleep(limits::POLL);
    }
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-r").args([from, to]).status();
    assert!(status.expect("cp runs").success());
}

/// A device whose disk was copied to another one, for example.
#[test]
fn a_second_instance_fences_the_first() {
    let mut edge = Edge::start();
    edge.produce(100, 10);
    edge.wait_same();
    assert_eq!(describe(&edge.sedge)["mode"], "exactly-once");
    edge.sedge.terminate();
    copy(&edge.directory.join("edge"), &edge.directory.join("copy"));
    edge.sedge.start_again();
    edge.here = Connection::open(&edge.sedge.bootstrap());
    edge.produce(100, 10);
    edge.wait_same();
    let config = link(&edge.proxy.address(), "exactly-once");
    let options = Options::default().config(config);
    let mut second = Sedge::start(&edge.directory.join("copy"), options);
    wait_state(&mut second, "running");
    edge.produce(100, 10);
    let why = wait_state(&mut edge.sedge, "fenced");
    assert!(why.contains("sedge-mirror-hq-"), "{why}");
    second.kill();
    // An operator who has stopped the second one does not have to wait.
    edge.kill();
    edge.wait_same();
}

#[test]
fn a_link_that_was_at_least_once_continues_exactly_once() {
    let directory = TempDir::new("mode");
    let kafka = ApacheKafka::start(&directory.join("kafka"), &[]);
    let mut sedge: Option<Sedge> = None;
    let mut wanted = Vec::new();
    let modes = [
        "at-least-once",
        "exactly-once",
        "at-least-once",
        "exactly-once",
    ];
    for (round, mode) in modes.into_iter().enumerate() {
        if let Some(mut before) = sedge.take() {
            before.terminate();
        }
        let options = Options::default().config(link(&kafka.bootstrap(), mode));
        let sedge = sedge.insert(Sedge::start(&directory.join("edge"), options));
        let mut here = Connection::open(&sedge.bootstrap());
        if round == 0 {
            wire::create_topic(&mut here, TOPIC, 1, &[]);
        }
        for number in 0..20 {
            let value = format!("{round} {mode} {number}");
            let batch = Batch::of(&[value.clone().into_bytes()]).encode();
            let produced = wire::produce(&mut here, TOPIC, 0, &batch);
            assert_eq!(produced.error, error::NONE);
            wanted.push(value);
        }
        let deadline = Instant::now() + limits::CONDITION;
        while read(&kafka) != wanted {
            let tail = sedge.process().tail();
            let there = read(&kafka);
            assert!(Instant::now() < deadline, "{mode}: {there:?}\n{tail}");
            std::thread::sleep(limits::POLL);
        }
    }
}

fn read(kafka: &ApacheKafka) -> Vec<String> {
    let mut partitions = committed::read(&kafka.bootstrap(), TOPIC);
    partitions.remove(&0).unwrap_or_default()
}

/// Forwards connections to a broker, and leaves `InitProducerId` out of the requests that the
/// broker says it knows. Returns the address.
fn without_transactions(broker: String) -> String {
    let port = ports::free();
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let broker = TcpStream::connect(&broker).expect("the broker listens");
            let (mut from, mut to) = (
                client.try_clone().expect("a copy"),
                broker.try_clone().expect("a copy"),
            );
            thread::spawn(move || std::io::copy(&mut from, &mut to));
            thread::spawn(move || {
                let _ = answer_without_transactions(broker, client);
            });
        }
    });
    format!("127.0.0.1:{port}")
}

/// Forwards answers. The first one is the broker's list of requests: keys, and versions from 0 on.
fn answer_without_transactions(mut from: TcpStream, mut to: TcpStream) -> std::io::Result<u64> {
    const INIT_PRODUCER_ID: [u8; 4] = [0, 22, 0, 0];
    const UNKNOWN: [u8; 4] = [0x70, 0, 0, 0];
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    from.read_exact(&mut answer)?;
    let at = answer.windows(4).position(|at| at == INIT_PRODUCER_ID);
    let at = at.expect("a broker with transactions");
    answer[at..at + 4].copy_from_slice(&UNKNOWN);
    to.write_all(&length)?;
    to.write_all(&answer)?;
    std::io::copy(&mut from, &mut to)
}

#[test]
fn an_upstream_without_transactions_gets_records_at_least_once_or_not_at_all() {
    let link = |further: &[&str]| {
        let site = Site::without_link(Options::default());
        let servers = without_transactions(site.upstream_bootstrap());
        let servers = format!("bootstrap.servers={servers}");
        let mut arguments = vec!["create", "hq", "--set", &servers, "--set", "topics=.*"];
        arguments.extend(further);
        tools::must(site.mirror(&arguments), "create");
        site
    };
    let mut site = link(&[]);
    site.wait("the mode is known", |site| {
        site.describe()["mode"] == "at-least-once"
    });
    assert_eq!(site.logged("at-least-once, because"), 1);
    let mut site = link(&["--set", "mode=exactly-once"]);
    site.wait("the link is blocked", |site| {
        site.describe()["state"] == "blocked"
    });
    let described = site.describe();
    let why = described["why"].as_str().unwrap_or_default();
    assert!(why.contains("set mode = at-least-once"), "{why}");
}

/// A batch that the upstream never takes is in no transaction of other partitions.
#[test]
fn a_refused_partition_does_not_hold_up_the_others() {
    // What is large stays large.
    let link = "mode = \"exactly-once\"\n\"compression.type\" = \"producer\"";
    let mut site = Site::with_kafka(link, Options::default());
    let limit = [("max.message.bytes", "1000")];
    wire::create_topic(&mut site.there, "large", 1, &limit);
    wire::create_topic(&mut site.here, "large", 1, &[]);
    wire::create_topic(&mut site.here, "other", 1, &[]);
    let small = "x".repeat(10);
    let mut others = Vec::new();
    for round in 0..3 {
        let value = if round == 1 {
            "x".repeat(2000)
        } else {
            small.clone()
        };
        site.produce_values("large", &[value]);
        let more: Vec<String> = (0..5).map(|n| format!("{round} {n}")).collect();
        site.produce_values("other", &more);
        others.extend(more);
        site.wait_upstream("other", &others);
    }
    site.wait("one partition is held", |site| {
        site.metric("sedge_mirror_held_partitions") == 1
    });
    let more = ["after".to_owned()];
    site.produce_values("other", &more);
    others.extend(more);
    site.wait_upstream("other", &others);
    assert_eq!(site.logged("large-0 is held"), 1);
    let skipped = site.mirror(&["skip", "hq", "large:0", "--to", "2"]);
    assert!(skipped.status.success(), "{}", skipped.stderr);
    let mut large = vec![small.clone(), small];
    site.wait_upstream("large", &large);
    site.kill_and_start();
    large.push("last".to_owned());
    site.produce_values("large", &large[2..]);
    site.wait_upstream("large", &large);
}

#[test]
fn a_transaction_timeout_that_the_upstream_refuses_is_explained() {
    let link = "mode = \"exactly-once\"\ntransaction.timeout.ms = 2000000";
    let mut site = Site::with_kafka(link, Options::default());
    site.wait("the link is blocked", |site| {
        site.describe()["state"] == "blocked"
    });
    let described = site.describe();
    let why = described["why"].as_str().unwrap_or_default();
    assert!(why.contains("transaction.max.timeout.ms"), "{why}");
}

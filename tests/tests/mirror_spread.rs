//! Tests links to topics of Apache Kafka that have another number of partitions: keys go where
//! Kafka's producers send them, and every record is there once, in the order of its key.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use sedge_tests::apache_kafka::ApacheKafka;
use sedge_tests::process::Process;
use sedge_tests::proxy::Proxy;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::soak::{self, Random};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Batch, Connection, error};
use sedge_tests::{committed, limits, report, tools};

const TOPIC: &str = "sensors";
const KEYS: usize = 40;

/// A broker with a link to a topic of another number of partitions.
struct Edge {
    here: Connection,
    sedge: Sedge,
    proxy: Proxy,
    kafka: ApacheKafka,
    random: Random,
    partitions: i32,
    produced: usize,
    // Last, so that the processes end before their directories are removed.
    _directory: TempDir,
}

impl Edge {
    fn start(partitions: i32, there: i32, link: &str) -> Self {
        let random = Random::new();
        report::line(format_args!("spread: SEDGE_SEED={}", random.seed()));
        let directory = TempDir::new("spread");
        let proxy = Proxy::start();
        let advertised = format!("PLAINTEXT://{}", proxy.address());
        let settings = [("advertised.listeners".to_owned(), advertised)];
        let kafka = ApacheKafka::start(&directory.join("kafka"), &settings);
        proxy.forward_to(&kafka.bootstrap());
        let mut upstream = Connection::open(&kafka.bootstrap());
        for topic in [TOPIC, "judge"] {
            wire::create_topic(&mut upstream, topic, there, &[]);
        }
        let config = format!(
            "[mirror.hq]\nbootstrap.servers = \"{}\"\ntopics = [\"{TOPIC}\"]\n\
             partitioner = \"murmur2\"\n{link}\n",
            proxy.address()
        );
        let sedge = Sedge::start(&directory.join("edge"), Options::default().config(config));
        let mut here = Connection::open(&sedge.bootstrap());
        wire::create_topic(&mut here, TOPIC, partitions, &[]);
        Self {
            here,
            sedge,
            proxy,
            kafka,
            random,
            partitions,
            produced: 0,
            _directory: directory,
        }
    }

    /// Produces batches of records `KEY:NUMBER`, those of a key to one partition.
    fn produce(&mut self, batches: usize) {
        for _ in 0..batches {
            let partition = self.random.below(self.partitions as u64) as usize;
            let step = self.partitions as usize;
            let keys: Vec<usize> = (partition..KEYS).step_by(step).collect();
            let records: Vec<(Vec<u8>, Option<Vec<u8>>)> = (0..20)
                .map(|_| {
                    let key = keys[self.random.below(keys.len() as u64) as usize];
                    self.produced += 1;
                    let value = format!("key{key}:{}", self.produced);
                    (format!("key{key}").into_bytes(), Some(value.into_bytes()))
                })
                .collect();
            let bytes = Batch::keyed(&records).encode();
            let produced = wire::produce(&mut self.here, TOPIC, partition as i32, &bytes);
            assert_eq!(produced.error, error::NONE);
        }
    }

    fn pause(&mut self, below_ms: u64) {
        std::thread::sleep(Duration::from_millis(self.random.below(below_ms)));
    }

    fn kill(&mut self) {
        self.sedge.kill();
        self.sedge.start_again();
        self.here = Connection::open(&self.sedge.bootstrap());
    }

    /// Waits until upstream has as many records, and checks them. `keys` are the partitions of the
    /// keys.
    fn check(&mut self, keys: &BTreeMap<String, i32>) {
        let deadline = Instant::now() + limits::CONDITION * 4;
        let there = loop {
            let there = committed::read(&self.proxy.address(), TOPIC);
            let count: usize = there.values().map(Vec::len).sum();
            if count > self.produced {
                // Whether the records are there twice, or one reader saw some that were aborted.
                let again = committed::read(&self.kafka.bootstrap(), TOPIC);
                let again: usize = again.values().map(Vec::len).sum();
                let of = self.produced;
                panic!("{count} of {of} records, and {again} when read again without the proxy");
            }
            if count == self.produced {
                break there;
            }
            let tail = self.sedge.process().tail();
            let of = self.produced;
            assert!(Instant::now() < deadline, "{count} of {of} records\n{tail}");
            std::thread::sleep(Duration::from_millis(200));
        };
        let mut last: BTreeMap<&str, usize> = BTreeMap::new();
        for (partition, values) in &there {
            for value in values {
                let (key, number) = value.split_once(':').expect("a key and a number");
                let number: usize = number.parse().expect("a number");
                assert_eq!(keys[key], *partition, "{key}");
                let before = last.insert(key, number);
                assert!(before < Some(number), "{key}: {number} after {before:?}");
            }
        }
    }

    /// Returns where Kafka's own hash sends the keys: by librdkafka's producer, to a topic with as
    /// many partitions.
    fn judge(&self) -> BTreeMap<String, i32> {
        let lines: Vec<String> = (0..KEYS)
            .map(|key| format!("key{key}:key{key}\n"))
            .collect();
        let mut kcat = Command::new("kcat");
        kcat.args(["-P", "-b", &self.kafka.bootstrap(), "-t", "judge", "-K:"]);
        kcat.args(["-X", "topic.partitioner=murmur2_random"]);
        let done = Process::run(
            "kcat",
            &mut kcat,
            lines.concat().as_bytes(),
            limits::COMMAND,
        );
        tools::must(done, "kcat -P");
        let partitions = committed::read(&self.kafka.bootstrap(), "judge").into_iter();
        let keys = partitions.flat_map(|(at, keys)| keys.into_iter().map(move |key| (key, at)));
        keys.collect()
    }
}

fn over_kills(partitions: i32, there: i32) {
    let mut edge = Edge::start(partitions, there, "mode = \"exactly-once\"");
    let keys = edge.judge();
    assert_eq!(keys.len(), KEYS);
    let rounds = if soak::is_long() { 60 } else { 6 };
    for round in 0..rounds {
        edge.produce(60);
        edge.pause(400);
        match round % 3 {
            0 => edge.kill(),
            1 => {
                edge.proxy.cut();
                edge.pause(100);
                edge.proxy.restore();
            }
            _ => {
                edge.kafka.kill();
                edge.kafka.start_again();
            }
        }
    }
    edge.check(&keys);
    // A start from committed cursors, with nothing in flight.
    edge.kill();
    edge.produce(3);
    edge.check(&keys);
    report::line(format_args!(
        "spread: {partitions} to {there}, {} records, {rounds} kills, cuts and restarts: 0 lost, 0 \
         twice, order kept",
        edge.produced
    ));
}

#[test]
fn keys_go_to_fewer_partitions_once_over_kills() {
    over_kills(7, 3);
}

#[test]
fn keys_go_to_more_partitions_once_over_kills() {
    over_kills(2, 5);
}

/// Without transactions a partition upstream would get records of several here under sequences that
/// cannot be repeated.
#[test]
fn a_link_without_transactions_does_not_spread() {
    let mut edge = Edge::start(2, 3, "mode = \"at-least-once\"");
    edge.produce(1);
    let deadline = Instant::now() + limits::CONDITION;
    loop {
        let mut command = Command::new(tools::sedge());
        command.args(["mirror", "--bootstrap-server", &edge.sedge.bootstrap()]);
        command.args(["describe", "hq", "-o", "json"]);
        let described = Process::run("sedge mirror", &mut command, b"", limits::COMMAND);
        let described = tools::must(described, "describe").stdout;
        if described.contains("partitioner needs exactly-once") {
            break;
        }
        assert!(Instant::now() < deadline, "{described}");
        std::thread::sleep(limits::POLL);
    }
    assert!(committed::read(&edge.kafka.bootstrap(), TOPIC).is_empty());
}

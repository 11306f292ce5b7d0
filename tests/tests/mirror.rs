//! Tests a link to Apache Kafka that is cut while the broker is killed: acknowledged records arrive
//! upstream, in order, in the same partitions; and with a filter, exactly those that it keeps.

use std::collections::{BTreeMap, HashSet};
use std::process::Command;
use std::time::{Duration, Instant};

use sedge_tests::apache_kafka::ApacheKafka;
use sedge_tests::client::{FRANZ_GO, Topic};
use sedge_tests::process::Process;
use sedge_tests::proxy::Proxy;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::soak::{self, PRODUCERS, Random, Soak};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Connection, Record};
use sedge_tests::{limits, plugin, report, tools};

const TOPIC: &str = "sensors.temperature";
const FILTERED: &str = "sensors.plausible";
const PARTITIONS: i32 = 3;
const ROUNDS: u64 = 6;
const ROUNDS_LONG: u64 = 40;

/// A broker with a link to an upstream that is reachable only through the proxy's address, so that
/// all of the mirror's traffic passes through it.
struct Site {
    sedge: Sedge,
    proxy: Proxy,
    kafka: ApacheKafka,
    random: Random,
    // Last, so that the processes end before their directories are removed.
    directory: TempDir,
}

impl Site {
    fn start() -> Self {
        let random = Random::new();
        report::line(format_args!("mirror: SEDGE_SEED={}", random.seed()));
        let directory = TempDir::new("mirror");
        let proxy = Proxy::start();
        let advertised = format!("PLAINTEXT://{}", proxy.address());
        let settings = [("advertised.listeners".to_string(), advertised)];
        let kafka = ApacheKafka::start(&directory.join("kafka"), &settings);
        proxy.forward_to(&kafka.bootstrap());
        let config = format!(
            "[mirror.hq]\n\
             bootstrap.servers = \"{}\"\n\
             topics = [\"sensors.*\"]\n\
             mode = \"at-least-once\"\n",
            proxy.address()
        );
        let sedge = Sedge::start(&directory.join("data"), Options::default().config(config));
        Self {
            sedge,
            proxy,
            kafka,
            random,
            directory,
        }
    }

    /// Cuts the link, kills the broker, or both, while `soak` continues.
    fn disturb(&mut self, soak: &mut Soak) {
        for round in 0..if soak::is_long() { ROUNDS_LONG } else { ROUNDS } {
            self.let_produce(soak);
            if round % 3 != 1 {
                self.proxy.cut();
            }
            if round % 3 != 0 {
                self.sedge.kill();
                self.sedge.start_again();
            }
            // Records that are produced while the link is down are copied later.
            self.let_produce(soak);
            std::thread::sleep(Duration::from_millis(self.random.below(300)));
            self.proxy.restore();
        }
    }

    fn let_produce(&mut self, soak: &mut Soak) {
        let so_far = soak.count();
        soak.wait_count(so_far, 100 + self.random.below(1000) as usize);
    }

    /// Waits until upstream holds all of `wanted`, in order when repeats are ignored, since a link,
    /// being at-least-once, may send records again after a kill. Returns the number of records.
    fn wait_upstream(
        &mut self,
        topic: &str,
        wanted: &BTreeMap<i32, Vec<i64>>,
        number: fn(&Record) -> i64,
    ) -> usize {
        let deadline = Instant::now() + limits::CONDITION;
        loop {
            let partitions = upstream_topics(&self.kafka).get(topic).copied();
            let there = partitions.map(|_| read(&self.kafka.bootstrap(), topic, number));
            let there = there.unwrap_or_default();
            let first: BTreeMap<_, _> = there.iter().map(|(&p, n)| (p, arrivals(n))).collect();
            if first == *wanted {
                assert_eq!(partitions, Some(PARTITIONS as usize), "partitions upstream");
                return there.values().map(Vec::len).sum();
            }
            if Instant::now() > deadline {
                let counts = |m: &BTreeMap<i32, Vec<i64>>| {
                    m.iter()
                        .map(|(p, numbers)| (*p, numbers.len()))
                        .collect::<Vec<_>>()
                };
                panic!(
                    "upstream is not what is here: {partitions:?} partitions of {topic}, (partition, \
                     records) {:?}, distinct {:?}, wanted {:?}\n{}",
                    counts(&there),
                    counts(&first),
                    counts(wanted),
                    self.sedge.process().tail()
                );
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

#[test]
fn nothing_is_lost_over_cut_links_and_kills() {
    let mut site = Site::start();
    let topic = Topic {
        bootstrap: site.sedge.bootstrap(),
        name: TOPIC.into(),
        partitions: PARTITIONS.into(),
        base_ms: 1,
    };
    FRANZ_GO.create(&topic);
    let private = Topic {
        name: "private".into(),
        ..topic
    };
    FRANZ_GO.create(&private);
    FRANZ_GO.produce(&private, "none", 0, 10);
    let mut soak = Soak::start(PRODUCERS[0], &site.sedge.bootstrap(), TOPIC, PARTITIONS);
    site.disturb(&mut soak);
    let acked = soak.finish();

    let mut connection = Connection::open(&site.sedge.bootstrap());
    let records = |p| (p, soak::read_partition(&mut connection, TOPIC, p));
    let log: BTreeMap<_, _> = (0..PARTITIONS).map(records).collect();
    let here = soak::check(&acked, &log);
    let wanted = read(&site.sedge.bootstrap(), TOPIC, soak::number);
    let arrived = site.wait_upstream(TOPIC, &wanted, soak::number);
    report::line(format_args!(
        "mirror: {} acknowledged, {here} here, {arrived} upstream, 0 lost",
        acked.len()
    ));
    assert!(
        !upstream_topics(&site.kafka).contains_key("private"),
        "only what the link selects"
    );
}

#[test]
fn the_filtered_set_arrives() {
    let mut site = Site::start();
    let component = plugin::build("drop-out-of-range", site.directory.path());
    plugin::deploy(&site.sedge.bootstrap(), "plausible", &component);
    let mut connection = Connection::open(&site.sedge.bootstrap());
    let configs = [
        ("sedge.filter", "plausible"),
        ("sedge.plugin.plausible.max", "100"),
    ];
    wire::create_topic(&mut connection, FILTERED, PARTITIONS, &configs);
    plugin::wait_filtered(&mut connection, FILTERED);
    let mut soak = Soak::start_readings(&site.sedge.bootstrap(), FILTERED, PARTITIONS);
    site.disturb(&mut soak);
    // The offset that a producer computes for a record behind a dropped one is meaningless.
    let acked = soak.finish();
    let mut wanted: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
    for record in acked.iter().filter(|record| record.number % 5 != 0) {
        wanted
            .entry(record.partition)
            .or_default()
            .push(record.number);
    }
    for numbers in wanted.values_mut() {
        numbers.sort_unstable();
    }
    let here = read(&site.sedge.bootstrap(), FILTERED, soak::kept_reading);
    assert_eq!(here, wanted, "what the filter keeps, once and in order");
    let arrived = site.wait_upstream(FILTERED, &wanted, soak::kept_reading);
    let kept: usize = wanted.values().map(Vec::len).sum();
    report::line(format_args!(
        "mirror: {} acknowledged, {kept} kept by the filter, {arrived} upstream, 0 lost",
        acked.len()
    ));
}

/// Returns the numbers in each partition.
fn read(bootstrap: &str, topic: &str, number: fn(&Record) -> i64) -> BTreeMap<i32, Vec<i64>> {
    let mut connection = Connection::open(bootstrap);
    let numbers = |p| {
        let records = soak::read_partition(&mut connection, topic, p);
        (p, records.iter().map(number).collect())
    };
    (0..PARTITIONS).map(numbers).collect()
}

/// Returns `numbers` without repeats.
fn arrivals(numbers: &[i64]) -> Vec<i64> {
    let mut seen = HashSet::new();
    numbers
        .iter()
        .copied()
        .filter(|n| seen.insert(*n))
        .collect()
}

/// Returns topics upstream with their partition counts, as kcat lists them.
fn upstream_topics(kafka: &ApacheKafka) -> BTreeMap<String, usize> {
    let mut kcat = Command::new("kcat");
    kcat.args(["-b", &kafka.bootstrap(), "-L", "-J"]);
    let listed = tools::must(
        Process::run("kcat", &mut kcat, b"", limits::COMMAND),
        "kcat -L",
    );
    let listed: serde_json::Value = serde_json::from_str(&listed.stdout).expect("kcat -J is JSON");
    let topics = listed["topics"].as_array().expect("kcat lists topics");
    let entry = |t: &serde_json::Value| {
        let partitions = t["partitions"].as_array().map_or(0, Vec::len);
        (
            t["topic"].as_str().unwrap_or_default().to_string(),
            partitions,
        )
    };
    topics.iter().map(entry).collect()
}

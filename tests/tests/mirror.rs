//! A link to Apache Kafka that is cut while the broker is killed: what was acknowledged here arrives there,
//! in order, in the same partitions.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use sedge_tests::apache_kafka::ApacheKafka;
use sedge_tests::client::{FRANZ_GO, Topic};
use sedge_tests::process::Process;
use sedge_tests::proxy::Proxy;
use sedge_tests::report;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::soak::{self, Acked, PRODUCERS, Random, Soak};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::Connection;
use sedge_tests::{limits, tools};

const TOPIC: &str = "sensors.temperature";
const PARTITIONS: i32 = 3;
const ROUNDS: u64 = 6;
const ROUNDS_LONG: u64 = 40;

#[test]
fn nothing_is_lost_over_cut_links_and_kills() {
    let mut random = Random::new();
    report::line(format_args!("SEDGE_SEED={}", random.seed()));
    let directory = TempDir::new("mirror");
    let proxy = Proxy::start();
    // Upstream is known by the link's address only, so that all of the mirror's traffic goes that way.
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
    let mut sedge = Sedge::start(&directory.join("data"), Options::default().config(config));
    let topic = Topic {
        bootstrap: sedge.bootstrap(),
        name: TOPIC.into(),
        partitions: PARTITIONS.into(),
        base_ms: 0,
    };
    FRANZ_GO.create(&topic);
    FRANZ_GO.create(&Topic {
        name: "private".into(),
        ..topic.clone()
    });
    FRANZ_GO.produce(
        &Topic {
            base_ms: 1,
            name: "private".into(),
            ..topic
        },
        "none",
        0,
        10,
    );
    let mut soak = Soak::start(PRODUCERS[0], &sedge.bootstrap(), TOPIC, PARTITIONS);

    for round in 0..if soak::is_long() { ROUNDS_LONG } else { ROUNDS } {
        let so_far = soak.count();
        soak.wait_count(so_far, 100 + random.below(1000) as usize);
        match round % 3 {
            0 => proxy.cut(),
            1 => {
                sedge.kill();
                sedge.start_again();
            }
            _ => {
                proxy.cut();
                sedge.kill();
                sedge.start_again();
            }
        }
        // What is produced while the link is down is kept for later.
        let so_far = soak.count();
        soak.wait_count(so_far, 100 + random.below(1000) as usize);
        std::thread::sleep(Duration::from_millis(random.below(300)));
        proxy.restore();
    }
    let acked = soak.finish();
    let local = check_local(&sedge, &acked);
    let upstream = wait_upstream(&kafka, &mut sedge, &local);
    let arrived: usize = upstream.values().map(Vec::len).sum();
    let produced: usize = local.values().map(Vec::len).sum();
    report::line(format_args!(
        "{} acknowledged, {produced} here, {arrived} upstream",
        acked.len()
    ));
    assert_eq!(
        upstream_topics(&kafka).get("private"),
        None,
        "only what the link selects"
    );
}

/// The numbers that each partition holds here, after a check that all acknowledged ones do.
fn check_local(sedge: &Sedge, acked: &[Acked]) -> BTreeMap<i32, Vec<i64>> {
    let mut connection = Connection::open(&sedge.bootstrap());
    let read = |p| (p, soak::read_partition(&mut connection, TOPIC, p));
    let log: BTreeMap<_, _> = (0..PARTITIONS).map(read).collect();
    soak::check(acked, &log);
    let numbers = log
        .into_iter()
        .map(|(p, records)| (p, records.iter().map(soak::number).collect()));
    numbers.collect()
}

/// Waits until upstream holds all that is here: in order where repeats are left out, since a link that is
/// at-least-once may send again what it had sent before a kill.
fn wait_upstream(
    kafka: &ApacheKafka,
    sedge: &mut Sedge,
    local: &BTreeMap<i32, Vec<i64>>,
) -> BTreeMap<i32, Vec<i64>> {
    let deadline = Instant::now() + limits::CONDITION;
    loop {
        let topics = upstream_topics(kafka);
        let mut all = BTreeMap::new();
        let mut complete = topics.get(TOPIC) == Some(&(PARTITIONS as usize));
        let mut connection = Connection::open(&kafka.bootstrap());
        for (&partition, wanted) in local.iter().filter(|_| topics.contains_key(TOPIC)) {
            let records = soak::read_partition(&mut connection, TOPIC, partition);
            let numbers: Vec<i64> = records.iter().map(soak::number).collect();
            complete &= first_arrivals(&numbers) == *wanted;
            all.insert(partition, numbers);
        }
        if complete {
            return all;
        }
        if Instant::now() > deadline {
            let counts = |m: &BTreeMap<i32, Vec<i64>>| {
                m.iter()
                    .map(|(p, n)| (*p, n.len(), first_arrivals(n).len()))
                    .collect::<Vec<_>>()
            };
            panic!(
                "upstream is not what is here: topics {topics:?}, upstream (partition, records, \
                 distinct) {:?}, here {:?}\n{}",
                counts(&all),
                counts(local),
                sedge.process().tail()
            );
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// `numbers` without those that came before.
fn first_arrivals(numbers: &[i64]) -> Vec<i64> {
    let mut seen = std::collections::HashSet::new();
    numbers
        .iter()
        .copied()
        .filter(|n| seen.insert(*n))
        .collect()
}

/// Topics upstream with their partition counts, as kcat lists them.
fn upstream_topics(kafka: &ApacheKafka) -> BTreeMap<String, usize> {
    let mut kcat = Command::new("kcat");
    kcat.args(["-b", &kafka.bootstrap(), "-L", "-J"]);
    let listed = tools::must(
        Process::run("kcat", &mut kcat, b"", limits::COMMAND),
        "kcat -L",
    );
    let listed: serde_json::Value =
        serde_json::from_str(&listed.stdout).expect("kcat -J prints JSON");
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

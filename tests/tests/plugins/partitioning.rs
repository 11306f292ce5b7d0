//! Tests partitioners: plugins and Kafka's default one, with real clients, and their failures.

use std::collections::BTreeMap;

use sedge_core::partitioner::partition_of;
use sedge_tests::process::Process;
use sedge_tests::sedge::Options;
use sedge_tests::wire::{self, Batch, Connection, error};
use sedge_tests::{http, kafka_tools, limits, plugin, tools};

use crate::support::{GEOHASH, MISPLACE, Place, RANGE, SET, TENANTS, alter, replace};

const INVALID_CONFIG: i16 = 40;
const PARTITIONS: i32 = 6;
const PARTITIONER: &str = "sedge.partitioner";

/// Returns the partition of each key, and how often kcat reads the key.
fn kcat_reads(place: &Place, topic: &str) -> BTreeMap<String, (i32, u32)> {
    let mut read = BTreeMap::new();
    for line in place.kcat_reads(topic, "%p %k") {
        let (partition, key) = line.split_once(' ').expect("a partition and a key");
        let partition = partition.parse().expect("a number");
        let (of, times) = read.entry(key.to_owned()).or_insert((partition, 0));
        assert_eq!(*of, partition, "{key}");
        *times += 1;
    }
    read
}

fn set(at: &mut Connection, topic: &str, name: &str, value: &str) {
    let altered = alter(at, topic, SET, (name, value), false);
    assert_eq!(altered, (error::NONE, String::new()));
}

/// Returns the number of records of each partition.
fn counts(at: &mut Connection, topic: &str, partitions: i32) -> Vec<usize> {
    let count = |index| wire::records(&wire::fetch(at, topic, index, 0).records).len();
    (0..partitions).map(count).collect()
}

#[test]
fn keys_go_where_kafka_s_producers_send_them() {
    let mut place = Place::start("partitioners", Options::default());
    place.deploy("geohash", GEOHASH);
    let mut at = place.connect();
    wire::create_topic(&mut at, "plain", PARTITIONS, &[]);
    wire::create_topic(&mut at, "built-in", PARTITIONS, &[(PARTITIONER, "murmur2")]);
    wire::create_topic(&mut at, "plugin", PARTITIONS, &[(PARTITIONER, "geohash")]);
    let numbers: Vec<String> = (0..500).map(|number| number.to_string()).collect();
    let lines = format!("{}=value\n", numbers.join("=value\n"));
    let murmur2 = ["-X", "topic.partitioner=murmur2_random"];
    place.kcat_produces("plain", &murmur2, &lines);
    let expected = kcat_reads(&place, "plain");
    assert_eq!(expected.len(), 500);
    for (key, (partition, _)) in &expected {
        let chosen = partition_of(key.as_bytes(), PARTITIONS as u32);
        assert_eq!(chosen, *partition as u32, "{key}");
    }
    // Everything is sent to one partition, in many batches, in sequence.
    let one = [
        "-p",
        "4",
        "-X",
        "enable.idempotence=true",
        "-X",
        "batch.num.messages=20",
    ];
    let lz4 = [&one[..], &["-z", "lz4"]].concat();
    place.kcat_produces("built-in", &one, &lines);
    place.kcat_produces("plugin", &lz4, &lines);
    for topic in ["built-in", "plugin"] {
        assert_eq!(kcat_reads(&place, topic), expected, "{topic}");
    }
    // A consumer of Kafka passes what stands in for batches whose records all went elsewhere.
    place.kcat_produces("built-in", &one, &format!("{}=last\n", key_of(4)));
    let mut java = kafka_tools::command("kafka-console-consumer");
    java.args([
        "--bootstrap-server",
        &place.sedge.bootstrap(),
        "--topic",
        "built-in",
    ]);
    java.args(["--partition", "4", "--offset", "earliest"]);
    let here = expected
        .values()
        .filter(|(partition, _)| *partition == 4)
        .count()
        + 1;
    java.args(["--max-messages", &here.to_string(), "--timeout-ms", "60000"]);
    let read = Process::run("kafka-console-consumer", &mut java, b"", limits::COMMAND);
    let read = tools::must(read, "kafka-console-consumer").stdout;
    assert_eq!(read.lines().last(), Some("last"), "{read}");
    assert_eq!(read.lines().count(), here);
    let moved = r#"sedge_plugin_records_total{plugin="geohash",verdict="move"}"#;
    let elsewhere = expected.values().filter(|(partition, _)| *partition != 4);
    place.wait("moved records are counted", |place| {
        http::metric(place.sedge.console(), moved) as usize == elsewhere.clone().count()
    });
}

/// Returns a key that belongs to a partition.
fn key_of(partition: u32) -> String {
    let mut keys = (0..).map(|number: u32| number.to_string());
    let belongs = |key: &String| partition_of(key.as_bytes(), PARTITIONS as u32) == partition;
    keys.find(belongs).expect("some key does")
}

#[test]
fn only_a_deployed_partitioner_is_bound() {
    let place = Place::start("partitioner-binding", Options::default());
    let mut at = place.connect();
    wire::create_topic(&mut at, "t", 2, &[]);
    let refused = |at: &mut Connection, name: &str, part: &str| {
        let bound = (PARTITIONER, name);
        let created = wire::try_create_topic(at, "u", 1, &[bound]);
        let created = (created.0, created.1.unwrap_or_default());
        let all = [
            alter(at, "t", SET, bound, true),
            alter(at, "t", SET, bound, false),
            replace(at, "t", bound),
            created,
        ];
        for (code, why) in all {
            assert!(code == INVALID_CONFIG && why.contains(part), "{code} {why}");
        }
    };
    refused(&mut at, "nosuch", "no plugin named nosuch is deployed");
    place.deploy("tenants", TENANTS);
    refused(
        &mut at,
        "tenants",
        "is a quota-policy, not a key-partitioner",
    );
    set(&mut at, "t", PARTITIONER, "murmur2");
    set(&mut at, "t", PARTITIONER, "");
}

#[test]
fn a_partitioner_that_fails_follows_the_topic_s_policy() {
    let mut place = Place::start("partitioner-fails", Options::default());
    place.deploy("misplace", MISPLACE);
    let mut at = place.connect();
    let answer = "sedge.plugin.misplace.answer";
    let bound = [(PARTITIONER, "misplace"), (answer, "outside")];
    wire::create_topic(&mut at, "t", 2, &bound);
    let batch = Batch::of(&[b"value".to_vec()]).encode();
    place.wait("it is compiled", |_| {
        wire::produce(&mut at, "t", 1, &batch).error != error::NOT_ENOUGH_REPLICAS
    });
    for broken in ["outside", "few", "many", "panic"] {
        set(&mut at, "t", answer, broken);
        let produced = wire::produce(&mut at, "t", 1, &batch);
        assert_eq!(produced.error, error::POLICY_VIOLATION, "{broken}");
    }
    assert_eq!(counts(&mut at, "t", 2), [0, 0]);
    let policy = "sedge.partitioner.on.error";
    set(&mut at, "t", policy, "fail-open");
    let produced = wire::produce(&mut at, "t", 1, &batch);
    assert_eq!((produced.error, produced.base_offset), (error::NONE, 0));
    assert_eq!(counts(&mut at, "t", 2), [0, 1]);
    let traps = r#"sedge_plugin_traps_total{plugin="misplace"}"#;
    let failed = |place: &Place| http::metric(place.sedge.console(), traps) as u64;
    let before = failed(&place);
    set(&mut at, "t", policy, "quarantine");
    for _ in 0..5 {
        let produced = wire::produce(&mut at, "t", 1, &batch);
        assert_eq!(produced.error, error::NONE);
    }
    assert_eq!(failed(&place), before + 1, "it is called once");
    assert_eq!(counts(&mut at, "t", 2), [0, 6]);

    set(&mut at, "t", policy, "fail-closed");
    // A partitioner is not told when a record came.
    set(&mut at, "t", answer, "times");
    let spread = Batch::spread(&[(5, 0), (9, 1)]).encode();
    let produced = wire::produce(&mut at, "t", 1, &spread);
    assert_eq!(produced.error, error::NONE, "{produced:?}");
    // It is deleted: fail-closed batches wait for it.
    plugin::delete(&place.sedge.bootstrap(), "misplace");
    let line = "ok\nthe partitioner misplace of topic t is not ready: not deployed\n";
    place.wait("/readyz says it", |place| {
        http::get(place.sedge.console(), "/readyz") == (200, line.into())
    });
    let produced = wire::produce(&mut at, "t", 1, &batch);
    assert_eq!(produced.error, error::NOT_ENOUGH_REPLICAS, "{produced:?}");
}

/// The partitioner sees what the filter leaves.
#[test]
fn the_filter_comes_before_the_partitioner() {
    let mut place = Place::start("filter-partitioner", Options::default());
    place.deploy("range", RANGE);
    place.deploy("geohash", GEOHASH);
    let mut at = place.connect();
    let bound = [("sedge.filter", "range"), (PARTITIONER, "geohash")];
    wire::create_topic(&mut at, "t", 64, &bound);
    let reading = |celsius: i32, lat: i32| {
        format!(r#"{{"celsius":{celsius},"lat":{lat},"lon":13}}"#).into_bytes()
    };
    place.wait("both are compiled", |_| {
        let dropped = Batch::of(&[reading(999, 1)]).encode();
        wire::produce(&mut at, "t", 0, &dropped).error == error::NONE
    });
    let of_area = |celsius: i32| reading(celsius, 52);
    // Two batches of a producer: the filter drops records of the first, and the second comes twice.
    let first = Batch::of(&[of_area(1), of_area(999), of_area(2), reading(999, -30)]);
    let second = Batch::of(&[of_area(3)]);
    let send = |at: &mut Connection, batch: &Batch, sequence: i32| {
        let batch = Batch {
            producer_id: 7,
            producer_epoch: 0,
            base_sequence: sequence,
            ..batch.clone()
        };
        wire::produce(at, "t", 0, &batch.encode())
    };
    place.wait("the partitioner runs", |_| {
        send(&mut at, &first, 0).error == error::NONE
    });
    for _ in 0..2 {
        assert_eq!(send(&mut at, &first, 0).error, error::NONE);
        assert_eq!(send(&mut at, &second, 4).error, error::NONE);
    }
    let counts = counts(&mut at, "t", 64);
    assert_eq!(counts.iter().sum::<usize>(), 3, "{counts:?}");
    assert_eq!(counts.iter().max(), Some(&3), "one area, one partition");
}

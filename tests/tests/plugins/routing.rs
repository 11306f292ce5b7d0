//! Tests filters that route records to other topics.

use sedge_core::partitioner::partition_of;
use sedge_tests::sedge::Options;
use sedge_tests::wire::{self, Batch, Connection, Record, error};
use sedge_tests::{http, plugin};

use crate::support::{Place, REROUTE, SET, alter, validate};

const INVALID_CONFIG: i16 = 40;
const ROUTES: &str = "sedge.filter.routes";

/// Starts a broker with the filter `route` on the topic `t` of 2 partitions.
fn start(name: &str, options: Options, routes: &str) -> (Place, Connection) {
    let place = Place::start(name, options);
    place.deploy("route", REROUTE);
    let mut at = place.connect();
    let bound = [("sedge.filter", "route"), (ROUTES, routes)];
    wire::create_topic(&mut at, "t", 2, &bound);
    plugin::wait_taken(&mut at, "t", b"drop");
    (place, at)
}

fn batch(values: &[&str]) -> Batch {
    let values: Vec<Vec<u8>> = values
        .iter()
        .map(|value| value.as_bytes().to_vec())
        .collect();
    Batch::of(&values)
}

fn sequenced(sequence: i32, batch: Batch) -> Vec<u8> {
    let batch = Batch {
        producer_id: 7,
        producer_epoch: 0,
        base_sequence: sequence,
        ..batch
    };
    batch.encode()
}

/// Returns all records of a partition.
fn read(at: &mut Connection, topic: &str, partition: i32) -> Vec<Record> {
    let mut records = Vec::new();
    let mut offset = 0;
    loop {
        let fetched = wire::fetch(at, topic, partition, offset);
        assert_eq!(fetched.error, error::NONE, "{topic}-{partition}");
        let Some(next) = wire::next_offset(&fetched.records) else {
            return records;
        };
        offset = next;
        records.extend(wire::records(&fetched.records));
    }
}

fn values(at: &mut Connection, topic: &str, partition: i32) -> Vec<String> {
    let value = |record: Record| String::from_utf8(record.value).expect("a text");
    read(at, topic, partition).into_iter().map(value).collect()
}

#[test]
fn routed_records_are_written_to_their_topics_once() {
    let (mut place, mut at) = start("routes", Options::default(), "alarms,audit");
    wire::create_topic(&mut at, "alarms", 3, &[]);
    let first = batch(&["a", "to alarms", "drop", "changed audit", "b", "to alarms"]);
    // Nothing of the second stays.
    let second = batch(&["to audit", "drop"]);
    let (first, second) = (sequenced(0, first), sequenced(6, second));
    for kill in [false, true] {
        if kill {
            at = place.kill_and_start("t");
        }
        // A batch that is sent again is written to no topic again.
        for again in [false, true] {
            for batch in [&first, &second] {
                let produced = wire::produce(&mut at, "t", 1, batch);
                assert_eq!(produced.error, error::NONE, "{produced:?}");
                let is_new = !kill && !again;
                assert!(!is_new || produced.base_offset == -1, "{produced:?}");
            }
        }
        assert_eq!(values(&mut at, "t", 1), ["a", "b"]);
        // Without a key, a record goes to the partition of the same number.
        assert_eq!(values(&mut at, "alarms", 1), ["to alarms", "to alarms"]);
        // The filter is bound to a topic that did not exist.
        let audit = read(&mut at, "audit", 0);
        assert_eq!(
            (&*audit[0].key, &*audit[0].value),
            (&b"moved"[..], &b""[..])
        );
        assert_eq!((audit.len(), &*audit[1].value), (2, &b"to audit"[..]));
    }
    let next = sequenced(8, batch(&["c"]));
    assert_eq!(wire::produce(&mut at, "t", 1, &next).error, error::NONE);
    let routed = r#"sedge_plugin_records_total{plugin="route",verdict="route"}"#;
    place.wait("routed records are counted", |place| {
        http::metric(place.sedge.console(), routed) > 0.0
    });
}

#[test]
fn a_key_goes_to_the_partition_that_the_target_s_partitioner_chooses() {
    let (mut place, mut at) = start("route-keys", Options::default(), "plain,hashed");
    wire::create_topic(&mut at, "plain", 5, &[]);
    let configs = [
        ("sedge.partitioner", "murmur2"),
        ("message.timestamp.type", "LogAppendTime"),
    ];
    wire::create_topic(&mut at, "hashed", 5, &configs);
    let line = |key: usize| format!("k{key}=to {}", ["plain", "hashed"][key % 2]);
    let lines = (0..200).map(line).collect::<Vec<_>>().join("\n");
    // librdkafka's idempotent producer, which compresses.
    let idempotent = ["-z", "lz4", "-X", "enable.idempotence=true"];
    place.kcat_produces("t", &idempotent, &lines);
    for topic in ["plain", "hashed"] {
        let read = place.kcat_reads(topic, "%p %k");
        for line in &read {
            let (partition, key) = line.split_once(' ').expect("a partition and a key");
            let chosen = partition_of(key.as_bytes(), 5).to_string();
            assert_eq!(partition, chosen, "{topic} {key}");
        }
        assert_eq!(read.len(), 100, "{topic}");
    }
    place.wait("no record stays", |_| {
        values(&mut at, "t", 0).is_empty() && values(&mut at, "t", 1).is_empty()
    });
}

#[test]
fn a_route_that_is_not_declared_is_a_failure_that_names_the_cure() {
    let (_place, mut at) = start("route-undeclared", Options::default(), "alarms");
    let produced = wire::produce(&mut at, "t", 0, &batch(&["a", "to other"]).encode());
    assert_eq!(produced.error, error::POLICY_VIOLATION);
    let why = produced.message.expect("the plugin failed");
    for part in [
        "filter route",
        "topic t",
        "to other",
        ROUTES,
        "add it there",
    ] {
        assert!(why.contains(part), "{part}: {why}");
    }
    // The binding's policy decides, as about any failure.
    let open = ("sedge.filter.on.error", "fail-open");
    assert_eq!(alter(&mut at, "t", SET, open, false).0, error::NONE);
    let produced = wire::produce(&mut at, "t", 0, &batch(&["a", "to other"]).encode());
    assert_eq!(produced.error, error::NONE);
    assert_eq!(values(&mut at, "t", 0), ["a", "to other"]);
    // What consumers read cannot be routed.
    let fetch = [
        ("sedge.filter", ""),
        ("sedge.filter.fetch.on.error", "fail-closed"),
        ("sedge.filter.fetch", "route"),
    ];
    for key in fetch {
        assert_eq!(
            alter(&mut at, "t", SET, key, false).0,
            error::NONE,
            "{key:?}"
        );
    }
    assert_ne!(wire::fetch(&mut at, "t", 0, 0).error, error::NONE);
}

#[test]
fn a_batch_is_refused_as_long_as_a_target_does_not_exist() {
    let strict = Options::default().set("auto.create.topics.enable", "false");
    let place = Place::start("route-missing", strict);
    place.deploy("route", REROUTE);
    let mut at = place.connect();
    let route = (ROUTES, "later");
    let why = "the topic later does not exist";
    let (code, said) = validate(&mut at, "t", route);
    assert!(
        code == INVALID_CONFIG && said.contains(why),
        "{code} {said}"
    );
    wire::create_topic(&mut at, "later", 1, &[]);
    wire::create_topic(&mut at, "t", 1, &[("sedge.filter", "route"), route]);
    plugin::wait_taken(&mut at, "t", b"drop");
    let internal = (ROUTES, "__consumer_offsets");
    for (wrong, why) in [
        (internal, "only the broker"),
        ((ROUTES, "a b"), "a character"),
    ] {
        let (code, said) = alter(&mut at, "t", SET, wrong, false);
        assert!(
            code == INVALID_CONFIG && said.contains(why),
            "{code} {said}"
        );
    }
    wire::delete_topic(&mut at, "later");
    let routed = batch(&["a", "to later"]).encode();
    let produced = wire::produce(&mut at, "t", 0, &routed);
    assert_eq!(produced.error, error::NOT_ENOUGH_REPLICAS, "{produced:?}");
    let why = produced.message.expect("why");
    assert!(why.contains("auto.create.topics.enable"), "{why}");
    assert!(values(&mut at, "t", 0).is_empty(), "all of it or nothing");
    wire::create_topic(&mut at, "later", 1, &[]);
    assert_eq!(wire::produce(&mut at, "t", 0, &routed).error, error::NONE);
    assert_eq!(values(&mut at, "t", 0), ["a"]);
    assert_eq!(values(&mut at, "later", 0), ["to later"]);
}

//! Tests many edges with links to one topic of Apache Kafka: the centre has every record of each
//! once and in order, and an operator there can tell the edges apart. `SEDGE_SOAK=1` has 50 edges.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use sedge_tests::apache_kafka::ApacheKafka;
use sedge_tests::process::Process;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Batch, Connection, error};
use sedge_tests::{committed, kafka_tools, limits, soak, tools};

const TOPIC: &str = "readings";
const RECORDS: usize = 100;
const EDGES: usize = 4;
const EDGES_SOAK: usize = 50;

/// Runs one of Kafka's tools against the centre.
fn told(kafka: &ApacheKafka, tool: &str, arguments: &[&str]) -> String {
    let mut command = kafka_tools::command(tool);
    command.args(["--bootstrap-server", &kafka.bootstrap()]);
    command.args(arguments);
    let done = Process::run(tool, &mut command, b"", limits::COMMAND);
    tools::must(done, tool).stdout
}

#[test]
fn the_centre_has_the_records_of_every_edge_and_can_tell_the_edges_apart() {
    let count = if soak::is_long() { EDGES_SOAK } else { EDGES };
    let directory = TempDir::new("fan-in");
    let kafka = ApacheKafka::start(&directory.join("kafka"), &[]);
    let mut there = Connection::open(&kafka.bootstrap());
    wire::create_topic(&mut there, TOPIC, 1, &[]);
    let config = format!(
        "durability = \"interval\"\n\
         [mirror.hq]\n\
         bootstrap.servers = \"{}\"\n\
         topics = [\"{TOPIC}\"]\n",
        kafka.bootstrap()
    );
    let edges: Vec<Sedge> = (0..count)
        .map(|edge| {
            let options = Options::default().config(config.clone());
            Sedge::start(&directory.join(&format!("edge-{edge}")), options)
        })
        .collect();
    let mut connections = Vec::new();
    for edge in &edges {
        let mut here = Connection::open(&edge.bootstrap());
        wire::create_topic(&mut here, TOPIC, 1, &[]);
        connections.push(here);
    }
    for record in 0..RECORDS {
        for (edge, here) in connections.iter_mut().enumerate() {
            let batch = Batch::of(&[format!("{edge} {record}").into_bytes()]);
            let produced = wire::produce(here, TOPIC, 0, &batch.encode());
            assert_eq!(produced.error, error::NONE);
        }
    }
    let deadline = Instant::now() + limits::COMMAND;
    let records = loop {
        let mut partitions = committed::read(&kafka.bootstrap(), TOPIC);
        let records = partitions.remove(&0).unwrap_or_default();
        if records.len() >= count * RECORDS {
            break records;
        }
        assert!(Instant::now() < deadline, "{} records", records.len());
        std::thread::sleep(limits::POLL);
    };
    let mut by_edge: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for record in &records {
        let (edge, number) = record.split_once(' ').expect("two numbers");
        by_edge.entry(edge).or_default().push(number);
    }
    let expected: Vec<String> = (0..RECORDS).map(|record| record.to_string()).collect();
    assert_eq!(by_edge.len(), count);
    for (edge, numbers) in by_edge {
        assert_eq!(numbers, expected, "edge {edge}: once, in order");
    }
    // Each edge has a transactional id and a group of its own, and both are named for the link.
    for (tool, arguments) in [
        ("kafka-transactions", &["list"][..]),
        ("kafka-consumer-groups", &["--list"][..]),
    ] {
        let told = told(&kafka, tool, arguments);
        let words = told.split_whitespace();
        let names: BTreeSet<&str> = words
            .filter(|it| it.starts_with("sedge-mirror-hq-"))
            .collect();
        assert_eq!(names.len(), count, "{tool}: {told}");
    }
}

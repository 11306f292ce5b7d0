//! Tests what becomes of a batch that a filter fails on, if the topic quarantines such batches.

use sedge_tests::sedge::Options;
use sedge_tests::wire::{self, Batch, Connection, error};
use sedge_tests::{http, limits, plugin};

use crate::support::{Place, REROUTE, SET, alter};

const DEAD_LETTERS: &str = "sedge.filter.errors.deadletterqueue.topic.name";
const INVALID_CONFIG: i16 = 40;

fn start(name: &str, options: Options, configs: &[(&str, &str)]) -> (Place, Connection) {
    let place = Place::start(name, options);
    place.deploy("route", REROUTE);
    let mut at = place.connect();
    let bound = [
        ("sedge.filter", "route"),
        ("sedge.filter.on.error", "quarantine"),
    ];
    wire::create_topic(&mut at, "t", 3, &[&bound, configs].concat());
    plugin::wait_taken(&mut at, "t", b"drop");
    (place, at)
}

fn sequenced(sequence: i32, values: &[&str]) -> Vec<u8> {
    let values: Vec<Vec<u8>> = values
        .iter()
        .map(|value| value.as_bytes().to_vec())
        .collect();
    let batch = Batch {
        producer_id: 7,
        producer_epoch: 0,
        base_sequence: sequence,
        ..Batch::of(&values)
    };
    batch.encode()
}

/// Returns what kcat reads of a topic: partition, value and headers of each record.
fn read(place: &Place, topic: &str) -> Vec<String> {
    place.kcat_reads(topic, "%p %s %h")
}

#[test]
fn a_batch_that_a_filter_fails_on_is_a_dead_letter_with_its_reason() {
    // The dead-letter topic is created all the same.
    let strict = Options::default().set("auto.create.topics.enable", "false");
    let (mut place, mut at) = start("dead-letters", strict, &[]);
    let poison = sequenced(0, &["a", "panic", "b"]);
    let fine = sequenced(3, &["c"]);
    for kill in [false, true] {
        if kill {
            at = place.kill_and_start("t");
        }
        for _ in 0..2 {
            for batch in [&poison, &fine] {
                let produced = wire::produce(&mut at, "t", 2, batch);
                assert_eq!(produced.error, error::NONE, "{produced:?}");
            }
        }
        assert_eq!(read(&place, "t"), ["2 c "], "the filter goes on");
        let letters = read(&place, "t.dlq");
        let values = letters.iter().filter_map(|letter| letter.split(' ').nth(1));
        assert_eq!(values.collect::<Vec<_>>(), ["a", "panic", "b"]);
        for part in [
            "__sedge.errors.topic=t,",
            "__sedge.errors.partition=2,",
            "__sedge.errors.plugin=route,",
            "__sedge.errors.binding=sedge.filter,",
            "__sedge.errors.exception.message=trapped: ",
        ] {
            assert!(
                letters.iter().all(|letter| letter.contains(part)),
                "{part}: {letters:?}"
            );
        }
    }
    let counted = r#"sedge_plugin_records_total{plugin="route",verdict="quarantine"}"#;
    place.wait("dead letters are counted", |place| {
        http::metric(place.sedge.console(), counted) as u64 >= 3
    });
}

#[test]
fn a_dead_letter_topic_has_a_name_and_partitions_of_its_own() {
    let (place, mut at) = start("dead-letter-topic", Options::default(), &[]);
    let bad = [(DEAD_LETTERS, "__consumer_offsets"), (DEAD_LETTERS, "a b")];
    for bad in bad {
        assert_eq!(
            alter(&mut at, "t", SET, bad, false).0,
            INVALID_CONFIG,
            "{bad:?}"
        );
    }
    wire::create_topic(&mut at, "dead", 2, &[]);
    let named = (DEAD_LETTERS, "dead");
    assert_eq!(alter(&mut at, "t", SET, named, false).0, error::NONE);
    let poison = Batch::of(&[b"panic".to_vec()]).encode();
    assert_eq!(wire::produce(&mut at, "t", 2, &poison).error, error::NONE);
    let letters = read(&place, "dead");
    assert!(
        letters.len() == 1 && letters[0].starts_with("0 panic "),
        "{letters:?}"
    );
    assert!(read(&place, "t").is_empty());
    // A filter that is gone has not failed: batches wait for it.
    plugin::delete(&place.sedge.bootstrap(), "route");
    let deadline = std::time::Instant::now() + limits::CONDITION;
    while wire::produce(&mut at, "t", 2, &poison).error != error::NOT_ENOUGH_REPLICAS {
        assert!(std::time::Instant::now() < deadline, "it is not gone");
        std::thread::sleep(limits::POLL);
    }
}

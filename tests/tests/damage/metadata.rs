//! Loses the file with the topics, or flips one bit in it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use sedge_tests::http;
use sedge_tests::limits;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Batch, Connection, error};

use crate::offline::{DATA_ERROR, copy, doctor, flip_in, refused, segment, wrong};

const RECORDS: i64 = 300;
const TOPICS: [&str; 2] = ["secret-topic", "second-topic"];

pub fn options() -> Options {
    Options::default()
        .set("sedge.segment.bytes", "1048576")
        .set("sedge.scrub.bytes.per.second", "0")
}

fn value(topic: &str, offset: i64) -> Vec<u8> {
    let mut value = format!("{topic} {offset}").into_bytes();
    value.resize(3_000, b'.');
    value
}

pub fn create_and_fill(connection: &mut Connection, topic: &str, records: i64) {
    wire::create_topic(connection, topic, 1, &[]);
    fill(connection, topic, records);
}

fn fill(connection: &mut Connection, topic: &str, records: i64) {
    for offset in 0..records {
        let batch = Batch::of(&[value(topic, offset)]).encode();
        let produced = wire::produce(connection, topic, 0, &batch);
        assert_eq!((produced.error, produced.base_offset), (0, offset));
    }
}

/// Creates both topics in the first segment.
fn fill_both(connection: &mut Connection) {
    for topic in TOPICS {
        wire::create_topic(connection, topic, 1, &[]);
    }
    for topic in TOPICS {
        fill(connection, topic, RECORDS);
    }
}

/// Creates two topics, and a third one in a later segment.
fn filled(directory: &TempDir) -> Sedge {
    let mut sedge = Sedge::start(&directory.join("data"), options());
    let mut connection = Connection::open(&sedge.bootstrap());
    fill_both(&mut connection);
    assert!(segment(sedge.data(), 2).exists());
    create_and_fill(&mut connection, "third-topic", 3);
    sedge.terminate();
    sedge
}

/// Returns the records of a topic, each with the topic it was written for and its offset.
pub fn read(connection: &mut Connection, topic: &str) -> BTreeSet<(String, i64)> {
    let mut found = BTreeSet::new();
    let mut position = 0;
    loop {
        let fetched = wire::fetch(connection, topic, 0, position);
        assert_eq!(fetched.error, error::NONE, "{topic} at {position}");
        if position >= fetched.high_watermark {
            return found;
        }
        for record in wire::records(&fetched.records) {
            let text = String::from_utf8(record.value).unwrap();
            let (of, offset) = text.trim_end_matches('.').split_once(' ').unwrap();
            assert_eq!(offset, record.offset.to_string(), "{topic}");
            found.insert((of.to_owned(), record.offset));
        }
        position = wire::next_offset(&fetched.records).expect("the consumer gets past");
    }
}

/// Returns all known records of a topic.
fn all(topic: &str, offsets: impl Iterator<Item = i64>) -> BTreeSet<(String, i64)> {
    offsets.map(|offset| (topic.to_owned(), offset)).collect()
}

/// Checks that a new topic is empty, and that what it accepts is its own.
fn check_new(connection: &mut Connection, name: &str) {
    create_and_fill(connection, name, 2);
    assert_eq!(read(connection, name), all(name, 0..2));
}

fn repair(data: &Path) {
    let (said, code) = doctor(data, &["--repair", "metadata", "--repair", "damage"]);
    let changes = said["changes"].as_array().expect("a list");
    assert!(!changes.is_empty(), "{said}");
    let (again, _) = doctor(data, &["--repair", "views"]);
    assert!(
        !wrong(&again).iter().any(|kind| kind == "metadata"),
        "{code}: {again}"
    );
}

#[test]
fn a_start_without_the_segment_of_the_topics_is_refused_and_repaired() {
    let directory = TempDir::new("lost-topics");
    let whole = filled(&directory);
    for with_views in [true, false] {
        let data = directory.join(&format!("views-{with_views}"));
        copy(whole.data(), &data);
        std::fs::remove_file(segment(&data, 1)).unwrap();
        if !with_views {
            std::fs::remove_dir_all(data.join("views")).unwrap();
        }
        // A refused start does no harm, however often.
        for _ in 0..2 {
            let refused = refused(&data, &options());
            let said = refused.stderr;
            assert!(
                said.contains("__cluster_metadata has lost offsets 0 to"),
                "{said}"
            );
            assert!(said.contains("sedge doctor --repair metadata"), "{said}");
        }
        let (said, code) = doctor(&data, &[]);
        assert_eq!(code, DATA_ERROR, "{said}");
        assert!(wrong(&said).contains(&"metadata".to_owned()), "{said}");

        repair(&data);
        let mut started = Sedge::start(&data, options());
        let mut connection = Connection::open(&started.bootstrap());
        // A new topic has no records of another one, even under the old names.
        for name in ["new", "secret-topic", "second-topic", "new2"] {
            check_new(&mut connection, name);
        }
        assert_eq!(
            read(&mut connection, "third-topic"),
            all("third-topic", 0..3)
        );
        // The remaining records of the two are each in their own topic.
        let mut left = 0;
        for id in 1..20 {
            let name = format!("recovered-{id}");
            if wire::fetch(&mut connection, &name, 0, 0).error == error::UNKNOWN_TOPIC {
                continue;
            }
            let found = read(&mut connection, &name);
            let topics: BTreeSet<&String> = found.iter().map(|(of, _)| of).collect();
            assert_eq!(topics.len(), 1, "{name}: {topics:?}");
            left += found.len();
            wire::delete_topic(&mut connection, &name);
        }
        assert!(left as i64 > RECORDS / 2, "{left}");
        started.terminate();
        let (said, code) = doctor(&data, &[]);
        assert_eq!(code, 0, "{said}");
    }
}

#[test]
fn one_bit_of_a_topic_s_record_refuses_the_start_and_costs_its_name() {
    let directory = TempDir::new("lost-topic");
    let whole = filled(&directory);
    for topic in TOPICS {
        let data = directory.join(topic);
        copy(whole.data(), &data);
        flip_in(&segment(&data, 1), topic.as_bytes());
        let refused = refused(&data, &options());
        let said = refused.stderr;
        assert!(
            said.contains("__cluster_metadata has lost offset"),
            "{said}"
        );
        let (said, code) = doctor(&data, &[]);
        assert_eq!(code, DATA_ERROR);
        assert!(wrong(&said).contains(&"orphan".to_owned()), "{said}");

        repair(&data);
        let started = Sedge::start(&data, options());
        let mut connection = Connection::open(&started.bootstrap());
        check_new(&mut connection, topic);
        for other in TOPICS.into_iter().filter(|other| *other != topic) {
            assert_eq!(read(&mut connection, other), all(other, 0..RECORDS));
        }
        let id = 1 + TOPICS.iter().position(|of| *of == topic).unwrap();
        let recovered = read(&mut connection, &format!("recovered-{id}"));
        assert_eq!(recovered, all(topic, 0..RECORDS));
    }
}

/// After a power cut, the disk may have the head of a commit and a later commit of another
/// partition, but not the record of the topic. The topic was not acknowledged as durable.
#[test]
fn a_command_that_a_power_cut_has_torn_refuses_no_start() {
    let directory = TempDir::new("torn-command");
    let mut whole = Sedge::start(&directory.join("data"), options());
    let mut connection = Connection::open(&whole.bootstrap());
    create_and_fill(&mut connection, "first-topic", 3);
    wire::create_topic(&mut connection, "torn-topic", 1, &[]);
    let batch = Batch::of(&[value("first-topic", 3)]).encode();
    assert_eq!(
        wire::produce(&mut connection, "first-topic", 0, &batch).error,
        0
    );
    whole.kill();
    for with_views in [true, false] {
        let data = directory.join(&format!("views-{with_views}"));
        copy(whole.data(), &data);
        flip_in(&segment(&data, 1), b"torn-topic");
        if !with_views {
            std::fs::remove_dir_all(data.join("views")).unwrap();
        }
        let mut sedge = Sedge::start(&data, options());
        for name in ["second-topic", "third-topic"] {
            let mut connection = Connection::open(&sedge.bootstrap());
            check_new(&mut connection, name);
            let first = read(&mut connection, "first-topic");
            assert_eq!(first, all("first-topic", 0..4));
            let torn = wire::fetch(&mut connection, "torn-topic", 0, 0);
            assert_eq!(torn.error, error::UNKNOWN_TOPIC);
            sedge.kill();
            sedge.start_again();
        }
        sedge.terminate();
        // The lost record is on the list of damage, and nothing else is wrong.
        let (said, code) = doctor(&data, &[]);
        assert_eq!((wrong(&said), code), (vec![], 0), "{said}");
    }
}

#[test]
fn the_scrub_names_the_topics_that_only_memory_has_and_they_are_written_again() {
    let directory = TempDir::new("scrubbed-topic");
    let options = Options::default()
        .set("sedge.segment.bytes", "1048576")
        .set("sedge.scrub.bytes.per.second", "104857600")
        .set("sedge.scrub.interval.ms", "1000");
    let mut sedge = Sedge::start(&directory.join("data"), options.clone());
    let mut connection = Connection::open(&sedge.bootstrap());
    fill_both(&mut connection);
    let console = sedge.console().to_owned();
    assert_eq!(http::get(&console, "/readyz"), (200, "ok\n".to_owned()));
    flip_in(&segment(sedge.data(), 1), b"second-topic");
    wait_until("/readyz warns", || {
        let (code, said) = http::get(&console, "/readyz");
        assert_eq!(code, 200, "{said}");
        said.contains("the next start needs")
            && http::metric(&console, "sedge_metadata_damaged") > 0.0
    });
    let told = "only in memory now: second-topic";
    sedge.process().wait_for(told, limits::CONDITION, |output| {
        let mut lines = output.stderr.iter();
        lines.find(|line| line.contains(told)).cloned()
    });
    // The broker continues, and writes all of the topics again.
    assert_eq!(
        read(&mut connection, "second-topic"),
        all("second-topic", 0..RECORDS)
    );
    wait_until("the topics are on the disk again", || {
        http::metric(&console, "sedge_metadata_damaged") == 0.0
            && http::metric(&console, "sedge_metadata_snapshots_total") > 0.0
    });
    assert_eq!(http::get(&console, "/readyz"), (200, "ok\n".to_owned()));
    sedge.kill();
    let started = Sedge::start(sedge.data(), options);
    let mut connection = Connection::open(&started.bootstrap());
    for topic in TOPICS {
        assert_eq!(read(&mut connection, topic), all(topic, 0..RECORDS));
    }
}

/// Waits for a condition, up to the limit for conditions.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + limits::CONDITION;
    while !is_so() {
        assert!(
            Instant::now() < deadline,
            "{what}: not within {:?}",
            limits::CONDITION
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

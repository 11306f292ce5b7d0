//! Tests the topics in which the broker keeps its own state: clients may read them, but neither
//! delete nor write them.

use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Batch, Commit, Connection, Decoder, Encoder, committed, error, key};

const OFFSETS: &str = "__consumer_offsets";
const PLUGINS: &str = "__sedge_plugins";
const INVALID_TOPIC: i16 = 17;
const INVALID_REQUEST: i16 = 42;
const TIMEOUT_MS: i32 = 30_000;

#[test]
fn an_acknowledged_commit_outlives_the_deletion_of_the_offsets_topic() {
    let directory = TempDir::new("offsets-topic");
    let mut sedge = Sedge::start(&directory.join("data"), Options::default());
    let mut at = Connection::open(&sedge.bootstrap());
    wire::create_topic(&mut at, "t", 1, &[]);
    assert_eq!(Commit::of("g", "t", 7).ask(&mut at), error::NONE);
    assert_eq!(delete(&mut at, OFFSETS), INVALID_REQUEST);
    assert_eq!(Commit::of("g", "t", 7).ask(&mut at), error::NONE);
    sedge.kill();
    sedge.start_again();
    let mut at = Connection::open(&sedge.bootstrap());
    assert_eq!(committed(&mut at, "g", "t", 0), Some(7));
}

#[test]
fn clients_read_the_brokers_own_topics_and_change_nothing_in_them() {
    let directory = TempDir::new("internal-topics");
    let options = Options::default().set("log.retention.check.interval.ms", "50");
    let sedge = Sedge::start(&directory.join("data"), options);
    let mut at = Connection::open(&sedge.bootstrap());
    wire::create_topic(&mut at, "t", 1, &[]);
    wire::create_topic(&mut at, PLUGINS, 1, &[("cleanup.policy", "compact")]);
    assert_eq!(Commit::of("g", "t", 7).ask(&mut at), error::NONE);
    let batch = Batch::keyed(&[(b"k".to_vec(), None)]).encode();
    let produced = wire::produce(&mut at, OFFSETS, 0, &batch);
    assert_eq!(produced.error, INVALID_TOPIC);
    let produced = wire::produce(&mut at, PLUGINS, 0, &batch);
    assert_eq!(produced.error, error::NONE, "deploying is producing");
    for topic in [OFFSETS, PLUGINS] {
        assert_eq!(delete(&mut at, topic), INVALID_REQUEST, "{topic}");
        assert_eq!(delete_records(&mut at, topic), INVALID_TOPIC, "{topic}");
        assert_eq!(grow(&mut at, topic), INVALID_REQUEST, "{topic}");
        // The broker's retention leaves the topic alone, whatever is configured.
        wire::alter_topic(&mut at, topic, ("cleanup.policy", "delete"));
        wire::alter_topic(&mut at, topic, ("retention.ms", "1"));
    }
    see_retention_run(&mut at);
    for topic in [OFFSETS, PLUGINS] {
        let fetched = wire::fetch(&mut at, topic, 0, 0);
        assert_eq!(fetched.error, error::NONE, "{topic}");
        assert!(!wire::records(&fetched.records).is_empty(), "{topic}");
    }
}

/// Waits until a record that expires at once is deleted.
fn see_retention_run(at: &mut Connection) {
    wire::create_topic(at, "short", 1, &[("retention.ms", "1")]);
    let batch = Batch::filled(1, 10).encode();
    assert_eq!(wire::produce(at, "short", 0, &batch).error, error::NONE);
    let deadline = std::time::Instant::now() + sedge_tests::limits::CONDITION;
    while wire::fetch(at, "short", 0, 0).error != error::OFFSET_OUT_OF_RANGE {
        assert!(std::time::Instant::now() < deadline, "retention runs");
        std::thread::sleep(sedge_tests::limits::POLL);
    }
}

fn delete(at: &mut Connection, name: &str) -> i16 {
    let body = Encoder::default().i32(1).string(name).i32(TIMEOUT_MS).0;
    let reply = at.ask(key::DELETE_TOPICS, 3, &body);
    let mut d = Decoder(&reply);
    let (_, _, _) = (d.i32(), d.i32(), d.string());
    d.i16()
}

fn delete_records(at: &mut Connection, name: &str) -> i16 {
    const TO_THE_END: i64 = -1;
    let body = Encoder::default().i32(1).string(name).i32(1).i32(0);
    let body = body.i64(TO_THE_END).i32(TIMEOUT_MS).0;
    let reply = at.ask(key::DELETE_RECORDS, 1, &body);
    let mut d = Decoder(&reply);
    let (_, _, _, _, _, _) = (d.i32(), d.i32(), d.string(), d.i32(), d.i32(), d.i64());
    d.i16()
}

fn grow(at: &mut Connection, name: &str) -> i16 {
    let body = Encoder::default().i32(1).string(name).i32(4).i32(-1);
    let body = body.i32(TIMEOUT_MS).i8(0).0;
    let reply = at.ask(key::CREATE_PARTITIONS, 1, &body);
    let mut d = Decoder(&reply);
    let (_, _, _) = (d.i32(), d.i32(), d.string());
    d.i16()
}

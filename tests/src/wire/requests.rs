//! Requests and their replies: `Produce` v8, `Fetch` v11, `CreateTopics` v4, `DeleteTopics` v3.

use std::time::Instant;

use crate::limits;
use crate::wire::{Batch, Connection, Decoder, Encoder, error, key};

pub const PRODUCE_VERSION: i16 = 8;
pub const FETCH_VERSION: i16 = 11;
const TIMEOUT_MS: i32 = 30_000;
const EARLIEST: i64 = -2;

/// The answer for the only partition of a Produce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Produced {
    pub error: i16,
    pub base_offset: i64,
    /// Indices of the records that the answer names.
    pub record_errors: Vec<i32>,
    pub message: Option<String>,
}

/// The answer for the only partition of a Fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    pub error: i16,
    pub high_watermark: i64,
    pub records: Vec<u8>,
}

pub fn produce_request(topic: &str, partition: i32, acks: i16, batch: &[u8]) -> Vec<u8> {
    let body = Encoder::default()
        .string(None)
        .i16(acks)
        .i32(TIMEOUT_MS)
        .i32(1)
        .string(topic);
    body.i32(1).i32(partition).bytes(batch).0
}

pub fn produced(reply: &[u8]) -> Produced {
    let mut d = Decoder(reply);
    assert_eq!(d.i32(), 1, "one topic");
    d.string();
    assert_eq!(d.i32(), 1, "one partition");
    d.i32();
    let (error, base_offset) = (d.i16(), d.i64());
    d.take(16);
    let named = d.i32().max(0);
    let record_errors = (0..named).map(|_| {
        let index = d.i32();
        d.string();
        index
    });
    let record_errors = record_errors.collect();
    Produced {
        error,
        base_offset,
        record_errors,
        message: d.string(),
    }
}

/// Produces encoded bytes with acks=all.
pub fn produce(to: &mut Connection, topic: &str, partition: i32, batch: &[u8]) -> Produced {
    let body = produce_request(topic, partition, -1, batch);
    produced(&to.ask(key::PRODUCE, PRODUCE_VERSION, &body))
}

/// Returns a producer id and its epoch, as soon as the coordinator is ready.
pub fn init_producer_id(at: &mut Connection) -> (i64, i16) {
    let body = Encoder::default().string(None).i32(TIMEOUT_MS).0;
    let deadline = Instant::now() + limits::CONDITION;
    loop {
        let reply = at.ask(key::INIT_PRODUCER_ID, 1, &body);
        let mut d = Decoder(&reply);
        d.i32();
        match d.i16() {
            error::NONE => return (d.i64(), d.i16()),
            code => assert!(error::NOT_YET.contains(&code), "InitProducerId: {code}"),
        }
        assert!(Instant::now() < deadline, "a producer id");
        std::thread::sleep(limits::POLL);
    }
}

/// Builds a fetch of one partition without a session.
pub fn fetch_request(topic: &str, partition: i32, offset: i64, bytes_max: i32) -> Vec<u8> {
    fetch_request_of(topic, &[(partition, offset, bytes_max)])
}

/// Builds a fetch of some partitions of a topic, each with an offset and a limit, without a
/// session.
pub fn fetch_request_of(topic: &str, partitions: &[(i32, i64, i32)]) -> Vec<u8> {
    let bytes_max = partitions.iter().map(|(.., bytes_max)| bytes_max).sum();
    let mut body = Encoder::default()
        .i32(-1)
        .i32(500)
        .i32(1)
        .i32(bytes_max)
        .i8(0)
        .i32(0)
        .i32(-1)
        .i32(1)
        .string(topic)
        .i32(partitions.len() as i32);
    for (partition, offset, bytes_max) in partitions {
        body = body.i32(*partition).i32(-1).i64(*offset).i64(-1);
        body = body.i32(*bytes_max);
    }
    body.i32(0).string("").0
}

/// Returns the answer for the requested partition, or for the request.
pub fn fetched(reply: &[u8]) -> Fetched {
    match fetched_of(reply) {
        Ok(mut partitions) => partitions.swap_remove(0).1,
        Err(error) => Fetched {
            error,
            high_watermark: -1,
            records: Vec::new(),
        },
    }
}

/// Returns the answers for partitions of a topic, or the error of the request.
pub fn fetched_of(reply: &[u8]) -> Result<Vec<(i32, Fetched)>, i16> {
    let mut d = Decoder(reply);
    d.i32();
    let whole = d.i16();
    d.i32();
    if whole != error::NONE || d.i32() == 0 {
        return Err(whole);
    }
    d.string();
    let partition = |d: &mut Decoder<'_>| {
        let partition = d.i32();
        let (error, high_watermark) = (d.i16(), d.i64());
        d.take(16);
        for _ in 0..d.i32().max(0) {
            d.take(16);
        }
        d.i32();
        let fetched = Fetched {
            error,
            high_watermark,
            records: d.bytes().to_vec(),
        };
        (partition, fetched)
    };
    Ok((0..d.i32()).map(|_| partition(&mut d)).collect())
}

pub fn fetch(from: &mut Connection, topic: &str, partition: i32, offset: i64) -> Fetched {
    let body = fetch_request(topic, partition, offset, 1 << 20);
    fetched(&from.ask(key::FETCH, FETCH_VERSION, &body))
}

/// Returns the first offset at or after a time, -1 if there is none (`ListOffsets` v1).
pub fn offset_for_time(at: &mut Connection, topic: &str, partition: i32, timestamp: i64) -> i64 {
    let listed = list_offsets(at, topic, partition, timestamp);
    listed.unwrap_or_else(|code| panic!("ListOffsets of {topic} at {timestamp}: {code}"))
}

fn list_offsets(
    at: &mut Connection,
    topic: &str,
    partition: i32,
    timestamp: i64,
) -> Result<i64, i16> {
    let body = Encoder::default().i32(-1).i32(1).string(topic);
    let body = body.i32(1).i32(partition).i64(timestamp).0;
    let reply = at.ask(key::LIST_OFFSETS, 1, &body);
    let mut d = Decoder(&reply);
    d.i32();
    d.string();
    d.i32();
    d.i32();
    match d.i16() {
        error::NONE => {
            d.i64();
            Ok(d.i64())
        }
        code => Err(code),
    }
}

/// Moves the log start (`DeleteRecords` v1).
pub fn delete_records(at: &mut Connection, topic: &str, partition: i32, before: i64) {
    let body = Encoder::default().i32(1).string(topic).i32(1);
    let body = body.i32(partition).i64(before).i32(TIMEOUT_MS).0;
    let reply = at.ask(key::DELETE_RECORDS, 1, &body);
    let mut d = Decoder(&reply);
    d.i32();
    d.i32();
    d.string();
    d.i32();
    d.i32();
    assert_eq!(d.i64(), before, "the log start of {topic}");
    assert_eq!(d.i16(), error::NONE, "DeleteRecords of {topic}");
}

/// Commits an offset of a group without members (`OffsetCommit` v2).
pub fn commit_offset(at: &mut Connection, group: &str, topic: &str, partition: i32, offset: i64) {
    let body = Encoder::default().string(group).i32(-1).string("").i64(-1);
    let body = body.i32(1).string(topic).i32(1).i32(partition);
    let body = body.i64(offset).string("").0;
    let reply = at.ask(key::OFFSET_COMMIT, 2, &body);
    let mut d = Decoder(&reply);
    d.i32();
    d.string();
    d.i32();
    d.i32();
    assert_eq!(d.i16(), error::NONE, "OffsetCommit of {group} for {topic}");
}

/// Creates a topic with `configs`.
pub fn create_topic(at: &mut Connection, name: &str, partitions: i32, configs: &[(&str, &str)]) {
    let answer = try_create_topic(at, name, partitions, configs);
    assert_eq!(answer.0, error::NONE, "creating {name}: {:?}", answer.1);
}

/// Creates a topic. Returns the error and its message.
pub fn try_create_topic(
    at: &mut Connection,
    name: &str,
    partitions: i32,
    configs: &[(&str, &str)],
) -> (i16, Option<String>) {
    let mut body = Encoder::default()
        .i32(1)
        .string(name)
        .i32(partitions)
        .i16(1)
        .i32(0);
    body = body.i32(configs.len() as i32);
    for (name, value) in configs {
        body = body.string(*name).string(*value);
    }
    let body = body.i32(TIMEOUT_MS).i8(0).0;
    let reply = at.ask(key::CREATE_TOPICS, 4, &body);
    let mut d = Decoder(&reply);
    d.i32();
    d.i32();
    d.string();
    (d.i16(), d.string())
}

/// Sets one config of a topic (`IncrementalAlterConfigs` v0).
pub fn alter_topic(at: &mut Connection, name: &str, (key, value): (&str, &str)) {
    const SET: i8 = 0;
    alter_config(at, name, key, (SET, Some(value)));
}

/// Resets one config of a topic to its default.
pub fn reset_topic_config(at: &mut Connection, name: &str, key: &str) {
    const DELETE: i8 = 1;
    alter_config(at, name, key, (DELETE, None));
}

fn alter_config(at: &mut Connection, name: &str, key: &str, (how, value): (i8, Option<&str>)) {
    const TOPIC: i8 = 2;
    let body = Encoder::default().i32(1).i8(TOPIC).string(name).i32(1);
    let body = body.string(key).i8(how).string(value).i8(0).0;
    let reply = at.ask(key::INCREMENTAL_ALTER_CONFIGS, 0, &body);
    let mut d = Decoder(&reply);
    d.i32();
    d.i32();
    assert_eq!(d.i16(), error::NONE, "{key} of {name}: {:?}", d.string());
}

/// Raises the number of a topic's partitions to `count` (`CreatePartitions` v1).
pub fn grow_topic(at: &mut Connection, name: &str, count: i32) {
    let body = Encoder::default().i32(1).string(name).i32(count).i32(-1);
    let body = body.i32(TIMEOUT_MS).i8(0).0;
    let reply = at.ask(key::CREATE_PARTITIONS, 1, &body);
    let mut d = Decoder(&reply);
    let (_, _, _) = (d.i32(), d.i32(), d.string());
    assert_eq!(d.i16(), error::NONE, "growing {name}: {:?}", d.string());
}

/// Returns the value of one config of a topic (`DescribeConfigs` v1).
pub fn topic_config(at: &mut Connection, name: &str, key: &str) -> Option<String> {
    const TOPIC: i8 = 2;
    let body = Encoder::default().i32(1).i8(TOPIC).string(name);
    let body = body.i32(1).string(key).i8(0).0;
    let reply = at.ask(key::DESCRIBE_CONFIGS, 1, &body);
    let mut d = Decoder(&reply);
    d.i32();
    d.i32();
    assert_eq!(d.i16(), error::NONE, "{key} of {name}: {:?}", d.string());
    d.string();
    d.take(1);
    d.string();
    assert_eq!(d.i32(), 1, "{key} of {name} is one config");
    d.string();
    d.string()
}

/// Fetches until the partition has an answer of its own: Kafka needs a moment for a new one.
pub fn wait_known(at: &mut Connection, topic: &str, partition: i32) {
    let deadline = Instant::now() + limits::CONDITION;
    loop {
        // Not a fetch, which waits for records.
        let listed = list_offsets(at, topic, partition, EARLIEST);
        let code = listed.err().unwrap_or(error::NONE);
        if ![error::UNKNOWN_TOPIC, error::NOT_LEADER_OR_FOLLOWER].contains(&code) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{topic} {partition} is not known: {code}"
        );
        std::thread::sleep(limits::POLL);
    }
}

/// Produces one record once the partition accepts it: Kafka answers for a while that it does not
/// know the partition, or does not lead it.
pub fn wait_leader(at: &mut Connection, topic: &str, partition: i32) {
    let deadline = Instant::now() + limits::CONDITION;
    let batch = Batch::filled(1, 100).encode();
    loop {
        match produce(at, topic, partition, &batch) {
            Produced {
                error: error::NONE, ..
            } => return,
            Produced {
                error: error::UNKNOWN_TOPIC | error::NOT_LEADER_OR_FOLLOWER,
                ..
            } => {}
            other => panic!("a plain produce: {other:?}"),
        }
        assert!(
            Instant::now() < deadline,
            "{topic} {partition} has no leader"
        );
        std::thread::sleep(limits::POLL);
    }
}

pub fn delete_topic(at: &mut Connection, name: &str) {
    let body = Encoder::default().i32(1).string(name).i32(TIMEOUT_MS).0;
    let reply = at.ask(key::DELETE_TOPICS, 3, &body);
    let mut d = Decoder(&reply);
    d.i32();
    d.i32();
    d.string();
    assert_eq!(d.i16(), error::NONE, "deleting {name}");
}

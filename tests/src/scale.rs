//! Creates topics of a thousand partitions, and writes to many partitions with each request.

use std::time::Instant;

use crate::limits;
use crate::wire::{self, Batch, Connection, Decoder, Encoder, error, key};

/// Partitions of a topic.
pub const TOPIC_PARTITIONS: i32 = 1000;
/// Bytes of a Produce request, so that its batches stay below the largest request.
const REQUEST_BYTES_MAX: usize = 8 << 20;
const METADATA_VERSION: i16 = 5;
const TIMEOUT_MS: i32 = 30_000;

/// Returns the name of topic number `topic`.
pub fn name(topic: i32) -> String {
    format!("scale-{topic:04}")
}

/// Creates topics until there are `partitions` in all.
pub fn create(to: &mut Connection, partitions: i32) {
    for topic in 0..partitions / TOPIC_PARTITIONS {
        wire::create_topic(to, &name(topic), TOPIC_PARTITIONS, &[]);
    }
}

/// Writes one batch of `bytes` to each of the first `partitions` of a topic, and waits for all.
pub fn produce_to_all(to: &mut Connection, topic: &str, partitions: i32, bytes: usize) {
    let batch = Batch::filled(1, bytes).encode();
    let at_once = (REQUEST_BYTES_MAX / batch.len()).clamp(1, 1000);
    let all: Vec<i32> = (0..partitions).collect();
    for some in all.chunks(at_once) {
        let deadline = Instant::now() + limits::MANY_PARTITIONS;
        let mut left = some.to_vec();
        loop {
            let mut body = Encoder::default()
                .string(None)
                .i16(-1)
                .i32(TIMEOUT_MS)
                .i32(1)
                .string(topic)
                .i32(left.len() as i32);
            for partition in &left {
                body = body.i32(*partition).bytes(&batch);
            }
            let reply = to.ask(key::PRODUCE, wire::PRODUCE_VERSION, &body.0);
            left = not_led(&reply, left.len());
            if left.is_empty() {
                break;
            }
            assert!(Instant::now() < deadline, "{topic} {left:?} have no leader");
            std::thread::sleep(limits::POLL);
        }
    }
}

/// Returns the partitions that were not written, because Apache Kafka does not lead them yet.
fn not_led(reply: &[u8], count: usize) -> Vec<i32> {
    let mut left = Vec::new();
    let mut d = Decoder(reply);
    assert_eq!(d.i32(), 1, "one topic");
    d.string();
    assert_eq!(d.i32() as usize, count, "each partition is answered");
    for _ in 0..count {
        let (partition, error) = (d.i32(), d.i16());
        match error {
            error::NONE => {}
            error::UNKNOWN_TOPIC | error::NOT_LEADER_OR_FOLLOWER => left.push(partition),
            other => panic!("partition {partition}: {other}"),
        }
        d.take(24);
        for _ in 0..d.i32().max(0) {
            d.i32();
            d.string();
        }
        d.string();
    }
    left
}

/// Requests all topics by `Metadata`. Returns the number of partitions, and the bytes of the
/// answer.
pub fn describe(to: &mut Connection) -> (usize, usize) {
    let body = Encoder::default().i32(-1).i8(0).0;
    let reply = to.ask(key::METADATA, METADATA_VERSION, &body);
    let mut d = Decoder(&reply);
    d.i32();
    for _ in 0..d.i32() {
        d.i32();
        d.string();
        d.i32();
        d.string();
    }
    d.string();
    d.i32();
    let mut partitions = 0;
    for _ in 0..d.i32() {
        assert_eq!(d.i16(), error::NONE);
        let topic = d.string().unwrap_or_default();
        d.take(1);
        for _ in 0..d.i32() {
            partitions += usize::from(topic.starts_with("scale-"));
            d.take(10);
            for _ in 0..3 {
                let nodes = d.i32();
                d.take(4 * nodes.max(0) as usize);
            }
        }
    }
    (partitions, reply.len())
}

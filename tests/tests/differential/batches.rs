//! Batches that are produced, right ones and wrong ones, and what is fetched and listed after them.

use sedge_protocol::Bytes;
use sedge_protocol::kafka::generated as messages;
use sedge_tests::wire::{Batch, Codec};

use messages::fetch_request as fetch;
use messages::list_offsets_request as offsets;
use messages::produce_request as produce;

use crate::case::{Case, case, text};

/// A topic of these cases alone.
pub const WRITTEN: &str = "written";

/// The time of the records, in milliseconds.
const TIME: i64 = 1_700_000_000_000;

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, batch) in batches() {
        for acks in [1, -1] {
            case!(cases, &format!("produce {name} acks={acks}"), Produce 3..=12, |_| {
                let partition = produce::PartitionProduceData::default()
                    .with_records(Some(Bytes::from(batch.clone())));
                let topic = produce::TopicProduceData::default()
                    .with_name(text(WRITTEN))
                    .with_partition_data(vec![partition]);
                produce::ProduceRequestData::default()
                    .with_acks(acks)
                    .with_timeout_ms(30_000)
                    .with_topic_data(vec![topic])
            } => messages::produce_response::ProduceResponseData);
        }
    }
    for offset in [0, 3, 7, 1_000_000] {
        for isolation in [0, 1] {
            case!(cases, &format!("read {offset} {isolation}"), Fetch 4..=12, |_| {
                let partition = fetch::FetchPartition::default()
                    .with_fetch_offset(offset)
                    .with_partition_max_bytes(1);
                let topic = fetch::FetchTopic::default()
                    .with_topic(text(WRITTEN))
                    .with_partitions(vec![partition]);
                fetch::FetchRequestData::default()
                    .with_replica_id(-1)
                    .with_session_epoch(-1)
                    .with_max_bytes(1 << 20)
                    .with_isolation_level(isolation)
                    .with_topics(vec![topic])
            } => messages::fetch_response::FetchResponseData);
        }
    }
    for timestamp in [-1, -2, -3, 0, TIME, TIME + 1, TIME + 5, -9] {
        case!(cases, &format!("offset at {timestamp}"), ListOffsets 7..=11, |_| {
            let partition = offsets::ListOffsetsPartition::default()
                .with_current_leader_epoch(-1)
                .with_timestamp(timestamp);
            let topic = offsets::ListOffsetsTopic::default()
                .with_name(text(WRITTEN))
                .with_partitions(vec![partition]);
            offsets::ListOffsetsRequestData::default()
                .with_replica_id(-1)
                .with_topics(vec![topic])
        } => messages::list_offsets_response::ListOffsetsResponseData);
    }
    cases
}

fn batches() -> Vec<(&'static str, Vec<u8>)> {
    let good = Batch {
        base_timestamp: TIME,
        ..Batch::of(&[b"one".to_vec(), b"two".to_vec(), b"three".to_vec()])
    };
    let with = |change: fn(&mut Batch)| {
        let mut batch = good.clone();
        change(&mut batch);
        batch.encode()
    };
    let mut bad_crc = good.encode();
    let last = bad_crc.len() - 1;
    bad_crc[last] ^= 1;
    let cut = good.encode();
    let cut = cut[..cut.len() - 4].to_vec();
    let two = [good.encode(), good.encode()].concat();
    vec![
        ("three records", good.encode()),
        (
            "no records",
            with(|batch| (batch.records, batch.payload) = (0, Vec::new())),
        ),
        ("nothing", Vec::new()),
        ("two batches", two),
        ("a wrong sum", bad_crc),
        ("a batch that is cut", cut),
        ("magic 3", with(|batch| batch.magic = 3)),
        ("a wrong count", with(|batch| batch.count = Some(7))),
        (
            "a wrong last delta",
            with(|batch| batch.last_offset_delta = Some(9)),
        ),
        ("an unknown codec", with(|batch| batch.attributes = 7)),
        ("what is no gzip", with(|batch| batch.codec = Codec::Gzip)),
        ("a control batch", with(|batch| batch.attributes = 1 << 5)),
        (
            "transactional without an id",
            with(|batch| {
                (batch.attributes, batch.producer_id) = (1 << 4, 1);
                (batch.producer_epoch, batch.base_sequence) = (0, 0);
            }),
        ),
        (
            "a producer that is unknown, in the middle",
            with(|batch| {
                (batch.producer_id, batch.producer_epoch, batch.base_sequence) = (900, 0, 5);
            }),
        ),
        (
            "an idempotent producer, again and again",
            with(|batch| {
                (batch.producer_id, batch.producer_epoch, batch.base_sequence) = (901, 0, 0);
            }),
        ),
        (
            "a time in the far future",
            with(|batch| batch.base_timestamp = i64::MAX / 2),
        ),
        (
            "a time before 1970",
            with(|batch| batch.base_timestamp = -5),
        ),
    ]
}

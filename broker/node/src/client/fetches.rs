//! Fetches of many partitions at once, of committed records, for the mirror.

use std::collections::BTreeMap;

use sedge_core::mirror::pull::Aborted;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{Offset, ProducerId};
use sedge_protocol::kafka::KafkaUuid;
use sedge_protocol::kafka::generated::fetch_request::{FetchPartition, FetchTopic};
use sedge_protocol::kafka::generated::{ApiKey, FetchRequestData, FetchResponseData};
use sedge_protocol::{Bytes, ErrorCode};

use super::error::Error;

/// `isolation.level=read_committed`: nothing from the first open transaction on.
const READ_COMMITTED: i8 = 1;

/// The bounds of a fetch.
#[derive(Clone, Copy, Debug)]
pub struct FetchBounds {
    pub wait_ms: i32,
    pub bytes_max: i32,
    pub partition_bytes_max: i32,
}

/// One partition to fetch.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub topic: &'a str,
    /// Zero if the broker has no topic ids. Otherwise it answers for this topic alone, and not for
    /// a later one of the name (KIP-516, brokers from Kafka 3.1 on).
    pub topic_id: KafkaUuid,
    pub index: i32,
    pub offset: Offset,
}

/// One partition of an answer.
#[derive(Clone, Debug)]
pub struct FetchedPartition {
    /// Empty if the answer has the topic's id instead.
    pub topic: String,
    pub topic_id: KafkaUuid,
    pub index: i32,
    pub error: ErrorCode,
    /// The end of what is committed; the high watermark if the upstream has no transactions.
    pub end: Offset,
    pub aborted: Vec<Aborted>,
    pub batches: Vec<Batch>,
}

/// Returns a request without a session (KIP-227).
pub fn fetch_request<'a>(
    wanted: impl Iterator<Item = Wanted<'a>>,
    bounds: FetchBounds,
) -> FetchRequestData {
    let mut topics: BTreeMap<&str, FetchTopic> = BTreeMap::new();
    for wanted in wanted {
        let partition = FetchPartition::default()
            .with_partition(wanted.index)
            .with_fetch_offset(wanted.offset.get())
            .with_partition_max_bytes(bounds.partition_bytes_max);
        let topic = topics.entry(wanted.topic).or_insert_with(|| {
            FetchTopic::default()
                .with_topic(wanted.topic.to_owned().into())
                .with_topic_id(wanted.topic_id)
        });
        topic.partitions.push(partition);
    }
    FetchRequestData::default()
        .with_max_wait_ms(bounds.wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(bounds.bytes_max)
        .with_isolation_level(READ_COMMITTED)
        .with_topics(topics.into_values().collect())
        .with_session_epoch(-1)
}

/// Reads an answer.
///
/// # Errors
/// The broker refuses the whole request.
pub fn fetched(response: FetchResponseData) -> Result<Vec<FetchedPartition>, Error> {
    Error::check(ApiKey::Fetch, response.error_code, None)?;
    let mut all = Vec::new();
    for topic in response.responses {
        for partition in topic.partitions {
            let mut bytes: Bytes = partition.records.unwrap_or_default();
            let batches = std::iter::from_fn(|| Batch::split_from(&mut bytes)).collect();
            let aborted = partition.aborted_transactions.unwrap_or_default();
            let aborted = aborted.into_iter().map(|aborted| Aborted {
                producer: ProducerId(aborted.producer_id),
                first_offset: Offset(aborted.first_offset),
            });
            let stable = partition.last_stable_offset;
            let end = if stable >= 0 {
                stable
            } else {
                partition.high_watermark
            };
            all.push(FetchedPartition {
                topic: topic.topic.as_str().to_owned(),
                topic_id: topic.topic_id,
                index: partition.partition_index,
                error: ErrorCode::from(partition.error_code),
                end: Offset(end),
                aborted: aborted.collect(),
                batches,
            });
        }
    }
    Ok(all)
}

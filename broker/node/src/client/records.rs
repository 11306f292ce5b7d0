//! Records: produces whole batches, reads them, and finds offsets.

use std::collections::BTreeMap;

use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{Offset, ProducerEpoch, ProducerId};
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::fetch_request::{FetchPartition, FetchTopic};
use sedge_protocol::kafka::generated::{
    ApiKey, FetchRequestData, InitProducerIdRequestData, ListOffsetsPartition,
    ListOffsetsRequestData, ListOffsetsTopic,
};
use sedge_protocol::produce::Produce;
use sedge_protocol::{Bytes, ErrorCode};

use super::cluster::{Client, Target};
use super::error::Error;

/// `ListOffsets` timestamp for the end of the log (the high watermark).
pub const LATEST: i64 = -1;
/// `ListOffsets` timestamp for the log start offset.
pub const EARLIEST: i64 = -2;

/// The last version of Fetch that names topics by their names.
const FETCH_BY_NAME_MAX: i16 = 12;

/// The result of a fetch.
#[derive(Clone, Debug)]
pub struct Fetched {
    pub high_watermark: Offset,
    pub log_start: Offset,
    /// Batches from the one that contains the requested offset; the last may be cut short.
    pub batches: Vec<Batch>,
}

impl Client {
    /// Requests a producer id for an idempotent producer.
    pub async fn init_producer_id(&self) -> Result<(ProducerId, ProducerEpoch), Error> {
        let request = InitProducerIdRequestData::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(self.timeout_ms());
        let api = ApiKey::InitProducerId;
        self.retry(|| async {
            let response = self.connection(Target::Any).await?.call(&request).await?;
            Error::check(api, response.error_code, None)?;
            let id = ProducerId::from_wire(response.producer_id).ok_or(Error::Missing {
                api,
                what: "producer id",
            })?;
            Ok((id, ProducerEpoch(response.producer_epoch)))
        })
        .await
    }

    /// Produces one batch to one partition, acknowledged by all in-sync replicas. Returns its
    /// offset. Retries until the call's time is over, so without a producer id the batch may be
    /// written twice.
    pub async fn produce(
        &self,
        topic: &str,
        partition: i32,
        batch: &Batch,
    ) -> Result<Offset, Error> {
        let mut request = Produce::new(self.timeout_ms(), None);
        request.add(topic, partition, batch.clone());
        let api = ApiKey::Produce;
        self.retry(|| async {
            let leader = self.leader(topic, partition).await?;
            let response = self
                .connection(Target::Broker(leader))
                .await?
                .call(&request)
                .await?;
            let answer = response
                .responses
                .iter()
                .flat_map(|topic| &topic.partition_responses)
                .next()
                .ok_or(Error::Missing {
                    api,
                    what: "partition",
                })?;
            let message = answer.error_message.as_ref().map(KafkaString::as_str);
            let checked = Error::check(api, answer.error_code, message);
            self.forget_if_moved(topic, checked)?;
            Ok(Offset(answer.base_offset))
        })
        .await
    }

    /// Reads batches of one partition from `offset` on, waiting up to `wait_ms` for the first.
    pub async fn fetch(
        &self,
        topic: &str,
        partition: i32,
        offset: Offset,
        bytes_max: i32,
        wait_ms: i32,
    ) -> Result<Fetched, Error> {
        let entry = FetchPartition::default()
            .with_partition(partition)
            .with_fetch_offset(offset.get())
            .with_partition_max_bytes(bytes_max);
        let request = FetchRequestData::default()
            .with_max_wait_ms(wait_ms)
            .with_min_bytes(1)
            .with_max_bytes(bytes_max)
            .with_topics(vec![
                FetchTopic::default()
                    .with_topic(topic.to_owned().into())
                    .with_partitions(vec![entry]),
            ])
            // Without a session (KIP-227).
            .with_session_epoch(-1);
        let api = ApiKey::Fetch;
        self.retry(|| async {
            let leader = self.leader(topic, partition).await?;
            let connection = self.connection(Target::Broker(leader)).await?;
            let response = connection.call_at_most(&request, FETCH_BY_NAME_MAX).await?;
            Error::check(api, response.error_code, None)?;
            let answer = response
                .responses
                .iter()
                .flat_map(|topic| &topic.partitions)
                .next()
                .ok_or(Error::Missing {
                    api,
                    what: "partition",
                })?;
            self.forget_if_moved(topic, Error::check(api, answer.error_code, None))?;
            let mut bytes: Bytes = answer.records.clone().unwrap_or_default();
            Ok(Fetched {
                high_watermark: Offset(answer.high_watermark),
                log_start: Offset(answer.log_start_offset),
                batches: std::iter::from_fn(|| Batch::split_from(&mut bytes)).collect(),
            })
        })
        .await
    }

    /// Finds offsets by time, or [`LATEST`] or [`EARLIEST`]; `None` if no record is that new.
    pub async fn list_offsets(
        &self,
        wanted: &[(&str, i32, i64)],
    ) -> Result<BTreeMap<(String, i32), Option<Offset>>, Error> {
        self.retry(|| async {
            let mut found = BTreeMap::new();
            self.list_offsets_once(wanted, &mut found).await?;
            Ok(found)
        })
        .await
    }

    async fn list_offsets_once(
        &self,
        wanted: &[(&str, i32, i64)],
        found: &mut BTreeMap<(String, i32), Option<Offset>>,
    ) -> Result<(), Error> {
        let api = ApiKey::ListOffsets;
        let mut by_leader: BTreeMap<i32, BTreeMap<&str, Vec<ListOffsetsPartition>>> =
            BTreeMap::new();
        for (topic, partition, timestamp) in wanted {
            let leader = self.leader(topic, *partition).await?;
            by_leader
                .entry(leader)
                .or_default()
                .entry(topic)
                .or_default()
                .push(
                    ListOffsetsPartition::default()
                        .with_partition_index(*partition)
                        .with_timestamp(*timestamp),
                );
        }
        for (leader, topics) in by_leader {
            let topics = topics.into_iter().map(|(name, partitions)| {
                ListOffsetsTopic::default()
                    .with_name(name.to_owned().into())
                    .with_partitions(partitions)
            });
            let request = ListOffsetsRequestData::default()
                .with_replica_id(-1)
                .with_topics(topics.collect());
            let response = self
                .connection(Target::Broker(leader))
                .await?
                .call(&request)
                .await?;
            for topic in &response.topics {
                for partition in &topic.partitions {
                    let checked = Error::check(api, partition.error_code, None);
                    self.forget_if_moved(topic.name.as_str(), checked)?;
                    let key = (topic.name.as_str().to_owned(), partition.partition_index);
                    found.insert(key, Offset::from_wire(partition.offset));
                }
            }
        }
        Ok(())
    }

    /// Forgets the leader if the error says that it has moved, so that the next attempt asks again.
    fn forget_if_moved(&self, topic: &str, result: Result<(), Error>) -> Result<(), Error> {
        if let Some(code) = result.as_ref().err().and_then(Error::code)
            && is_about_leadership(code)
        {
            self.forget(topic);
        }
        result
    }
}

/// Kafka's clients call these "invalid metadata".
#[must_use]
pub const fn is_about_leadership(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NotLeaderOrFollower
            | ErrorCode::LeaderNotAvailable
            | ErrorCode::UnknownTopicOrPartition
            | ErrorCode::UnknownTopicId
            | ErrorCode::ReplicaNotAvailable
            | ErrorCode::FencedLeaderEpoch
            | ErrorCode::UnknownLeaderEpoch
            | ErrorCode::KafkaStorageError
            | ErrorCode::NetworkException
    )
}

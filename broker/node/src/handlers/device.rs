//! Devices of a gateway, as clients: what they publish and read is checked, filtered and
//! distributed as a client's produces and fetches are, for the principal `User:IDENTITY`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sedge_core::fetch::session::{TopicKey, Wanted};
use sedge_core::log::{AbortedTransaction, AppendError};
use sedge_core::partitioner::partition_of;
use sedge_core::security::Operation;
use sedge_protocol::batch::Batch;
use sedge_protocol::frame::RequestHeader;
use sedge_protocol::ids::Offset;
use sedge_protocol::kafka::generated::ApiKey;
use sedge_protocol::{Bytes, BytesMut, ErrorCode};
use sedge_storage::Chunk;

use super::apis;
use super::records::{fetch, produce};
use super::request::Request;
use crate::broker::Broker;
use crate::fetching::read::{Isolation, Read};
use crate::fetching::wait::Wish;
use crate::net::service::Session;
use crate::writer::AppendPart;

/// The version of Produce whose rules a device's batches obey.
const PRODUCE_VERSION: i16 = 9;

/// A device, as a client.
#[derive(Clone, Debug)]
pub struct Device {
    broker: Arc<Broker>,
    session: Arc<Session>,
}

/// What was read of a partition.
#[derive(Debug)]
pub struct Fetched {
    pub topic: Arc<str>,
    pub partition: i32,
    pub batches: Vec<Bytes>,
    /// The aborted transactions among the batches.
    pub aborted: Vec<AbortedTransaction>,
    pub error: Option<ErrorCode>,
}

impl Device {
    pub fn new(broker: &Arc<Broker>, session: &Arc<Session>) -> Self {
        Self {
            broker: Arc::clone(broker),
            session: Arc::clone(session),
        }
    }

    fn request(&self, key: ApiKey) -> Request {
        let header = RequestHeader {
            api_key: key as i16,
            api_version: PRODUCE_VERSION,
            correlation_id: 0,
            client_id: None,
        };
        Request::new(
            &self.broker,
            &self.session,
            (header, 0),
            key,
            apis::needs(key),
        )
    }

    /// Checks that the device may publish to a topic, and creates it if topics are created so.
    ///
    /// # Errors
    /// TOPIC_AUTHORIZATION_FAILED, UNKNOWN_TOPIC_OR_PARTITION, INVALID_TOPIC_EXCEPTION.
    pub async fn check_publish(&self, topic: &str) -> Result<(), ErrorCode> {
        let checked = || {
            let topics = self.request(ApiKey::Produce).topics(Operation::Write);
            match topics.named(topic) {
                Ok(topic) if topic.takes_produce() => Ok(()),
                Ok(_) => Err(ErrorCode::InvalidTopicException),
                Err(error) => Err(error),
            }
        };
        match checked() {
            Err(ErrorCode::UnknownTopicOrPartition) if self.creates_topics() => {
                self.request(ApiKey::Metadata).auto_create(topic).await?;
                checked()
            }
            checked => checked,
        }
    }

    fn creates_topics(&self) -> bool {
        self.broker
            .log
            .metadata
            .load()
            .defaults()
            .auto_creates_topics()
    }

    /// Checks a batch of records with this key, and runs it through the topic's filters and its
    /// partitioner. Returns the part for the writer, or `None` if the filters leave nothing.
    ///
    /// # Errors
    /// The error of a produce.
    pub async fn admit(
        &self,
        topic: &str,
        key: &[u8],
        batch: &Batch,
    ) -> Result<Option<AppendPart>, AppendError> {
        let request = self.request(ApiKey::Produce);
        let topics = request.topics(Operation::Write);
        let topic = topics.named(topic)?;
        let index = partition_of(key, topic.partition_count() as u32);
        let mut records = BytesMut::with_capacity(batch.bytes());
        records.extend_from_slice(batch.header.as_bytes());
        records.extend_from_slice(&batch.body);
        produce::part(&request, topic, index as i32, records.freeze()).await
    }

    /// Returns the ends of the partitions of a topic that the device may read: the oldest offset,
    /// and that after the last record that it may see.
    ///
    /// # Errors
    /// TOPIC_AUTHORIZATION_FAILED, UNKNOWN_TOPIC_OR_PARTITION, KAFKA_STORAGE_ERROR.
    pub fn ends(&self, topic: &str) -> Result<Vec<(Offset, Offset)>, ErrorCode> {
        let topics = self.request(ApiKey::Fetch).topics(Operation::Read);
        let topic = topics.named(topic)?;
        if topic.is_internal {
            return Err(ErrorCode::InvalidTopicException);
        }
        let ends = (0..topic.partition_count()).map(|index| {
            let partition = topic.published(index, None)?;
            Ok((partition.log_start(), partition.last_stable_offset()))
        });
        ends.collect()
    }

    /// Reads the next records from these positions on, and waits for the first one.
    pub async fn fetch(
        &self,
        positions: &[(Arc<str>, i32, i64)],
        bytes_max: usize,
        wait: Duration,
    ) -> Vec<Fetched> {
        let wanted: Vec<Wanted> = positions
            .iter()
            .map(|(topic, partition, offset)| Wanted {
                topic: TopicKey::Name(Arc::clone(topic)),
                partition: *partition,
                current_leader_epoch: -1,
                fetch_offset: *offset,
                last_fetched_epoch: -1,
                partition_max_bytes: bytes_max as i32,
            })
            .collect();
        let request = self.request(ApiKey::Fetch);
        let topics = request.topics(Operation::Read);
        let wish = Wish {
            bytes_min: 1,
            bytes_max,
            deadline: Instant::now() + wait,
            isolation: Isolation::ReadCommitted,
        };
        let origin = request.origin();
        let fetched = topics.fetch(&wanted, wish, &origin, fetch::find).await;
        let mut all = Vec::new();
        for read in fetched.reads {
            if let Some(read) = self.in_memory(read).await {
                all.push(read);
            }
        }
        all
    }

    /// Returns what was read, with the batches that were only located.
    async fn in_memory(&self, read: Read) -> Option<Fetched> {
        let TopicKey::Name(topic) = read.wanted.topic.clone() else {
            return None;
        };
        let partition = read.wanted.partition;
        let mut batches = Vec::new();
        let mut error = read.error;
        for chunk in read.chunks {
            match chunk {
                Chunk::Read(bytes) => batches.push(bytes),
                Chunk::Placed(_) => {
                    let image = self.broker.log.metadata.load();
                    let id = image.topic(&topic)?.partition(partition)?;
                    let from = Offset(read.wanted.fetch_offset);
                    let (store, until) = (Arc::clone(&self.broker.log.store), read.next_offset);
                    let again = move || store.read(id, from, until, 1);
                    match self.broker.disk_work.run(again).await {
                        Ok(read) => batches = read,
                        Err(_) => error = Some(ErrorCode::KafkaStorageError),
                    }
                    break;
                }
            }
        }
        Some(Fetched {
            topic,
            partition,
            batches,
            aborted: read.aborted,
            error,
        })
    }
}

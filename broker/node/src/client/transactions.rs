//! Transactions (KIP-98), in the form that all brokers take: partitions and groups are added to a
//! transaction before they are written, and the epoch stays the same until the producer begins
//! again.
//!
//! Errors of a coordinator that pass in moments are retried here, with a short backoff. A broken
//! connection is not: the caller decides whether the outcome matters.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use async_io::Timer;
use futures_lite::future;
use sedge_core::backoff::Backoff;
use sedge_protocol::ErrorCode;
use sedge_protocol::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use sedge_protocol::kafka::generated::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use sedge_protocol::kafka::generated::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use sedge_protocol::kafka::generated::{
    AddOffsetsToTxnRequestData, AddPartitionsToTxnRequestData, ApiKey, EndTxnRequestData,
    InitProducerIdRequestData, TxnOffsetCommitRequestData,
};

use super::cluster::{Client, Coordinator, Target};
use super::error::Error;
use super::groups::{CommittedOffsets, committed, offset_fetch};
use super::limits::{MARKERS_BACKOFF_MAX, TRANSACTION_BACKOFF, TRANSACTION_BACKOFF_MAX};
use super::request::Request;

/// A transactional producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    pub transactional_id: String,
    pub id: ProducerId,
    pub epoch: ProducerEpoch,
}

/// An offset to commit in a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetInTransaction {
    pub topic: String,
    pub index: i32,
    pub offset: Offset,
    pub leader_epoch: Option<LeaderEpoch>,
    pub metadata: String,
}

/// The partitions that a request was refused for.
pub type RefusedPartitions = Vec<((String, i32), ErrorCode)>;

/// The requests of transactions. `OffsetFetch` has to wait for those that are being committed.
const NEEDED: &[(ApiKey, i16)] = &[
    (ApiKey::InitProducerId, 0),
    (ApiKey::AddPartitionsToTxn, 0),
    (ApiKey::AddOffsetsToTxn, 0),
    (ApiKey::TxnOffsetCommit, 0),
    (ApiKey::EndTxn, 0),
    (ApiKey::OffsetFetch, 7),
];

/// Returns whether the coordinator does not know the producer's epoch any more: another producer
/// has the transactional id, or the transaction took too long.
#[must_use]
pub const fn is_fenced(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::ProducerFenced | ErrorCode::InvalidProducerEpoch
    )
}

impl Client {
    /// Returns whether the cluster has transactions.
    pub async fn has_transactions(&self) -> Result<bool, Error> {
        let connection = self.connection(Target::Any).await?;
        let is_spoken = |(key, least): &(ApiKey, i16)| {
            let version = connection.versions().choose(*key);
            version.is_some_and(|version| version >= *least)
        };
        Ok(NEEDED.iter().all(is_spoken))
    }

    /// Takes a new epoch of a transactional id. The coordinator first ends the transaction that an
    /// earlier epoch left open.
    pub async fn init_transactions(
        &self,
        transactional_id: &str,
        timeout: Duration,
    ) -> Result<Producer, Error> {
        let api = ApiKey::InitProducerId;
        let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        let request = InitProducerIdRequestData::default()
            .with_transactional_id(Some(transactional_id.to_owned().into()))
            .with_transaction_timeout_ms(timeout_ms);
        let to = (Coordinator::Transaction, transactional_id);
        let check = |code| Error::check(api, code, None);
        let response = self.coordinate(to, &request, |it| check(it.error_code));
        let response = response.await?;
        let id = ProducerId::from_wire(response.producer_id);
        Ok(Producer {
            transactional_id: transactional_id.to_owned(),
            id: id.ok_or(Error::Missing {
                api,
                what: "producer id",
            })?,
            epoch: ProducerEpoch(response.producer_epoch),
        })
    }

    /// Returns the offsets of a group, without transactions that are being committed: waits until
    /// these are over.
    pub async fn stable_offsets(&self, group: &str) -> Result<CommittedOffsets, Error> {
        let request = offset_fetch(group).with_require_stable(true);
        let check = |it: &_| committed(it).map(drop);
        let response = self.coordinate((Coordinator::Group, group), &request, check);
        committed(&response.await?)
    }

    /// Adds partitions, and the group whose offsets will be committed, to the producer's
    /// transaction. Returns the partitions that the upstream refuses; then it has added none.
    pub async fn add_to_transaction(
        &self,
        producer: &Producer,
        partitions: &BTreeMap<String, Vec<i32>>,
        group: Option<&str>,
    ) -> Result<RefusedPartitions, Error> {
        // Sent together: the coordinator answers in order.
        let partitions = self.add_partitions(producer, partitions);
        let group = async {
            match group {
                Some(group) => self.add_offsets(producer, group).await,
                None => Ok(()),
            }
        };
        let (partitions, group) = future::zip(partitions, group).await;
        group?;
        partitions
    }

    async fn add_partitions(
        &self,
        producer: &Producer,
        partitions: &BTreeMap<String, Vec<i32>>,
    ) -> Result<RefusedPartitions, Error> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let topics = partitions.iter().map(|(name, partitions)| {
            AddPartitionsToTxnTopic::default()
                .with_name(name.clone().into())
                .with_partitions(partitions.clone())
        });
        let request = AddPartitionsToTxnRequestData::default()
            .with_v3_and_below_transactional_id(producer.transactional_id.clone().into())
            .with_v3_and_below_producer_id(producer.id.get())
            .with_v3_and_below_producer_epoch(producer.epoch.0)
            .with_v3_and_below_topics(topics.collect());
        let mut refused = Vec::new();
        let to = (Coordinator::Transaction, producer.transactional_id.as_str());
        self.coordinate(to, &request, |response| {
            refused.clear();
            for topic in &response.results_by_topic_v3_and_below {
                for result in &topic.results_by_partition {
                    let partition = (topic.name.as_str().to_owned(), result.partition_index);
                    let code = result.partition_error_code;
                    sort(ApiKey::AddPartitionsToTxn, partition, code, &mut refused)?;
                }
            }
            Ok(())
        })
        .await?;
        Ok(refused)
    }

    /// Adds a group to the producer's transaction.
    pub async fn add_offsets(&self, producer: &Producer, group: &str) -> Result<(), Error> {
        let request = AddOffsetsToTxnRequestData::default()
            .with_transactional_id(producer.transactional_id.clone().into())
            .with_producer_id(producer.id.get())
            .with_producer_epoch(producer.epoch.0)
            .with_group_id(group.to_owned().into());
        let to = (Coordinator::Transaction, producer.transactional_id.as_str());
        let check = |code| Error::check(ApiKey::AddOffsetsToTxn, code, None);
        let response = self.coordinate(to, &request, |it| check(it.error_code));
        response.await.map(drop)
    }

    /// Commits offsets in the producer's transaction. Returns the partitions that are refused.
    pub async fn commit_in_transaction(
        &self,
        producer: &Producer,
        group: &str,
        offsets: &[OffsetInTransaction],
    ) -> Result<RefusedPartitions, Error> {
        if offsets.is_empty() {
            return Ok(Vec::new());
        }
        let mut topics: BTreeMap<&str, Vec<TxnOffsetCommitRequestPartition>> = BTreeMap::new();
        for offset in offsets {
            let leader_epoch = offset.leader_epoch.map_or(-1, |epoch| epoch.0);
            topics.entry(&offset.topic).or_default().push(
                TxnOffsetCommitRequestPartition::default()
                    .with_partition_index(offset.index)
                    .with_committed_offset(offset.offset.get())
                    .with_committed_leader_epoch(leader_epoch)
                    .with_committed_metadata(Some(offset.metadata.clone().into())),
            );
        }
        let topics = topics.into_iter().map(|(name, partitions)| {
            TxnOffsetCommitRequestTopic::default()
                .with_name(name.to_owned().into())
                .with_partitions(partitions)
        });
        let request = TxnOffsetCommitRequestData::default()
            .with_transactional_id(producer.transactional_id.clone().into())
            .with_group_id(group.to_owned().into())
            .with_producer_id(producer.id.get())
            .with_producer_epoch(producer.epoch.0)
            .with_topics(topics.collect());
        let mut refused = Vec::new();
        self.coordinate((Coordinator::Group, group), &request, |response| {
            refused.clear();
            for topic in &response.topics {
                for result in &topic.partitions {
                    let partition = (topic.name.as_str().to_owned(), result.partition_index);
                    let code = result.error_code;
                    sort(ApiKey::TxnOffsetCommit, partition, code, &mut refused)?;
                }
            }
            Ok(())
        })
        .await?;
        Ok(refused)
    }

    /// Commits the producer's transaction.
    pub async fn commit_transaction(&self, producer: &Producer) -> Result<(), Error> {
        let request = EndTxnRequestData::default()
            .with_transactional_id(producer.transactional_id.clone().into())
            .with_producer_id(producer.id.get())
            .with_producer_epoch(producer.epoch.0)
            .with_committed(true);
        let to = (Coordinator::Transaction, producer.transactional_id.as_str());
        let check = |code| Error::check(ApiKey::EndTxn, code, None);
        let response = self.coordinate(to, &request, |it| check(it.error_code));
        response.await.map(drop)
    }

    /// Sends a request to a coordinator, until `check` finds no transient error in the response.
    async fn coordinate<R: Request>(
        &self,
        (kind, key): (Coordinator, &str),
        request: &R,
        mut check: impl FnMut(&R::Response) -> Result<(), Error> + Send,
    ) -> Result<R::Response, Error> {
        let deadline = Instant::now() + self.config().api_timeout;
        let mut backoff = Backoff::new(
            TRANSACTION_BACKOFF.as_millis() as u64,
            TRANSACTION_BACKOFF_MAX.as_millis() as u64,
        );
        loop {
            let answer = async { self.coordinator(kind, key).await?.call(request).await };
            let checked = match answer.await {
                Ok(response) => check(&response).map(|()| response),
                Err(error) => Err(error),
            };
            let error = match checked {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let mut wait = Duration::from_millis(backoff.fail(fastrand::u64(..)));
            if error.code() == Some(ErrorCode::ConcurrentTransactions) {
                wait = wait.min(MARKERS_BACKOFF_MAX);
            } else {
                self.forget_coordinator(kind, key);
            }
            let is_answer = error.code().is_some() && error.is_retriable();
            if !is_answer || Instant::now() + wait >= deadline {
                return Err(error);
            }
            Timer::after(wait).await;
        }
    }
}

/// Sorts the errors of partitions: those about the partition are collected, others fail the
/// request.
fn sort(
    api: ApiKey,
    partition: (String, i32),
    code: i16,
    refused: &mut RefusedPartitions,
) -> Result<(), Error> {
    match ErrorCode::from(code) {
        ErrorCode::None | ErrorCode::OperationNotAttempted => Ok(()),
        code @ (ErrorCode::UnknownTopicOrPartition
        | ErrorCode::UnknownTopicId
        | ErrorCode::TopicAuthorizationFailed
        | ErrorCode::InvalidTopicException
        | ErrorCode::OffsetMetadataTooLarge
        | ErrorCode::InvalidCommitOffsetSize) => {
            refused.push((partition, code));
            Ok(())
        }
        _ => Error::check(api, code, None),
    }
}

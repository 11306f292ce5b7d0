//! The transaction coordinator (KIP-98, KIP-890): which producer has a transactional id, and which
//! partitions its transaction includes.
//!
//! A sans-io state machine, and a [`Shard`](crate::shard::Shard) of the journal. An id changes when
//! the record of the change is durable; until then, it is *changing*, and requests for it are told
//! to come again (`CONCURRENT_TRANSACTIONS`), as Kafka does while a transaction is being ended.
//!
//! A transaction ends in one commit: the markers in all its partitions, the offsets that it
//! commits, and the record of the id. So there is no state between `Ongoing` and its end, and
//! nothing to continue after a crash. [`Ending`] is what the caller writes along with the record.
//!
//! | `transaction.version` of the client | epoch | partitions |
//! | --- | --- | --- |
//! | 0, 1 | one for each InitProducerId | added by AddPartitionsToTxn |
//! | 2 (KIP-890) | a new one with each end | added by the produce itself |
//!
//! **Invariant:** a transaction that this machine ended has a marker in each of its partitions, and
//! a batch that comes later begins no transaction there: its epoch is old, or its verification is
//! older than the marker ([`InTransaction`](crate::log::InTransaction)).

mod config;
mod end;
mod init;
pub mod limits;
mod listing;
mod shard;
#[cfg(test)]
mod tests;

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use sedge_protocol::ErrorCode;
use sedge_protocol::ids::{ProducerEpoch, ProducerId};
use sedge_protocol::records::TransactionResult;
use sedge_protocol::transaction_records::{TransactionRecord, TransactionStatus, TransactionValue};

use crate::log::Marker;
use crate::machine::Now;
use crate::shard::{Actions, Planned};

pub use config::TransactionConfig;
pub use end::{EndRequest, Ended};
pub use init::InitRequest;
pub use listing::{Listing, Selection};

/// The effects of a step: records only, as every answer is known at once.
pub type TransactionActions = Actions<TransactionRecord, ()>;
/// An answer that is valid when its records are durable.
pub type TransactionPlanned<R> = Planned<R, TransactionRecord, ()>;

/// A producer, as its requests name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerOf<'a> {
    pub transactional_id: &'a str,
    pub producer_id: ProducerId,
    pub epoch: ProducerEpoch,
}

/// The end of a transaction, to be written in the append that has its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The marker of each partition.
    pub marker: Marker,
    /// The partitions, by topic.
    pub partitions: Vec<(String, Vec<i32>)>,
}

impl Ending {
    #[must_use]
    pub fn is_committed(&self) -> bool {
        self.marker.end.result == TransactionResult::Commit
    }
}

/// A partition of a topic.
type TopicPartition = (Arc<str>, i32);

#[derive(Debug)]
pub struct TransactionCoordinator {
    config: TransactionConfig,
    ids: BTreeMap<Arc<str>, Entry>,
    /// The newest transactional id of each producer id.
    producers: BTreeMap<i64, Arc<str>>,
    /// The ongoing transactions by their deadline.
    deadlines: BTreeSet<(u64, Arc<str>)>,
    /// Bytes of ids and topics' names.
    text_bytes: usize,
    next_expiry: u64,
}

/// A transactional id.
#[derive(Clone, Debug)]
struct Entry {
    producer_id: ProducerId,
    previous_producer_id: Option<ProducerId>,
    epoch: ProducerEpoch,
    timeout_ms: i32,
    status: TransactionStatus,
    partitions: BTreeSet<TopicPartition>,
    updated_ms: i64,
    started_ms: i64,
    client_version: i16,
    /// Whether a record of a change is on its way.
    is_changing: bool,
    /// When an ongoing transaction is aborted, by the monotonic clock.
    deadline: Option<u64>,
}

impl TransactionCoordinator {
    #[must_use]
    pub fn new(config: TransactionConfig, now: Now) -> Self {
        let next_expiry = now.monotonic_ms + config.expiration_interval_ms;
        Self {
            config,
            ids: BTreeMap::new(),
            producers: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            text_bytes: 0,
            next_expiry,
        }
    }

    /// Handles AddPartitionsToTxn, and the part of AddOffsetsToTxn and of a produce that adds
    /// partitions.
    ///
    /// # Errors
    /// As for [`Self::check`]; `POLICY_VIOLATION` if there are too many partitions.
    pub fn handle_add(
        &mut self,
        now: Now,
        producer: ProducerOf<'_>,
        partitions: &[(&str, i32)],
        client_version: i16,
    ) -> TransactionPlanned<Result<(), ErrorCode>> {
        match self.plan_add(now, producer, partitions, client_version) {
            Ok(actions) => Planned {
                reply: Ok(()),
                actions,
            },
            Err(error) => Planned::only(Err(error)),
        }
    }

    fn plan_add(
        &mut self,
        now: Now,
        producer: ProducerOf<'_>,
        partitions: &[(&str, i32)],
        client_version: i16,
    ) -> Result<TransactionActions, ErrorCode> {
        let entry = self.settled(producer)?;
        let is_ongoing = entry.status == TransactionStatus::Ongoing;
        let is_new = |(topic, index): &&(&str, i32)| !entry.includes(topic, *index);
        let new: Vec<_> = partitions.iter().filter(is_new).collect();
        let added = new.iter().map(|(topic, _)| topic.len()).sum::<usize>();
        if new.is_empty() && is_ongoing {
            return Ok(Actions::default());
        }
        if entry.partitions.len() + new.len() > limits::PARTITIONS_MAX
            || self.text_bytes + added > limits::TEXTS_BYTES_MAX
        {
            return Err(ErrorCode::PolicyViolation);
        }
        let mut value = entry.value(now);
        if !is_ongoing {
            value.started_ms = now.wall_ms;
            value.status = TransactionStatus::Ongoing;
        }
        value.client_version = client_version;
        value.add(new.into_iter().copied());
        Ok(self.change(producer.transactional_id, Some(value)))
    }

    /// Checks that a batch or committed offsets may join the producer's transaction, which includes
    /// the partition.
    ///
    /// # Errors
    /// As for [`Self::check`]; `INVALID_TXN_STATE` if the transaction does not include the
    /// partition.
    pub fn verify(
        &self,
        producer: ProducerOf<'_>,
        topic: &str,
        index: i32,
    ) -> Result<(), ErrorCode> {
        let entry = self.settled(producer)?;
        if entry.status == TransactionStatus::Ongoing && entry.includes(topic, index) {
            Ok(())
        } else {
            Err(ErrorCode::InvalidTxnState)
        }
    }

    /// Returns the producer's entry.
    ///
    /// # Errors
    /// `INVALID_PRODUCER_ID_MAPPING` if the id has no producer, or another; `PRODUCER_FENCED` if
    /// its epoch is another; `INVALID_REQUEST` without an id.
    fn check(&self, producer: ProducerOf<'_>) -> Result<&Entry, ErrorCode> {
        if producer.transactional_id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        let entry = self.ids.get(producer.transactional_id);
        let entry = entry.ok_or(ErrorCode::InvalidProducerIdMapping)?;
        if entry.producer_id != producer.producer_id {
            return Err(ErrorCode::InvalidProducerIdMapping);
        }
        if entry.epoch != producer.epoch {
            return Err(ErrorCode::ProducerFenced);
        }
        Ok(entry)
    }

    /// Returns the producer's entry, if it is not changing.
    ///
    /// # Errors
    /// As for [`Self::check`]; `CONCURRENT_TRANSACTIONS`.
    fn settled(&self, producer: ProducerOf<'_>) -> Result<&Entry, ErrorCode> {
        let entry = self.check(producer)?;
        if entry.is_changing {
            return Err(ErrorCode::ConcurrentTransactions);
        }
        Ok(entry)
    }

    /// Returns the action that writes the new value of an id, which is changing until then.
    fn change(&mut self, id: &str, value: Option<TransactionValue>) -> TransactionActions {
        if let Some(entry) = self.ids.get_mut(id) {
            entry.is_changing = true;
        }
        Actions::persist(Vec::from([TransactionRecord {
            transactional_id: id.to_owned(),
            value,
        }]))
    }

    /// Applies a durable record. Call it in the order of the log.
    pub fn apply(&mut self, now: Now, record: &TransactionRecord) {
        let id: Arc<str> = record.transactional_id.as_str().into();
        let former = self.forget(&id);
        let Some(value) = &record.value else {
            return;
        };
        let mut entry = Entry::of(value);
        if entry.status == TransactionStatus::Ongoing {
            let timeout_ms = u64::try_from(entry.timeout_ms).unwrap_or(0);
            // A start of the broker gives each transaction its whole time again.
            let begun = former.and_then(|former| former.deadline);
            let deadline = begun.unwrap_or(now.monotonic_ms + timeout_ms);
            entry.deadline = Some(deadline);
            self.deadlines.insert((deadline, Arc::clone(&id)));
        }
        self.text_bytes += id.len() + entry.topic_bytes();
        self.producers
            .insert(entry.producer_id.get(), Arc::clone(&id));
        self.ids.insert(id, entry);
    }

    /// Handles a record that could not be written. An overdue transaction is aborted later.
    pub fn handle_save_failed(&mut self, now: Now, record: &TransactionRecord) {
        let id = record.transactional_id.as_str();
        let Some(entry) = self.ids.get_mut(id) else {
            return;
        };
        entry.is_changing = false;
        let overdue = entry
            .deadline
            .filter(|deadline| *deadline <= now.monotonic_ms);
        if let Some(former) = overdue {
            let next = now.monotonic_ms + limits::SAVE_RETRY_MS;
            entry.deadline = Some(next);
            self.deadlines.remove(&(former, id.into()));
            self.deadlines.insert((next, id.into()));
        }
    }

    fn forget(&mut self, id: &str) -> Option<Entry> {
        let (id, entry) = self.ids.remove_entry(id)?;
        self.text_bytes -= id.len() + entry.topic_bytes();
        if let Some(deadline) = entry.deadline {
            self.deadlines.remove(&(deadline, Arc::clone(&id)));
        }
        let producer = entry.producer_id.get();
        if self.producers.get(&producer) == Some(&id) {
            self.producers.remove(&producer);
        }
        Some(entry)
    }
}

impl Entry {
    fn of(value: &TransactionValue) -> Self {
        let partitions = value.partitions.iter().flat_map(|(topic, indexes)| {
            let topic: Arc<str> = topic.as_str().into();
            indexes
                .iter()
                .map(move |index| (Arc::clone(&topic), *index))
        });
        Self {
            producer_id: value.producer_id,
            previous_producer_id: value.previous_producer_id,
            epoch: value.epoch,
            timeout_ms: value.timeout_ms,
            status: value.status,
            partitions: partitions.collect(),
            updated_ms: value.updated_ms,
            started_ms: value.started_ms,
            client_version: value.client_version,
            is_changing: false,
            deadline: None,
        }
    }

    /// Returns the value of the entry's next record, if nothing changes but its time.
    fn value(&self, now: Now) -> TransactionValue {
        let mut value = TransactionValue {
            producer_id: self.producer_id,
            previous_producer_id: self.previous_producer_id,
            epoch: self.epoch,
            timeout_ms: self.timeout_ms,
            status: self.status,
            partitions: Vec::new(),
            updated_ms: now.append_ms,
            started_ms: self.started_ms,
            client_version: self.client_version,
        };
        let partitions = self.partitions.iter();
        value.add(partitions.map(|(topic, index)| (&**topic, *index)));
        value
    }

    fn includes(&self, topic: &str, index: i32) -> bool {
        self.partitions.contains(&(topic.into(), index))
    }

    /// Returns the bytes of topics' names.
    fn topic_bytes(&self) -> usize {
        self.partitions.iter().map(|(topic, _)| topic.len()).sum()
    }
}

/// Partitions in a [`TransactionValue`].
trait Partitions {
    fn add<'a>(&mut self, partitions: impl Iterator<Item = (&'a str, i32)>);
}

impl Partitions for TransactionValue {
    /// Adds partitions that it does not have.
    fn add<'a>(&mut self, partitions: impl Iterator<Item = (&'a str, i32)>) {
        for (topic, index) in partitions {
            let of_topic = self.partitions.iter_mut().find(|(name, _)| name == topic);
            match of_topic {
                Some((_, indexes)) if indexes.contains(&index) => {}
                Some((_, indexes)) => indexes.push(index),
                None => self.partitions.push((topic.to_owned(), Vec::from([index]))),
            }
        }
    }
}

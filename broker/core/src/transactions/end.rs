//! The end of transactions: by EndTxn, by their timeout, and by an administrator.

use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use sedge_protocol::ErrorCode;
use sedge_protocol::ids::{ProducerEpoch, ProducerId};
use sedge_protocol::records::{EndTransactionMarker, TransactionResult};
use sedge_protocol::transaction_records::{TransactionStatus, TransactionValue};

use super::init::{LAST_EPOCH, NextProducer as _};
use super::{Ending, Entry, ProducerOf, TransactionCoordinator, TransactionPlanned};
use crate::log::Marker;
use crate::machine::Now;
use crate::shard::{Actions, Planned};

/// The coordinator's epoch in markers. There is one coordinator, and each process has the whole log
/// of the one before.
const COORDINATOR_EPOCH: i32 = 0;

/// An EndTxn.
#[derive(Clone, Copy, Debug)]
pub struct EndRequest<'a> {
    pub producer: ProducerOf<'a>,
    pub result: TransactionResult,
    /// KIP-890: whether the producer takes a new epoch with each transaction.
    pub bumps_epoch: bool,
    /// A producer id that was never handed out, in case that one is needed.
    pub fresh: ProducerId,
}

/// The answer to an EndTxn: the producer for the next transaction, and what to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub producer: (ProducerId, ProducerEpoch),
    /// `None` if the transaction has ended already, or was empty.
    pub ending: Option<Ending>,
}

impl TransactionCoordinator {
    /// Handles EndTxn.
    ///
    /// # Errors
    /// `INVALID_PRODUCER_ID_MAPPING`, `PRODUCER_FENCED`, `CONCURRENT_TRANSACTIONS`,
    /// `INVALID_TXN_STATE`.
    pub fn handle_end(
        &mut self,
        now: Now,
        request: EndRequest<'_>,
    ) -> TransactionPlanned<Result<Ended, ErrorCode>> {
        match self.plan_end(now, request) {
            Ok((ended, None)) => Planned::only(Ok(ended)),
            Ok((ended, Some(value))) => {
                let id = request.producer.transactional_id;
                let actions = self.change(id, Some(value));
                let reply = Ok(ended);
                Planned { reply, actions }
            }
            Err(error) => Planned::only(Err(error)),
        }
    }

    fn plan_end(
        &self,
        now: Now,
        request: EndRequest<'_>,
    ) -> Result<(Ended, Option<TransactionValue>), ErrorCode> {
        if let Some(repeated) = self.repeated(request)? {
            return Ok((repeated, None));
        }
        let entry = self.settled(request.producer)?;
        let complete = status_of(request.result);
        match entry.status {
            TransactionStatus::Ongoing => {}
            // KIP-890: an abort also gets a new epoch if nothing was sent.
            _ if request.bumps_epoch && request.result == TransactionResult::Abort => {}
            status if status == complete => {
                let producer = (entry.producer_id, entry.epoch);
                let ending = None;
                return Ok((Ended { producer, ending }, None));
            }
            _ => return Err(ErrorCode::InvalidTxnState),
        }
        let marker_epoch = if request.bumps_epoch {
            entry.next_epoch()
        } else {
            entry.epoch
        };
        let is_ongoing = entry.status == TransactionStatus::Ongoing;
        let ending = is_ongoing.then(|| entry.ending(marker_epoch, request.result));
        let mut value = entry.value(now);
        value.status = complete;
        value.partitions.clear();
        if request.bumps_epoch {
            value.take_next_epoch(entry, request.fresh);
            value.client_version = 2;
        }
        let producer = (value.producer_id, value.epoch);
        Ok((Ended { producer, ending }, Some(value)))
    }

    /// Returns the answer to an EndTxn that was sent again after it has bumped the epoch: the
    /// producer did not get the first answer.
    fn repeated(&self, request: EndRequest<'_>) -> Result<Option<Ended>, ErrorCode> {
        let of = request.producer;
        let Some(entry) = self.ids.get(of.transactional_id) else {
            return Ok(None);
        };
        let is_before = entry.producer_id == of.producer_id
            && of.epoch.get().checked_add(1) == Some(entry.epoch.get());
        let is_exhausted = entry.previous_producer_id == Some(of.producer_id)
            && of.epoch == LAST_EPOCH
            && entry.epoch.get() == 0;
        if !request.bumps_epoch || !(is_before || is_exhausted) {
            return Ok(None);
        }
        if entry.is_changing {
            return Err(ErrorCode::ConcurrentTransactions);
        }
        match entry.status {
            status if status == status_of(request.result) => Ok(Some(Ended {
                producer: (entry.producer_id, entry.epoch),
                ending: None,
            })),
            TransactionStatus::CompleteCommit | TransactionStatus::CompleteAbort => {
                Err(ErrorCode::InvalidTxnState)
            }
            // InitProducerId took the epoch, or the next transaction has begun.
            _ => Err(ErrorCode::ProducerFenced),
        }
    }

    /// Aborts the first transaction whose time is over, with an epoch that fences its producer.
    /// Returns `None` if there is none.
    pub fn end_overdue(&mut self, now: Now) -> Option<TransactionPlanned<Ending>> {
        let overdue = self.deadlines.iter();
        let mut overdue = overdue.take_while(|(deadline, _)| *deadline <= now.monotonic_ms);
        let id = overdue.find_map(|(_, id)| {
            let entry = self.ids.get(id)?;
            (!entry.is_changing).then(|| Arc::clone(id))
        })?;
        let entry = self.ids.get(&id)?;
        let ending = entry.ending(entry.next_epoch(), TransactionResult::Abort);
        let mut value = entry.value(now);
        value.status = TransactionStatus::CompleteAbort;
        value.partitions.clear();
        // Above the last epoch of a producer; its next InitProducerId takes another producer id.
        value.epoch = entry.next_epoch();
        let actions = self.change(&id, Some(value));
        let reply = ending;
        Some(Planned { reply, actions })
    }

    /// Returns when the next transaction's time is over.
    pub(super) fn next_overdue(&self) -> Option<u64> {
        let is_settled = |id: &Arc<str>| self.ids.get(id).is_some_and(|entry| !entry.is_changing);
        let mut deadlines = self.deadlines.iter();
        let next = deadlines.find(|(_, id)| is_settled(id));
        next.map(|(deadline, _)| *deadline)
    }

    /// Removes ids that were idle for too long.
    pub(super) fn expire(&mut self, now: Now) -> super::TransactionActions {
        let mut actions = Actions::default();
        if now.monotonic_ms < self.next_expiry {
            return actions;
        }
        self.next_expiry = now.monotonic_ms + self.config.expiration_interval_ms.max(1);
        let until_ms = now.append_ms - self.config.id_expiration_ms;
        let is_idle = |entry: &Entry| {
            !entry.is_changing
                && entry.status != TransactionStatus::Ongoing
                && entry.updated_ms <= until_ms
        };
        let idle = self.ids.iter().filter(|(_, entry)| is_idle(entry));
        let idle = idle.take(super::limits::EXPIRED_AT_ONCE);
        let idle: Vec<Arc<str>> = idle.map(|(id, _)| Arc::clone(id)).collect();
        for id in idle {
            actions.append(self.change(&id, None));
        }
        actions
    }
}

impl Entry {
    /// Returns the end of the ongoing transaction.
    pub(super) fn ending(&self, epoch: ProducerEpoch, result: TransactionResult) -> Ending {
        let mut partitions: Vec<(alloc::string::String, Vec<i32>)> = Vec::new();
        for (topic, index) in &self.partitions {
            match partitions.last_mut() {
                Some((name, indexes)) if **name == **topic => indexes.push(*index),
                _ => partitions.push((topic.to_string(), Vec::from([*index]))),
            }
        }
        Ending {
            marker: Marker {
                producer_id: self.producer_id,
                epoch,
                end: EndTransactionMarker {
                    result,
                    coordinator_epoch: COORDINATOR_EPOCH,
                },
            },
            partitions,
        }
    }
}

const fn status_of(result: TransactionResult) -> TransactionStatus {
    match result {
        TransactionResult::Commit => TransactionStatus::CompleteCommit,
        TransactionResult::Abort => TransactionStatus::CompleteAbort,
    }
}

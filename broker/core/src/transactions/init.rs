//! InitProducerId for a transactional id: a producer id with a new epoch, which fences the producer
//! before, and ends the transaction that it left open.

use alloc::vec::Vec;

use sedge_protocol::ErrorCode;
use sedge_protocol::ids::{ProducerEpoch, ProducerId};
use sedge_protocol::records::TransactionResult;
use sedge_protocol::transaction_records::{TransactionStatus, TransactionValue};

use super::{Ending, Entry, TransactionCoordinator, TransactionPlanned, limits};
use crate::machine::Now;
use crate::shard::Planned;

/// An InitProducerId of a transactional producer.
#[derive(Clone, Copy, Debug)]
pub struct InitRequest<'a> {
    pub transactional_id: &'a str,
    pub timeout_ms: i32,
    /// KIP-360: the producer that continues after an error.
    pub expected: Option<(ProducerId, ProducerEpoch)>,
    /// A producer id that was never handed out, in case that one is needed.
    pub fresh: ProducerId,
}

/// The producer of a transactional id, and the end of the transaction that was left open.
type Initialized = ((ProducerId, ProducerEpoch), Option<Ending>);

/// The last epoch of a producer id; the next one belongs to another id.
pub(super) const LAST_EPOCH: ProducerEpoch = ProducerEpoch(i16::MAX - 1);

impl TransactionCoordinator {
    /// Handles InitProducerId of a transactional producer.
    ///
    /// # Errors
    /// `INVALID_TRANSACTION_TIMEOUT`, `INVALID_REQUEST`, `PRODUCER_FENCED`,
    /// `CONCURRENT_TRANSACTIONS`; `POLICY_VIOLATION` if there are too many transactional ids.
    pub fn handle_init(
        &mut self,
        now: Now,
        request: InitRequest<'_>,
    ) -> TransactionPlanned<Result<Initialized, ErrorCode>> {
        let id = request.transactional_id;
        match self.plan_init(now, request) {
            Ok((value, ending)) => {
                let reply = Ok(((value.producer_id, value.epoch), ending));
                let actions = self.change(id, Some(value));
                Planned { reply, actions }
            }
            Err(error) => Planned::only(Err(error)),
        }
    }

    fn plan_init(
        &mut self,
        now: Now,
        request: InitRequest<'_>,
    ) -> Result<(TransactionValue, Option<Ending>), ErrorCode> {
        let id = request.transactional_id;
        if id.is_empty() || id.len() > limits::TRANSACTIONAL_ID_BYTES_MAX {
            return Err(ErrorCode::InvalidRequest);
        }
        if !(1..=self.config.max_timeout_ms).contains(&request.timeout_ms) {
            return Err(ErrorCode::InvalidTransactionTimeout);
        }
        let Some(entry) = self.ids.get(id) else {
            return self.plan_new(now, request);
        };
        if entry.is_changing {
            return Err(ErrorCode::ConcurrentTransactions);
        }
        entry.check_expected(request.expected)?;
        let mut value = entry.value(now);
        value.timeout_ms = request.timeout_ms;
        let ending = (entry.status == TransactionStatus::Ongoing).then(|| {
            // The marker's epoch fences the producer in the partitions.
            entry.ending(entry.next_epoch(), TransactionResult::Abort)
        });
        value.become_empty(entry, request.fresh);
        Ok((value, ending))
    }

    fn plan_new(
        &mut self,
        now: Now,
        request: InitRequest<'_>,
    ) -> Result<(TransactionValue, Option<Ending>), ErrorCode> {
        let id = request.transactional_id;
        if self.ids.len() >= limits::TRANSACTIONAL_IDS_MAX
            || self.text_bytes + id.len() > limits::TEXTS_BYTES_MAX
        {
            return Err(ErrorCode::PolicyViolation);
        }
        let value = TransactionValue {
            producer_id: request.fresh,
            previous_producer_id: None,
            epoch: ProducerEpoch(0),
            timeout_ms: request.timeout_ms,
            status: TransactionStatus::Empty,
            partitions: Vec::new(),
            updated_ms: now.append_ms,
            started_ms: -1,
            client_version: 0,
        };
        // Known from now on, so that a second request for the same id waits for this one.
        self.text_bytes += id.len();
        let mut entry = Entry::of(&value);
        // Nothing but the record makes this id's first epoch valid.
        entry.epoch = ProducerEpoch(-1);
        self.ids.insert(id.into(), entry);
        Ok((value, None))
    }
}

impl Entry {
    /// Checks the producer that continues: it has this epoch, or asked before and the answer was
    /// lost.
    fn check_expected(
        &self,
        expected: Option<(ProducerId, ProducerEpoch)>,
    ) -> Result<(), ErrorCode> {
        let Some((producer, epoch)) = expected else {
            return Ok(());
        };
        let is_current = producer == self.producer_id && epoch == self.epoch;
        let is_repeat = producer == self.producer_id && epoch.get() + 1 == self.epoch.get();
        let is_exhausted = Some(producer) == self.previous_producer_id && epoch == LAST_EPOCH;
        if is_current || is_repeat || is_exhausted {
            Ok(())
        } else {
            Err(ErrorCode::ProducerFenced)
        }
    }

    /// Returns the epoch of a marker that fences the producer.
    pub(super) fn next_epoch(&self) -> ProducerEpoch {
        ProducerEpoch(self.epoch.get().saturating_add(1))
    }
}

/// Changes of a value that concern its producer.
pub(super) trait NextProducer {
    fn become_empty(&mut self, entry: &Entry, fresh: ProducerId);
    fn take_next_epoch(&mut self, entry: &Entry, fresh: ProducerId);
}

impl NextProducer for TransactionValue {
    /// Makes this the value of an id without a transaction, and with a new epoch.
    fn become_empty(&mut self, entry: &Entry, fresh: ProducerId) {
        self.status = TransactionStatus::Empty;
        self.partitions.clear();
        self.started_ms = -1;
        self.take_next_epoch(entry, fresh);
    }

    /// Takes the next epoch, of another producer id if the epochs of this one are used up.
    fn take_next_epoch(&mut self, entry: &Entry, fresh: ProducerId) {
        if entry.epoch >= LAST_EPOCH {
            self.previous_producer_id = Some(entry.producer_id);
            self.producer_id = fresh;
            self.epoch = ProducerEpoch(0);
        } else {
            self.epoch = entry.next_epoch();
        }
    }
}

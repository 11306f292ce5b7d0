//! Transactions in the compacted part of a log (KIP-98): which were aborted, which are open, and
//! which markers still have data before them.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use sedge_protocol::batch::{Batch, BatchHeader};
use sedge_protocol::ids::{Offset, ProducerId};
use sedge_protocol::records::{EndTransactionMarker, TransactionResult};

use super::limits::ABORTED_TRANSACTIONS_MAX;

fn result_of(control: &Batch) -> Option<TransactionResult> {
    EndTransactionMarker::read(control).map(|marker| marker.result)
}

/// An aborted transaction: all batches of the producer from `first` to the marker at `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Aborted {
    producer: ProducerId,
    first: Offset,
    last: Offset,
}

/// Collects what [`Transactions`] needs. The caller passes it all batches from the end of the last
/// compaction up to the high watermark.
#[derive(Debug, Default)]
pub struct TransactionScan {
    open: BTreeMap<i64, Offset>,
    aborted: Vec<Aborted>,
    /// The offset at which the scan stopped, because there were too many transactions.
    full_at: Option<Offset>,
}

impl TransactionScan {
    /// Takes a batch. Returns false if no more are taken: the scan ends here.
    pub fn see(&mut self, batch: &Batch) -> bool {
        let header = &batch.header;
        let Some(producer) = header.producer_id() else {
            return true;
        };
        if header.is_control() {
            let first = self.open.remove(&producer.get());
            if let (Some(TransactionResult::Abort), Some(first)) = (result_of(batch), first) {
                if self.aborted.len() >= ABORTED_TRANSACTIONS_MAX {
                    self.full_at = Some(first);
                    return false;
                }
                let last = header.last_offset();
                self.aborted.push(Aborted {
                    producer,
                    first,
                    last,
                });
            }
        } else if header.is_transactional() {
            let base = header.base_offset();
            self.open.entry(producer.get()).or_insert(base);
        }
        true
    }

    /// Returns the last stable offset, if an open transaction holds it back: batches behind it are
    /// undecided.
    #[must_use]
    pub fn first_undecided(&self) -> Option<Offset> {
        let open = self.open.values().copied().min();
        match (open, self.full_at) {
            (Some(open), Some(full)) => Some(open.min(full)),
            (open, full) => open.or(full),
        }
    }

    #[must_use]
    pub fn finish(mut self) -> Transactions {
        self.aborted.sort_unstable_by_key(|aborted| aborted.first);
        Transactions {
            to_come: self.aborted.into(),
            ..Transactions::default()
        }
    }
}

/// The transactions at one batch of a pass over the log; batches come in order. Kafka's
/// `CleanedTransactionMetadata`.
#[derive(Clone, Debug, Default)]
pub struct Transactions {
    to_come: VecDeque<Aborted>,
    /// By producer: the marker's offset, and whether data of the transaction was seen.
    aborted: BTreeMap<i64, (Offset, bool)>,
    /// Producers whose current transaction had data in this pass.
    committed: BTreeSet<i64>,
}

impl Transactions {
    /// Returns whether the batch can be discarded: data of an aborted transaction, or a marker
    /// without data before it.
    pub(super) fn is_discarded(&mut self, batch: &Batch) -> bool {
        let header = &batch.header;
        let Some(producer) = header.producer_id() else {
            return false;
        };
        self.advance(header);
        if header.is_control() {
            return self.is_empty_marker(producer, batch);
        }
        if !header.is_transactional() {
            return false;
        }
        if let Some((_, met)) = self.aborted.get_mut(&producer.get()) {
            *met = true;
            return true;
        }
        self.committed.insert(producer.get());
        false
    }

    /// Activates aborted transactions that have begun by the end of this batch.
    fn advance(&mut self, header: &BatchHeader) {
        while let Some(next) = self.to_come.front().copied()
            && next.first <= header.last_offset()
        {
            self.to_come.pop_front();
            self.aborted.insert(next.producer.get(), (next.last, false));
        }
    }

    fn is_empty_marker(&mut self, producer: ProducerId, batch: &Batch) -> bool {
        match result_of(batch) {
            // The marker stays as long as a pass still sees data of the transaction.
            Some(TransactionResult::Abort) => {
                let of = self.aborted.remove(&producer.get());
                !of.is_some_and(|(_, met)| met)
            }
            Some(TransactionResult::Commit) => !self.committed.remove(&producer.get()),
            // A marker of KRaft, or one newer than this build.
            None => false,
        }
    }
}

//! The transactions of one partition (KIP-98): where each open one begins, and which were aborted.
//!
//! A batch of a producer without an open transaction begins one, if the batch says so. A marker of
//! the coordinator ends it. The *last stable offset* is where the first open transaction begins, or
//! the end of the log: consumers with `read_committed` read no further. What was aborted stays in
//! the log, and a fetch names the aborted transactions among its records.
//!
//! A late batch must not begin a transaction that nobody ends (KIP-890): see
//! [`InTransaction`](super::producers::InTransaction).

use alloc::vec::Vec;

use sedge_protocol::ErrorCode;
use sedge_protocol::batch::{Batch, BatchHeader};
use sedge_protocol::ids::{Offset, ProducerEpoch, ProducerId};
use sedge_protocol::records::{EndTransactionMarker, TransactionResult, gap};

use super::AppendError;
use super::producers::{ProducerEntry, Producers, SequenceRange, old_epoch};

/// The end of a producer's transaction, as a write to a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    pub producer_id: ProducerId,
    pub epoch: ProducerEpoch,
    pub end: EndTransactionMarker,
}

impl Marker {
    /// Reads the marker of a control batch; `None` if it is another control record.
    #[must_use]
    pub fn of(batch: &Batch) -> Option<Self> {
        let header: &BatchHeader = &batch.header;
        if !header.is_control() {
            return None;
        }
        Some(Self {
            producer_id: header.producer_id()?,
            epoch: header.producer_epoch(),
            end: EndTransactionMarker::read(batch)?,
        })
    }
}

/// An aborted transaction: the producer's batches of transactions from `first` to the marker at
/// `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer: ProducerId,
    pub first: Offset,
    pub last: Offset,
    /// The last stable offset behind the marker. No later entry begins before it.
    pub last_stable: Offset,
}

impl AbortedTransaction {
    /// Encodes the view's value: producer id, first offset, last stable offset, all i64 big-endian.
    /// The key has the last offset.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let fields = [
            self.producer.get(),
            self.first.get(),
            self.last_stable.get(),
        ];
        fields
            .iter()
            .flat_map(|field| field.to_be_bytes())
            .collect()
    }

    /// Decodes an entry of the view; `None` if the bytes are invalid.
    #[must_use]
    pub fn decode(key: &[u8], value: &[u8]) -> Option<Self> {
        let (_, last) = key.split_first_chunk::<4>()?;
        let value: &[u8; 24] = value.try_into().ok()?;
        let field = |at: usize| Some(i64::from_be_bytes(*value.get(at..)?.first_chunk()?));
        Some(Self {
            producer: ProducerId(field(0)?),
            first: Offset(field(8)?),
            last: Offset(i64::from_be_bytes(last.try_into().ok()?)),
            last_stable: Offset(field(16)?),
        })
    }
}

impl ProducerEntry {
    /// Checks that a batch, which is new, fits the producer's transaction.
    ///
    /// # Errors
    /// INVALID_TXN_STATE.
    pub(super) fn check_transaction(&self, range: &SequenceRange) -> Result<(), AppendError> {
        let refused = |message: &str| Err(AppendError::new(ErrorCode::InvalidTxnState, message));
        let ended_at = self.transaction.ended_at;
        match (&range.transaction, self.transaction.first) {
            (None, Some(_)) => refused("The producer has an open transaction here."),
            (Some(batch), None) if ended_at.is_some_and(|at| at >= batch.verified_at) => {
                refused("The transaction of the batch has ended.")
            }
            _ => Ok(()),
        }
    }
}

impl Producers {
    /// Returns where the first open transaction begins.
    #[must_use]
    pub fn first_open(&self) -> Option<Offset> {
        self.open.first_key_value().map(|(first, _)| *first)
    }

    /// Begins the transaction of a batch that was written at `base`, unless the producer has an
    /// open one.
    pub(super) fn begin(&mut self, range: &SequenceRange, base: Offset) {
        let id = range.producer_id;
        if let (Some(_), Some(entry)) = (range.transaction, self.known_mut(id))
            && entry.transaction.first.is_none()
        {
            entry.transaction.first = Some(base);
            self.open.insert(base, id);
        }
    }

    /// Judges a marker.
    ///
    /// # Errors
    /// INVALID_PRODUCER_EPOCH, TRANSACTION_COORDINATOR_FENCED.
    pub(super) fn check_marker(&self, marker: &Marker) -> Result<(), AppendError> {
        let Some(entry) = self.get(marker.producer_id) else {
            return Ok(());
        };
        if marker.epoch < entry.epoch() {
            return Err(old_epoch(marker.producer_id, marker.epoch, entry.epoch()));
        }
        let (epoch, seen) = (
            marker.end.coordinator_epoch,
            entry.transaction.coordinator_epoch,
        );
        if epoch < seen {
            return Err(AppendError::new(
                ErrorCode::TransactionCoordinatorFenced,
                alloc::format!("The marker's coordinator epoch is {epoch}, after {seen}."),
            ));
        }
        Ok(())
    }

    /// Ends the producer's transaction by the marker at `at`. Returns the transaction if it was
    /// aborted, and the producer that was forgotten because there were too many.
    pub(super) fn end(
        &mut self,
        marker: &Marker,
        at: Offset,
        now_ms: i64,
    ) -> (Option<AbortedTransaction>, Option<ProducerId>) {
        let producer = marker.producer_id;
        let forgotten = self.make_room(producer);
        let known = self.get(producer).map(ProducerEntry::epoch);
        let epoch = marker.epoch.max(known.unwrap_or(marker.epoch));
        let entry = self.entry(producer, epoch, now_ms);
        let state = &mut entry.transaction;
        let first = state.first.take();
        state.coordinator_epoch = marker.end.coordinator_epoch;
        state.ended_at = Some(at);
        let first = first.inspect(|first| {
            self.open.remove(first);
        });
        let last_stable = self.first_open().unwrap_or(at.plus(1));
        let is_aborted = marker.end.result == TransactionResult::Abort;
        let aborted = first
            .filter(|_| is_aborted)
            .map(|first| AbortedTransaction {
                producer,
                first,
                last: at,
                last_stable,
            });
        (aborted, forgotten)
    }
}

/// Tells batches of aborted transactions from others, in the order of the log.
#[derive(Clone, Debug, Default)]
pub struct AbortedBatches {
    /// By first offset, the last one first.
    to_come: Vec<AbortedTransaction>,
    open: Vec<AbortedTransaction>,
}

impl AbortedBatches {
    /// Takes the aborted transactions among the batches to come.
    #[must_use]
    pub fn new(mut among: Vec<AbortedTransaction>) -> Self {
        among.sort_unstable_by_key(|aborted| core::cmp::Reverse(aborted.first));
        Self {
            to_come: among,
            open: Vec::new(),
        }
    }

    /// Returns whether the next batch is of an aborted transaction.
    pub fn includes(&mut self, header: &BatchHeader) -> bool {
        while let Some(next) = self
            .to_come
            .pop_if(|next| next.first <= header.base_offset())
        {
            self.open.push(next);
        }
        self.open.retain(|open| open.last >= header.base_offset());
        let is_of = |open: &AbortedTransaction| header.producer_id() == Some(open.producer);
        header.is_transactional() && self.open.iter().any(is_of)
    }

    /// Returns the next batch, or a control batch in its place if its transaction was aborted.
    #[must_use]
    pub fn left_out(&mut self, batch: Batch) -> Batch {
        if self.includes(&batch.header) {
            gap(&batch.header)
        } else {
            batch
        }
    }
}

/// Returns the aborted transactions among the records from `from` to `until`, out of all entries of
/// a partition whose last offset is at or behind `from`, in their order. An entry begins before
/// the others behind it end, so the search ends at the first entry that no later one can precede.
pub fn among<E>(
    from: Offset,
    until: Offset,
    entries: impl IntoIterator<Item = Result<AbortedTransaction, E>>,
) -> Result<Vec<AbortedTransaction>, E> {
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.last >= from && entry.first < until {
            found.push(entry);
        }
        if entry.last_stable >= until {
            break;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::producers::InTransaction;
    use super::super::{PartitionLog, Planned, Write};
    use super::*;
    use crate::machine::Now;
    use sedge_protocol::ids::PartitionId;
    use sedge_protocol::records::{BatchBuilder, Compression, Producer};

    const PARTITION: PartitionId = PartitionId(3);
    const COMMIT: TransactionResult = TransactionResult::Commit;
    const ABORT: TransactionResult = TransactionResult::Abort;

    struct Log {
        log: PartitionLog,
        aborted: Vec<AbortedTransaction>,
    }

    impl Log {
        fn new() -> Self {
            let (zero, none) = (Offset(0), Producers::default());
            Self {
                log: PartitionLog::new(zero, zero, None, none),
                aborted: Vec::new(),
            }
        }

        /// Writes, and returns the error code of a refusal.
        fn write(&mut self, write: &Write, mut batch: Batch) -> Result<Offset, ErrorCode> {
            let planned = self.log.plan(write).map_err(|refusal| refusal.code)?;
            if let Planned::Duplicate(written) = planned {
                return Ok(written.base_offset);
            }
            let base = self.log.next_offset();
            batch.header.set_base_offset(base);
            let aborted = &mut self.aborted;
            let (log, header) = (&mut self.log, Some(&batch.header));
            log.apply(PARTITION, write, header, Now::default(), |change| {
                if change.view == super::super::derive::Derived::Aborted {
                    let entry = AbortedTransaction::decode(&change.key, &change.value.unwrap());
                    aborted.push(entry.unwrap());
                }
            });
            Ok(base)
        }

        fn send(&mut self, id: i64, epoch: i16, sequence: i32) -> Result<Offset, ErrorCode> {
            let verified_at = self.log.next_offset();
            self.send_verified(id, epoch, sequence, Some(InTransaction { verified_at }))
        }

        fn send_verified(
            &mut self,
            id: i64,
            epoch: i16,
            sequence: i32,
            transaction: Option<InTransaction>,
        ) -> Result<Offset, ErrorCode> {
            let mut builder = BatchBuilder::new(Compression::None).producer(Producer {
                id: ProducerId(id),
                epoch: ProducerEpoch(epoch),
                base_sequence: sequence,
            });
            if transaction.is_some() {
                builder = builder.transactional();
            }
            builder.push(1, None, Some(b"value"), &[]);
            let batch = builder.build().unwrap();
            let range = SequenceRange::of(&batch.header).unwrap();
            assert_eq!(range.transaction.is_some(), transaction.is_some());
            let range = SequenceRange {
                transaction,
                ..range
            };
            self.write(&Write::Sequenced(range), batch)
        }

        fn end(
            &mut self,
            id: i64,
            epoch: i16,
            result: TransactionResult,
        ) -> Result<Offset, ErrorCode> {
            self.end_by(1, id, epoch, result)
        }

        fn end_by(
            &mut self,
            coordinator_epoch: i32,
            id: i64,
            epoch: i16,
            result: TransactionResult,
        ) -> Result<Offset, ErrorCode> {
            let end = EndTransactionMarker {
                result,
                coordinator_epoch,
            };
            let batch = end.batch(ProducerId(id), ProducerEpoch(epoch), 1).unwrap();
            let marker = Marker::of(&batch).unwrap();
            self.write(&Write::Marker(marker), batch)
        }

        fn stable(&self) -> i64 {
            self.log.last_stable_offset().get()
        }
    }

    #[test]
    fn the_first_open_transaction_holds_back_what_is_stable() {
        let mut log = Log::new();
        log.send(1, 0, 0).unwrap();
        assert_eq!(log.stable(), 0);
        log.send(2, 0, 0).unwrap();
        log.send(1, 0, 1).unwrap();
        log.end(1, 0, COMMIT).unwrap();
        assert_eq!(log.stable(), 1);
        log.send(1, 0, 2).unwrap();
        log.end(2, 0, ABORT).unwrap();
        assert_eq!(log.stable(), 4);
        log.end(1, 0, COMMIT).unwrap();
        assert_eq!(log.stable(), log.log.next_offset().get());
        let of_two = AbortedTransaction {
            producer: ProducerId(2),
            first: Offset(1),
            last: Offset(5),
            last_stable: Offset(4),
        };
        assert_eq!(log.aborted, [of_two]);
        log.log.apply_log_start(Offset(7));
        log.send(1, 0, 3).unwrap();
        log.log.apply_log_start(Offset(8));
        assert_eq!(log.stable(), 8);
    }

    #[test]
    fn a_marker_without_a_transaction_ends_none() {
        let mut log = Log::new();
        log.end(1, 0, ABORT).unwrap();
        assert_eq!(log.aborted, []);
        assert_eq!(log.stable(), 1);
    }

    /// KIP-890: a hanging transaction would stop all `read_committed` consumers for good.
    #[test]
    fn a_batch_that_comes_after_its_marker_begins_no_transaction() {
        let mut log = Log::new();
        let verified_at = Some(InTransaction {
            verified_at: log.log.next_offset(),
        });
        log.send(1, 0, 0).unwrap();
        log.end(1, 0, COMMIT).unwrap();
        let late = log.send_verified(1, 0, 1, verified_at);
        assert_eq!(late, Err(ErrorCode::InvalidTxnState));
        assert_eq!(log.stable(), 2);
        // One that the log has is acknowledged again.
        assert_eq!(log.send_verified(1, 0, 0, verified_at), Ok(Offset(0)));
        // The next transaction is verified anew.
        assert_eq!(log.send(1, 0, 1), Ok(Offset(2)));
    }

    #[test]
    fn a_marker_of_a_new_epoch_fences_the_old_one() {
        let mut log = Log::new();
        log.send(1, 4, 0).unwrap();
        log.end(1, 5, COMMIT).unwrap();
        assert_eq!(log.send(1, 4, 1), Err(ErrorCode::InvalidProducerEpoch));
        assert_eq!(log.send(1, 5, 1), Err(ErrorCode::OutOfOrderSequenceNumber));
        log.send(1, 5, 0).unwrap();
        let end = log.end(1, 4, ABORT);
        assert_eq!(end, Err(ErrorCode::InvalidProducerEpoch));
        let end = log.end_by(0, 1, 5, ABORT);
        assert_eq!(end, Err(ErrorCode::TransactionCoordinatorFenced));
    }

    #[test]
    fn a_producer_does_not_mix_a_transaction_with_other_batches() {
        let mut log = Log::new();
        log.send(1, 0, 0).unwrap();
        let other = log.send_verified(1, 0, 1, None);
        assert_eq!(other, Err(ErrorCode::InvalidTxnState));
        log.end(1, 0, COMMIT).unwrap();
        assert_eq!(log.send_verified(1, 0, 1, None), Ok(Offset(2)));
        assert_eq!(log.stable(), 3);
    }

    #[test]
    fn a_producer_with_an_open_transaction_is_not_forgotten() {
        let mut log = Log::new();
        let most = crate::limits::PRODUCERS_PER_PARTITION_MAX as i64;
        for id in 0..most {
            log.send(id, 0, 0).unwrap();
        }
        assert_eq!(log.send(most, 0, 0), Err(ErrorCode::PolicyViolation));
        let producers = &mut log.log.producers;
        assert!(!producers.expire(ProducerId(0), i64::MAX));
        log.end(7, 0, COMMIT).unwrap();
        log.send(most, 0, 0).unwrap();
        let producers = &log.log.producers;
        assert!(producers.get(ProducerId(7)).is_none());
        assert!(producers.get(ProducerId(0)).is_some());
    }

    #[test]
    fn an_entry_survives_the_view_with_its_transaction() {
        let mut log = Log::new();
        log.send(1, 0, 0).unwrap();
        log.end(1, 0, COMMIT).unwrap();
        log.send(1, 0, 1).unwrap();
        let entry = log.log.producers.get(ProducerId(1)).unwrap();
        let saved = ProducerEntry::decode(&entry.encode()).unwrap();
        assert_eq!(saved.transaction.first, Some(Offset(2)));
        assert_eq!(saved.transaction.coordinator_epoch, 1);
        let mut restored = Producers::default();
        restored.restore(ProducerId(1), saved);
        assert_eq!(restored.first_open(), Some(Offset(2)));
    }

    #[test]
    fn batches_of_aborted_transactions_are_told_from_others() {
        let mut log = Log::new();
        let mut headers = Vec::new();
        let mut write = |log: &mut Log, id: i64, sequence: i32, end: Option<TransactionResult>| {
            let base = match end {
                None => log.send(id, 0, sequence).unwrap(),
                Some(result) => log.end(id, 0, result).unwrap(),
            };
            let mut builder = BatchBuilder::new(Compression::None).transactional();
            builder = builder.producer(Producer {
                id: ProducerId(id),
                epoch: ProducerEpoch(0),
                base_sequence: sequence,
            });
            builder.push(1, None, None, &[]);
            let mut header = builder.build().unwrap().header;
            header.set_base_offset(base);
            headers.push(header);
        };
        write(&mut log, 1, 0, None);
        write(&mut log, 2, 0, None);
        write(&mut log, 1, 0, Some(ABORT));
        write(&mut log, 1, 1, None);
        write(&mut log, 2, 0, Some(COMMIT));
        write(&mut log, 1, 1, Some(COMMIT));
        let mut aborted = AbortedBatches::new(log.aborted.clone());
        let told: Vec<bool> = headers.iter().map(|it| aborted.includes(it)).collect();
        assert_eq!(told, [true, false, true, false, false, false]);
    }

    #[test]
    fn a_fetch_names_the_aborted_transactions_among_its_records() {
        let mut log = Log::new();
        for id in 1..=3 {
            log.send(id, 0, 0).unwrap();
        }
        // Offsets 3, 4, 5.
        for id in [2, 1, 3] {
            log.end(id, 0, ABORT).unwrap();
        }
        log.send(2, 0, 1).unwrap();
        log.end(2, 0, ABORT).unwrap();
        let check = |from: i64, until: i64, expected: &[i64]| {
            let known = log
                .aborted
                .iter()
                .filter(|entry| entry.last >= Offset(from));
            let known = known.map(|entry| Ok::<_, ()>(*entry));
            let found = among(Offset(from), Offset(until), known).unwrap();
            let firsts: Vec<i64> = found.iter().map(|entry| entry.first.get()).collect();
            assert_eq!(firsts, expected, "{from}..{until}");
        };
        check(0, 8, &[1, 0, 2, 6]);
        check(0, 1, &[0]);
        check(4, 5, &[0, 2]);
        check(5, 6, &[2]);
        check(6, 7, &[6]);
        check(8, 9, &[]);
    }
}

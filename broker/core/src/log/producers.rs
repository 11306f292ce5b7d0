//! Idempotence (KIP-98): the batches that each producer last wrote to a partition.
//!
//! Like Kafka's `ProducerAppendInfo` and `ProducerStateEntry`, this keeps the last five batches of
//! each producer, because a producer may have five in flight. If one of them is sent again, it is
//! answered with the offsets that it got.
//!
//! A filter may store fewer records than the producer sent. The stored batch then carries the
//! *last* sequences of those sent, so that replaying the headers leads to the same next sequence. A
//! resent batch is recognised by its last sequence, together with a first sequence that is not
//! above the stored one.
//!
//! If the next sequence is not known for sure (an unknown producer; a filtered topic after a
//! restart), the first batch that comes is accepted, unless an earlier one was refused.
//!
//! Above 1,000 producers in a partition (`PRODUCERS_PER_PARTITION_MAX`), the one that has been idle
//! for longest expires. A producer with an open transaction never expires; `transactions` has what
//! concerns these.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use sedge_protocol::ErrorCode;
use sedge_protocol::batch::BatchHeader;
use sedge_protocol::ids::{Offset, ProducerEpoch, ProducerId};

use super::AppendError;
use crate::limits::{PRODUCER_BATCHES_KEPT, PRODUCERS_PER_PARTITION_MAX};

/// The sequence numbers of a batch from an idempotent producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceRange {
    pub producer_id: ProducerId,
    pub epoch: ProducerEpoch,
    pub first: i32,
    pub last: i32,
    /// Whether the topic binds a filter. A batch of which a filter dropped every record left no
    /// trace in the log, so the state that a restart reads may lag behind the producer.
    pub is_filtered: bool,
    /// Set if the batch is part of a transaction.
    pub transaction: Option<InTransaction>,
}

/// A batch that is part of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InTransaction {
    /// KIP-890: an end of the log from before the coordinator confirmed that the transaction
    /// includes the partition. If a later marker has ended the transaction, the batch is late.
    pub verified_at: Offset,
}

impl InTransaction {
    /// A batch that was accepted.
    const WRITTEN: Self = Self {
        verified_at: Offset(i64::MAX),
    };
}

impl SequenceRange {
    /// Returns the range of a batch; `None` if its producer is not idempotent or it is a control
    /// batch, which has no sequence.
    #[must_use]
    pub fn of(header: &BatchHeader) -> Option<Self> {
        let producer_id = header.producer_id()?;
        let first = header.base_sequence();
        if first < 0 {
            return None;
        }
        let last = step(first, header.last_offset_delta());
        Some(Self {
            producer_id,
            epoch: header.producer_epoch(),
            first,
            last,
            is_filtered: false,
            transaction: header.is_transactional().then_some(InTransaction::WRITTEN),
        })
    }

    /// Returns the same range with `is_filtered` set.
    #[must_use]
    pub const fn filtered(self, is_filtered: bool) -> Self {
        Self {
            is_filtered,
            ..self
        }
    }

    /// Returns the same range as part of a transaction, or of none.
    #[must_use]
    pub const fn within(self, transaction: Option<InTransaction>) -> Self {
        Self {
            transaction,
            ..self
        }
    }

    /// Returns whether `next` is the range that the producer sends after this one.
    #[must_use]
    pub fn is_followed_by(&self, next: &Self) -> bool {
        self.is_of_same_producer(next)
            && self.epoch == next.epoch
            && next.first == step(self.last, 1)
    }

    #[must_use]
    pub fn is_of_same_producer(&self, other: &Self) -> bool {
        self.producer_id == other.producer_id
    }

    fn contains(&self, sequence: i32) -> bool {
        distance(self.first, sequence) <= distance(self.first, self.last)
    }

    /// Returns the first sequence of a batch that has the last `kept` sequences of this range.
    #[must_use]
    pub fn first_of_last(&self, kept: i32) -> i32 {
        let first = i64::from(self.last) - i64::from(kept) + 1;
        (if first < 0 { first + SEQUENCES } else { first }) as i32
    }
}

/// Sequences run from 0 to `i32::MAX` and then from 0 again.
const SEQUENCES: i64 = 1 << 31;

fn step(sequence: i32, by: i32) -> i32 {
    ((i64::from(sequence) + i64::from(by.max(0))) % SEQUENCES) as i32
}

/// A batch that a producer wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrittenBatch {
    pub first: i32,
    pub last: i32,
    pub base_offset: Offset,
    pub timestamp_ms: i64,
}

/// The state of a producer in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerEntry {
    /// Whether a restart read this entry and the producer has not written since.
    is_restored: bool,
    epoch: ProducerEpoch,
    /// Oldest first, at most [`PRODUCER_BATCHES_KEPT`].
    batches: Vec<WrittenBatch>,
    /// When the producer last wrote, by the append clock.
    last_ms: i64,
    pub(super) transaction: TransactionState,
}

/// The transaction of a producer in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TransactionState {
    /// The first offset of the open transaction.
    pub first: Option<Offset>,
    /// The newest coordinator epoch of a marker, or -1.
    pub coordinator_epoch: i32,
    /// The offset of the newest marker since the start.
    pub ended_at: Option<Offset>,
}

impl TransactionState {
    const NONE: Self = Self {
        first: None,
        coordinator_epoch: -1,
        ended_at: None,
    };
}

/// The verdict on a batch by its producer's sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceVerdict {
    Next,
    /// The batch was written already.
    Duplicate(WrittenBatch),
}

/// A batch that was refused for a reason other than its sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RefusedBatch {
    epoch: ProducerEpoch,
    first: i32,
}

/// The producers of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Producers {
    known: BTreeMap<i64, ProducerEntry>,
    /// By producer, the earliest refused batch, if the producer's next sequence is not known for
    /// sure. That batch will be sent again, and a later one must not take its place.
    refused: BTreeMap<i64, RefusedBatch>,
    /// The producer of each open transaction, by the transaction's first offset.
    pub(super) open: BTreeMap<Offset, ProducerId>,
}

impl Producers {
    /// Judges a batch by its sequence.
    ///
    /// # Errors
    /// INVALID_PRODUCER_EPOCH, OUT_OF_ORDER_SEQUENCE_NUMBER, INVALID_TXN_STATE; POLICY_VIOLATION if
    /// the partition has too many open transactions.
    pub fn check(&self, range: &SequenceRange) -> Result<SequenceVerdict, AppendError> {
        // An unknown producer (its records were deleted, or it expired) may begin at any sequence.
        let Some(entry) = self.known.get(&range.producer_id.get()) else {
            if self.open.len() >= PRODUCERS_PER_PARTITION_MAX {
                return Err(too_many_open());
            }
            return self.judge_gap(range);
        };
        let verdict = self.judge_sequence(entry, range)?;
        if verdict == SequenceVerdict::Next {
            entry.check_transaction(range)?;
        }
        Ok(verdict)
    }

    fn judge_sequence(
        &self,
        entry: &ProducerEntry,
        range: &SequenceRange,
    ) -> Result<SequenceVerdict, AppendError> {
        if range.epoch < entry.epoch {
            return Err(old_epoch(range.producer_id, range.epoch, entry.epoch));
        }
        let takes_gap = entry.is_restored && range.is_filtered;
        if range.epoch > entry.epoch {
            if range.first == 0 {
                return Ok(SequenceVerdict::Next);
            }
            if takes_gap {
                return self.judge_gap(range);
            }
            return Err(out_of_order(
                range,
                "the first sequence of a new epoch is 0",
            ));
        }
        if let Some(written) = entry
            .batches
            .iter()
            .rev()
            .find(|batch| batch.last == range.last && range.contains(batch.first))
        {
            return Ok(SequenceVerdict::Duplicate(*written));
        }
        // After a marker with a new epoch, the producer begins again.
        let last = entry.batches.last().map(|batch| batch.last);
        if range.first == last.map_or(0, |last| step(last, 1)) {
            return Ok(SequenceVerdict::Next);
        }
        if takes_gap && last.is_none_or(|last| is_ahead(range.first, last)) {
            return self.judge_gap(range);
        }
        let last = last.unwrap_or(-1);
        Err(out_of_order(
            range,
            &alloc::format!("the last sequence was {last}"),
        ))
    }

    /// Judges a batch whose expected sequence is not known: it is the next one, unless an earlier
    /// one was refused.
    fn judge_gap(&self, range: &SequenceRange) -> Result<SequenceVerdict, AppendError> {
        let refused = self.refused.get(&range.producer_id.get());
        let earlier = refused
            .filter(|refused| refused.epoch == range.epoch && is_ahead(range.first, refused.first));
        earlier.map_or(Ok(SequenceVerdict::Next), |refused| {
            let why = alloc::format!("sequence {} was refused and must come first", refused.first);
            Err(out_of_order(range, &why))
        })
    }

    /// Records a batch that was refused for a reason other than its sequence.
    pub fn refuse(&mut self, range: &SequenceRange) {
        let id = range.producer_id.get();
        let is_sure = |entry: &ProducerEntry| !entry.is_restored;
        // If the next sequence is known, no later batch is accepted anyway.
        if self.known.get(&id).is_some_and(is_sure)
            || self.check(range) != Ok(SequenceVerdict::Next)
        {
            return;
        }
        if self.refused.len() >= PRODUCERS_PER_PARTITION_MAX && !self.refused.contains_key(&id) {
            self.refused.pop_first();
        }
        let (epoch, first) = (range.epoch, range.first);
        self.refused.insert(id, RefusedBatch { epoch, first });
    }

    /// Records a written batch. Returns the producers that were forgotten because there were too
    /// many.
    pub fn apply(
        &mut self,
        range: &SequenceRange,
        base_offset: Offset,
        timestamp_ms: i64,
        now_ms: i64,
    ) -> Option<ProducerId> {
        let forgotten = self.make_room(range.producer_id);
        let entry = self.entry(range.producer_id, range.epoch, now_ms);
        if entry.batches.len() >= PRODUCER_BATCHES_KEPT {
            entry.batches.remove(0);
        }
        entry.batches.push(WrittenBatch {
            first: range.first,
            last: range.last,
            base_offset,
            timestamp_ms,
        });
        forgotten
    }

    /// Returns the producer's entry, new or of this epoch, as one that was written now.
    pub(super) fn entry(
        &mut self,
        id: ProducerId,
        epoch: ProducerEpoch,
        now_ms: i64,
    ) -> &mut ProducerEntry {
        self.refused.remove(&id.get());
        let entry = self.known.entry(id.get());
        let entry = entry.or_insert_with(|| ProducerEntry {
            is_restored: false,
            epoch,
            batches: Vec::new(),
            last_ms: now_ms,
            transaction: TransactionState::NONE,
        });
        entry.is_restored = false;
        entry.last_ms = now_ms;
        if entry.epoch != epoch {
            entry.epoch = epoch;
            entry.batches.clear();
        }
        entry
    }

    /// Forgets a producer if there is no room for `id`. Returns which.
    pub(super) fn make_room(&mut self, id: ProducerId) -> Option<ProducerId> {
        let is_full = self.known.len() >= PRODUCERS_PER_PARTITION_MAX;
        let is_new = !self.known.contains_key(&id.get());
        if is_full && is_new {
            self.forget_oldest()
        } else {
            None
        }
    }

    fn forget_oldest(&mut self) -> Option<ProducerId> {
        let oldest = self
            .known
            .iter()
            .filter(|(_, entry)| entry.transaction.first.is_none())
            .min_by_key(|(_, entry)| entry.last_ms)
            .map(|(id, _)| *id)?;
        self.known.remove(&oldest);
        Some(ProducerId(oldest))
    }

    /// Forgets a producer that last wrote at or before `until_ms`. Returns whether it was
    /// forgotten.
    pub fn expire(&mut self, id: ProducerId, until_ms: i64) -> bool {
        let entry = self.known.get(&id.get());
        let is_silent = entry.is_some_and(|entry| entry.is_silent_since(until_ms));
        if is_silent {
            self.known.remove(&id.get());
        }
        is_silent
    }

    pub(super) fn known_mut(&mut self, id: ProducerId) -> Option<&mut ProducerEntry> {
        self.known.get_mut(&id.get())
    }

    #[must_use]
    pub fn get(&self, id: ProducerId) -> Option<&ProducerEntry> {
        self.known.get(&id.get())
    }

    /// Restores an entry that [`ProducerEntry::encode`] saved. If there are too many, those that
    /// wrote last are kept.
    pub fn restore(&mut self, id: ProducerId, entry: ProducerEntry) {
        if let Some(first) = entry.transaction.first {
            self.open.insert(first, id);
        }
        self.known.insert(id.get(), entry);
        if self.known.len() > PRODUCERS_PER_PARTITION_MAX {
            self.forget_oldest();
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (ProducerId, &ProducerEntry)> {
        self.known
            .iter()
            .map(|(id, entry)| (ProducerId(*id), entry))
    }
}

/// Returns how far `to` is after `from`.
fn distance(from: i32, to: i32) -> i64 {
    (i64::from(to) - i64::from(from)).rem_euclid(SEQUENCES)
}

/// Returns whether `sequence` is after `last`, on the shorter way around.
fn is_ahead(sequence: i32, last: i32) -> bool {
    (1..SEQUENCES / 2).contains(&distance(last, sequence))
}

pub(super) fn old_epoch(id: ProducerId, epoch: ProducerEpoch, seen: ProducerEpoch) -> AppendError {
    AppendError::new(
        ErrorCode::InvalidProducerEpoch,
        alloc::format!(
            "Epoch of producer {id} is {epoch}, which is smaller than the last seen epoch {seen}."
        ),
    )
}

fn too_many_open() -> AppendError {
    AppendError::new(
        ErrorCode::PolicyViolation,
        alloc::format!(
            "The partition has {PRODUCERS_PER_PARTITION_MAX} open transactions; end some first."
        ),
    )
}

fn out_of_order(range: &SequenceRange, why: &str) -> AppendError {
    AppendError::new(
        ErrorCode::OutOfOrderSequenceNumber,
        alloc::format!(
            "Out of order sequence number for producer {}: received {}, but {why}.",
            range.producer_id,
            range.first
        ),
    )
}

const BATCH_BYTES: usize = 4 + 4 + 8 + 8;
/// Bytes of version, epoch, time of the last write, coordinator epoch and first offset.
const HEAD_BYTES: usize = 1 + 2 + 8 + 4 + 8;
/// Version of an entry in the view. Entries of other versions are not read.
const ENTRY_VERSION: u8 = 2;

impl ProducerEntry {
    /// Returns where the producer's open transaction begins.
    #[must_use]
    pub const fn open_since(&self) -> Option<Offset> {
        self.transaction.first
    }

    /// Returns whether the producer has written nothing since `until_ms`, and has no open
    /// transaction.
    #[must_use]
    pub const fn is_silent_since(&self, until_ms: i64) -> bool {
        self.last_ms <= until_ms && self.transaction.first.is_none()
    }

    #[must_use]
    pub const fn epoch(&self) -> ProducerEpoch {
        self.epoch
    }

    /// Returns the newest coordinator epoch of a marker, or -1.
    #[must_use]
    pub const fn coordinator_epoch(&self) -> i32 {
        self.transaction.coordinator_epoch
    }

    /// Returns the producer's newest batch.
    #[must_use]
    pub fn last_batch(&self) -> Option<&WrittenBatch> {
        self.batches.last()
    }

    /// Returns the producer's epoch and the base offset of its newest batch.
    #[must_use]
    pub fn last_word(&self) -> (ProducerEpoch, Option<Offset>) {
        let last = self.batches.last();
        (self.epoch, last.map(|batch| batch.base_offset))
    }

    /// Encodes the view's value: version (a byte), epoch, time of the last write, newest
    /// coordinator epoch (i32, or -1), first offset of the open transaction (i64, or -1), then the
    /// batches, all big-endian.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(HEAD_BYTES + self.batches.len() * BATCH_BYTES);
        value.push(ENTRY_VERSION);
        value.extend_from_slice(&self.epoch.get().to_be_bytes());
        value.extend_from_slice(&self.last_ms.to_be_bytes());
        value.extend_from_slice(&self.transaction.coordinator_epoch.to_be_bytes());
        let first = self.transaction.first.map_or(-1, Offset::get);
        value.extend_from_slice(&first.to_be_bytes());
        for batch in &self.batches {
            value.extend_from_slice(&batch.first.to_be_bytes());
            value.extend_from_slice(&batch.last.to_be_bytes());
            value.extend_from_slice(&batch.base_offset.get().to_be_bytes());
            value.extend_from_slice(&batch.timestamp_ms.to_be_bytes());
        }
        value
    }

    /// Decodes the view's value. Returns `None` for malformed bytes or another version.
    #[must_use]
    pub fn decode(value: &[u8]) -> Option<Self> {
        let (head, batches) = value.split_at_checked(HEAD_BYTES)?;
        let (version, head) = head.split_first()?;
        if *version != ENTRY_VERSION {
            return None;
        }
        let epoch = ProducerEpoch(i16::from_be_bytes(*head.first_chunk()?));
        let last_ms = i64::from_be_bytes(*head.get(2..)?.first_chunk()?);
        let coordinator_epoch = i32::from_be_bytes(*head.get(10..)?.first_chunk()?);
        let first = i64::from_be_bytes(*head.last_chunk()?);
        if batches.len() % BATCH_BYTES != 0 || batches.len() / BATCH_BYTES > PRODUCER_BATCHES_KEPT {
            return None;
        }
        let batches = batches
            .chunks_exact(BATCH_BYTES)
            .map(|bytes| {
                Some(WrittenBatch {
                    first: i32::from_be_bytes(*bytes.first_chunk()?),
                    last: i32::from_be_bytes(*bytes.get(4..)?.first_chunk()?),
                    base_offset: Offset(i64::from_be_bytes(*bytes.get(8..)?.first_chunk()?)),
                    timestamp_ms: i64::from_be_bytes(*bytes.get(16..)?.first_chunk()?),
                })
            })
            .collect::<Option<Vec<_>>>()?;
        Some(Self {
            is_restored: true,
            epoch,
            batches,
            last_ms,
            transaction: TransactionState {
                first: (first >= 0).then_some(Offset(first)),
                coordinator_epoch,
                ended_at: None,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The batches written, the batch to judge, and the offset of its duplicate, if it is one.
    type Case<'a> = (
        &'a [SequenceRange],
        SequenceRange,
        Result<Option<i64>, ErrorCode>,
    );

    fn range(epoch: i16, first: i32, count: i32) -> SequenceRange {
        SequenceRange {
            producer_id: ProducerId(7),
            epoch: ProducerEpoch(epoch),
            first,
            last: step(first, count - 1),
            is_filtered: false,
            transaction: None,
        }
    }

    fn after(written: &[SequenceRange]) -> Producers {
        let mut producers = Producers::default();
        for (at, range) in written.iter().enumerate() {
            assert_eq!(
                producers.check(range).unwrap(),
                SequenceVerdict::Next,
                "{range:?}"
            );
            producers.apply(range, Offset(at as i64 * 100), 1, at as i64);
        }
        producers
    }

    #[test]
    fn sequences_are_judged_as_kafka_judges_them() {
        let top = i32::MAX;
        let next = Ok(None);
        let duplicate = |offset| Ok(Some(offset));
        let table: &[Case] = &[
            (&[], range(0, 0, 10), next),
            (&[], range(3, 55, 10), next),
            (&[range(0, 0, 10)], range(0, 10, 5), next),
            (&[range(0, 0, 10)], range(0, 0, 10), duplicate(0)),
            (
                &[range(0, 0, 10), range(0, 10, 5)],
                range(0, 0, 10),
                duplicate(0),
            ),
            (
                &[range(0, 0, 10)],
                range(0, 11, 5),
                Err(ErrorCode::OutOfOrderSequenceNumber),
            ),
            (
                &[range(0, 0, 10)],
                range(0, 5, 3),
                Err(ErrorCode::OutOfOrderSequenceNumber),
            ),
            (
                &[range(1, 0, 10)],
                range(0, 10, 5),
                Err(ErrorCode::InvalidProducerEpoch),
            ),
            (&[range(0, 0, 10)], range(1, 0, 5), next),
            (
                &[range(0, 0, 10)],
                range(1, 10, 5),
                Err(ErrorCode::OutOfOrderSequenceNumber),
            ),
            (&[range(0, top - 4, 5)], range(0, 0, 5), next),
            (&[range(0, top - 1, 5)], range(0, 3, 5), next),
        ];
        for (written, incoming, expected) in table {
            let verdict = match after(written).check(incoming) {
                Ok(SequenceVerdict::Next) => Ok(None),
                Ok(SequenceVerdict::Duplicate(batch)) => Ok(Some(batch.base_offset.get())),
                Err(error) => Err(error.code),
            };
            assert_eq!(&verdict, expected, "{written:?} then {incoming:?}");
        }
    }

    #[test]
    fn five_batches_are_remembered_and_the_sixth_back_is_out_of_order() {
        let written: Vec<_> = (0..6).map(|at| range(0, at * 10, 10)).collect();
        let producers = after(&written);
        assert!(matches!(
            producers.check(&written[1]),
            Ok(SequenceVerdict::Duplicate(_))
        ));
        assert_eq!(
            producers.check(&written[0]).unwrap_err().code,
            ErrorCode::OutOfOrderSequenceNumber
        );
    }

    #[test]
    fn a_filtered_batch_sent_again_is_known_by_its_last_sequence() {
        let sent = range(0, 0, 100);
        let stored = SequenceRange {
            first: sent.first_of_last(60),
            ..sent
        };
        assert_eq!((stored.first, stored.last), (40, 99));
        let producers = after(&[stored]);
        assert!(matches!(
            producers.check(&sent),
            Ok(SequenceVerdict::Duplicate(_))
        ));
        assert_eq!(
            producers.check(&range(0, 100, 10)).unwrap(),
            SequenceVerdict::Next
        );
    }

    #[test]
    fn what_a_filter_dropped_before_a_restart_leaves_a_gap_that_is_forgiven_once() {
        let live = after(&[range(0, 0, 10)]);
        let entry = live.get(ProducerId(7)).unwrap();
        let mut restarted = Producers::default();
        restarted.restore(
            ProducerId(7),
            ProducerEntry::decode(&entry.encode()).unwrap(),
        );
        let later = range(0, 30, 10);
        let check = |producers: &Producers, range: SequenceRange| producers.check(&range).is_ok();
        assert!(
            !check(&live, later.filtered(true)),
            "nothing is forgotten while it runs"
        );
        assert!(
            !check(&restarted, later),
            "without a filter a gap is a loss"
        );
        assert!(check(&restarted, later.filtered(true)));
        assert!(
            !check(&restarted, range(0, 5, 3).filtered(true)),
            "that is behind, not ahead"
        );
        restarted.apply(&later, Offset(10), 0, 0);
        assert!(!check(&restarted, range(0, 50, 10).filtered(true)));
    }

    fn restarted(producers: &Producers) -> Producers {
        let mut restarted = Producers::default();
        for (id, entry) in producers.iter() {
            restarted.restore(id, ProducerEntry::decode(&entry.encode()).unwrap());
        }
        restarted
    }

    /// Batch B, in flight behind A, was accepted although A had been refused, and A stayed out of
    /// order for ever.
    #[test]
    fn what_was_refused_comes_before_what_is_behind_it() {
        let (first, second, third) = (range(0, 30, 10), range(0, 40, 10), range(0, 50, 10));
        let tables = [
            (
                "a filtered topic after a restart",
                restarted(&after(&[range(0, 0, 10)])),
            ),
            (
                "right behind the last one",
                restarted(&after(&[range(0, 0, 30)])),
            ),
            ("a producer that nobody remembers", Producers::default()),
        ];
        for (name, mut producers) in tables {
            let check = |producers: &Producers, range: SequenceRange| {
                producers
                    .check(&range.filtered(true))
                    .map_err(|error| error.code)
            };
            let next = Ok(SequenceVerdict::Next);
            let out_of_order = Err(ErrorCode::OutOfOrderSequenceNumber);
            // An earlier one may be refused as well.
            producers.refuse(&second.filtered(true));
            assert_eq!(check(&producers, third), out_of_order, "{name}");
            assert_eq!(check(&producers, first), next, "{name}");
            producers.refuse(&first.filtered(true));
            producers.refuse(&third.filtered(true));
            assert_eq!(check(&producers, second), out_of_order, "{name}");
            // Another epoch is not affected.
            assert_eq!(check(&producers, range(1, 0, 1)), next, "{name}");
            for (at, sent) in [first, second, third].into_iter().enumerate() {
                assert_eq!(check(&producers, sent), next, "{name}: {sent:?}");
                producers.apply(&sent, Offset(100 + at as i64), 0, 0);
            }
        }
    }

    /// A filter may have dropped every batch with which a new epoch began.
    #[test]
    fn a_gap_where_a_new_epoch_begins_is_taken_as_any_other() {
        let live = after(&[range(0, 0, 10)]);
        let (first, second) = (range(1, 0, 10), range(1, 10, 10));
        let later = |producers: &Producers| producers.check(&second.filtered(true)).is_ok();
        assert!(!later(&live), "nothing is taken while it runs");
        let mut restarted = restarted(&live);
        assert!(restarted.check(&second).is_err(), "without a filter");
        assert!(later(&restarted));
        restarted.refuse(&first.filtered(true));
        assert!(!later(&restarted), "the first one comes again");
    }

    #[test]
    fn what_was_refused_for_its_sequence_holds_nothing_back() {
        let mut producers = restarted(&after(&[range(0, 20, 10)]));
        producers.refuse(&range(0, 5, 3).filtered(true));
        let later = range(0, 50, 10).filtered(true);
        assert_eq!(producers.check(&later).unwrap(), SequenceVerdict::Next);
    }

    #[test]
    fn refused_producers_are_bounded() {
        let mut producers = Producers::default();
        for id in 0..PRODUCERS_PER_PARTITION_MAX as i64 + 10 {
            producers.refuse(&SequenceRange {
                producer_id: ProducerId(id),
                ..range(0, 0, 1)
            });
        }
        assert_eq!(producers.refused.len(), PRODUCERS_PER_PARTITION_MAX);
    }

    /// Such a batch stayed out of order for ever if its sequences wrapped and a filter kept the
    /// last few.
    #[test]
    fn a_filtered_batch_is_known_again_where_sequences_go_around() {
        let sent = range(0, i32::MAX - 49, 100);
        for kept in [1, 40, 60, 100] {
            let stored = SequenceRange {
                first: sent.first_of_last(kept),
                ..sent
            };
            let producers = restarted(&after(&[stored]));
            let verdict = producers.check(&sent.filtered(true));
            assert!(
                matches!(verdict, Ok(SequenceVerdict::Duplicate(_))),
                "{kept} kept: {verdict:?}"
            );
            // A longer range was never sent.
            let shorter = range(0, sent.first_of_last(kept - 1), kept - 1);
            assert!(kept == 1 || producers.check(&shorter.filtered(true)).is_err());
        }
    }

    #[test]
    fn an_entry_survives_the_view() {
        let producers = after(&[range(2, 0, 10), range(2, 10, 1)]);
        let entry = producers.get(ProducerId(7)).unwrap();
        let value = entry.encode();
        assert_eq!(ProducerEntry::decode(&value).unwrap().encode(), value);
        for cut in 0..HEAD_BYTES {
            assert_eq!(ProducerEntry::decode(&value[..cut]), None);
        }
        assert_eq!(ProducerEntry::decode(&value[..value.len() - 1]), None);
    }

    /// The first entries had no version: a changed format could have been told only by its length.
    #[test]
    fn an_entry_of_another_version_is_refused() {
        let producers = after(&[range(2, 0, 10), range(2, 10, 1)]);
        let value = producers.get(ProducerId(7)).unwrap().encode();
        for version in (0..=u8::MAX).filter(|version| *version != ENTRY_VERSION) {
            let mut other = value.clone();
            other[0] = version;
            assert_eq!(ProducerEntry::decode(&other), None, "{version}");
        }
        // Includes epochs whose first byte equals a version.
        for epoch in [0, 2, 256, 511, -1] {
            let mut first = value[1..].to_vec();
            first[..2].copy_from_slice(&i16::to_be_bytes(epoch));
            assert_eq!(ProducerEntry::decode(&first), None, "{epoch}");
        }
    }

    #[test]
    fn the_oldest_producer_makes_room_and_a_silent_one_expires() {
        let mut producers = Producers::default();
        for id in 0..=PRODUCERS_PER_PARTITION_MAX as i64 {
            let range = SequenceRange {
                producer_id: ProducerId(id),
                ..range(0, 0, 1)
            };
            let forgotten = producers.apply(&range, Offset(id), 0, id);
            let is_full = id == PRODUCERS_PER_PARTITION_MAX as i64;
            assert_eq!(forgotten, is_full.then_some(ProducerId(0)));
        }
        assert!(producers.expire(ProducerId(1), 1) && !producers.expire(ProducerId(1), 1));
        assert!(!producers.expire(ProducerId(2), 1), "it wrote at 2");
        assert!(producers.get(ProducerId(2)).is_some());
    }

    #[test]
    fn of_too_many_the_last_ones_are_restored() {
        let mut producers = Producers::default();
        let most = PRODUCERS_PER_PARTITION_MAX as i64;
        for id in 0..most + 10 {
            let entry = ProducerEntry {
                is_restored: true,
                epoch: ProducerEpoch(0),
                batches: Vec::new(),
                last_ms: most - id,
                transaction: TransactionState::NONE,
            };
            producers.restore(ProducerId(id), entry);
        }
        assert_eq!(producers.iter().count(), PRODUCERS_PER_PARTITION_MAX);
        assert!(producers.get(ProducerId(0)).is_some());
        assert!(producers.get(ProducerId(most)).is_none());
    }
}

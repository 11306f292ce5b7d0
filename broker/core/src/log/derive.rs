//! Derives view entries from the headers of a partition's batches, and from the bodies of control
//! batches: where each leader epoch starts (KIP-101), what each producer last wrote, and which
//! transactions were aborted (KIP-98).
//!
//! The writer derives view changes as it appends. A start derives the changes that the views did
//! not yet have when the process ended ([`HeaderReplay`]).
//!
//! All keys begin with the partition's id, and all numbers in them are big-endian:
//!
//! | view | key | value |
//! | --- | --- | --- |
//! | epochs | partition u32, epoch i32 | the epoch's first offset, i64 |
//! | producers | partition u32, producer id i64 | [`ProducerEntry::encode`] |
//! | aborted | partition u32, marker's offset i64 | [`AbortedTransaction::encode`] |

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use sedge_protocol::batch::{Batch, BatchHeader};
use sedge_protocol::ids::{LeaderEpoch, Offset, PartitionId, ProducerId};

use super::producers::{ProducerEntry, Producers, SequenceRange};
use super::transactions::Marker;
use crate::limits::REPLAYED_EPOCHS_MAX;

/// A view that is derived from batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Derived {
    Epochs,
    Producers,
    Aborted,
}

/// A change of a view. Without a value, the key is removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub view: Derived,
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
}

/// Returns the prefix of a partition's keys, the same in every view.
#[must_use]
pub const fn prefix(partition: PartitionId) -> [u8; 4] {
    partition.get().to_be_bytes()
}

/// Returns the change for the start of a leader epoch, if a batch is the first of its epoch.
/// `before` is the epoch of the batch before.
#[must_use]
pub fn epoch_change(
    partition: PartitionId,
    header: &BatchHeader,
    before: Option<LeaderEpoch>,
) -> Option<Change> {
    let epoch = header.leader_epoch();
    if before.is_some_and(|before| before >= epoch) {
        return None;
    }
    let mut key = prefix(partition).to_vec();
    key.extend_from_slice(&epoch.get().to_be_bytes());
    Some(Change {
        view: Derived::Epochs,
        key,
        value: Some(header.base_offset().get().to_be_bytes().to_vec()),
    })
}

/// Returns the leader epoch in a key of the epochs view.
#[must_use]
pub fn epoch_of_key(key: &[u8]) -> Option<LeaderEpoch> {
    let (_, epoch) = key.split_first_chunk::<4>()?;
    Some(LeaderEpoch(i32::from_be_bytes(*epoch.first_chunk()?)))
}

/// Decodes an entry of the epochs view: the epoch, and its first offset.
#[must_use]
pub fn epoch_start(key: &[u8], value: &[u8]) -> Option<(LeaderEpoch, Offset)> {
    let offset = Offset(i64::from_be_bytes(*value.first_chunk()?));
    Some((epoch_of_key(key)?, offset))
}

/// Returns the key of a producer's entry.
#[must_use]
pub fn producer_key(partition: PartitionId, producer: ProducerId) -> Vec<u8> {
    let mut key = prefix(partition).to_vec();
    key.extend_from_slice(&producer.get().to_be_bytes());
    key
}

/// Splits a key of [`producer_key`] into its parts.
#[must_use]
pub fn parse_producer_key(key: &[u8]) -> Option<(PartitionId, ProducerId)> {
    let (partition, producer) = key.split_first_chunk::<4>()?;
    let producer = i64::from_be_bytes(*producer.first_chunk()?);
    Some((
        PartitionId(u32::from_be_bytes(*partition)),
        ProducerId(producer),
    ))
}

/// Decodes an entry of the producers view; `None` if the bytes are invalid.
#[must_use]
pub fn producer_entry(key: &[u8], value: &[u8]) -> Option<(ProducerId, ProducerEntry)> {
    let (_, producer) = parse_producer_key(key)?;
    Some((producer, ProducerEntry::decode(value)?))
}

/// Returns the key of the aborted transaction that ends at this offset.
#[must_use]
pub fn aborted_key(partition: PartitionId, last: Offset) -> Vec<u8> {
    let mut key = prefix(partition).to_vec();
    key.extend_from_slice(&last.get().to_be_bytes());
    key
}

/// Returns the change that saves a producer's entry as in `known`, or removes the entry if `known`
/// lacks the producer.
#[must_use]
pub fn producer_change(partition: PartitionId, producer: ProducerId, known: &Producers) -> Change {
    Change {
        view: Derived::Producers,
        key: producer_key(partition, producer),
        value: known.get(producer).map(ProducerEntry::encode),
    }
}

/// Ends a transaction by the marker at `at`, and passes each change of the views to `changed`.
pub(super) fn end_transaction(
    partition: PartitionId,
    marker: &Marker,
    at: Offset,
    known: &mut Producers,
    append_ms: i64,
    mut changed: impl FnMut(Change),
) {
    let (aborted, forgotten) = known.end(marker, at, append_ms);
    if let Some(aborted) = aborted {
        changed(Change {
            view: Derived::Aborted,
            key: aborted_key(partition, at),
            value: Some(aborted.encode()),
        });
    }
    for producer in [Some(marker.producer_id), forgotten].into_iter().flatten() {
        changed(producer_change(partition, producer, known));
    }
}

/// The views, as far as a replay reads them.
pub trait Saved {
    /// Returns the newest leader epoch of a partition in the epochs view.
    fn newest_epoch(&self, partition: PartitionId) -> Option<LeaderEpoch>;
    /// Returns a producer's entry in the producers view.
    fn producer(&self, partition: PartitionId, producer: ProducerId) -> Option<ProducerEntry>;
    /// Passes each of the partition's entries in the producers view to `each`.
    fn each_producer(
        &self,
        partition: PartitionId,
        each: &mut dyn FnMut(ProducerId, ProducerEntry),
    );
}

/// Derives view changes from batches that the views do not have yet.
#[derive(Debug, Default)]
pub struct HeaderReplay {
    /// The newest leader epochs of replayed partitions. The views have them too, but asking the
    /// views for each batch took longer than everything else.
    epochs: BTreeMap<PartitionId, Option<LeaderEpoch>>,
}

impl HeaderReplay {
    /// Returns the changes from a partition's next batches, of which only control batches need
    /// their bodies. `append_ms` is the append clock's time of their commit.
    pub fn replay(
        &mut self,
        saved: &impl Saved,
        partition: PartitionId,
        batches: &[Batch],
        append_ms: i64,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut known = Producers::default();
        // The last stable offset behind a marker depends on all producers.
        if batches.iter().any(|batch| batch.header.is_control()) {
            saved.each_producer(partition, &mut |id, entry| known.restore(id, entry));
        }
        let mut epoch = match self.epochs.get(&partition) {
            Some(known) => *known,
            None => saved.newest_epoch(partition),
        };
        for batch in batches {
            let header = &batch.header;
            changes.extend(epoch_change(partition, header, epoch));
            epoch = epoch.max(Some(header.leader_epoch()));
            if let Some(range) = SequenceRange::of(header) {
                let producer = range.producer_id;
                if known.get(producer).is_none()
                    && let Some(entry) = saved.producer(partition, producer)
                {
                    known.restore(producer, entry);
                }
                let (base_offset, timestamp) = (header.base_offset(), header.max_timestamp());
                known.apply(&range, base_offset, timestamp, append_ms);
                known.begin(&range, base_offset);
                changes.push(producer_change(partition, producer, &known));
            } else if let Some(marker) = Marker::of(batch) {
                let at = header.base_offset();
                end_transaction(partition, &marker, at, &mut known, append_ms, |change| {
                    changes.push(change);
                });
            }
        }
        if self.epochs.len() >= REPLAYED_EPOCHS_MAX {
            self.epochs.clear();
        }
        self.epochs.insert(partition, epoch);
        changes
    }

    /// Forgets a partition that was dropped.
    pub fn forget(&mut self, partition: PartitionId) {
        self.epochs.remove(&partition);
    }
}

#[cfg(test)]
mod tests {
    use sedge_protocol::ids::ProducerEpoch;
    use sedge_protocol::records::{
        BatchBuilder, Compression, EndTransactionMarker, Producer, TransactionResult,
    };

    use super::super::transactions::AbortedTransaction;
    use super::*;
    use crate::log::{PartitionLog, Planned, Write};
    use crate::machine::Now;

    const PARTITION: PartitionId = PartitionId(3);

    /// Builds a batch of one record; without a producer if `sequence` is `None`.
    fn batch(epoch: i32, base_offset: i64, sequence: Option<(i64, i32)>) -> Batch {
        placed(
            epoch,
            base_offset,
            BatchBuilder::new(Compression::None),
            sequence,
        )
    }

    /// Builds a batch of a transaction.
    fn in_transaction(base_offset: i64, sequence: (i64, i32)) -> Batch {
        let builder = BatchBuilder::new(Compression::None).transactional();
        placed(3, base_offset, builder, Some(sequence))
    }

    fn marker(base_offset: i64, producer: i64, result: TransactionResult) -> Batch {
        let end = EndTransactionMarker {
            result,
            coordinator_epoch: 1,
        };
        let mut batch = end
            .batch(ProducerId(producer), ProducerEpoch(0), 1)
            .unwrap();
        batch.header.set_base_offset(Offset(base_offset));
        batch.header.set_leader_epoch(LeaderEpoch(3));
        batch
    }

    fn placed(
        epoch: i32,
        base_offset: i64,
        mut builder: BatchBuilder,
        sequence: Option<(i64, i32)>,
    ) -> Batch {
        if let Some((id, base_sequence)) = sequence {
            builder = builder.producer(Producer {
                id: ProducerId(id),
                epoch: ProducerEpoch(0),
                base_sequence,
            });
        }
        builder.push(base_offset, None, Some(b"value"), &[]);
        let mut batch = builder.build().unwrap();
        batch.header.set_base_offset(Offset(base_offset));
        batch.header.set_leader_epoch(LeaderEpoch(epoch));
        batch
    }

    #[test]
    fn a_key_is_of_its_partition_and_of_what_it_names() {
        let key = producer_key(PARTITION, ProducerId(7));
        assert!(key.starts_with(&prefix(PARTITION)));
        assert_eq!(parse_producer_key(&key), Some((PARTITION, ProducerId(7))));
        assert_eq!(parse_producer_key(&key[..11]), None);
        let change = epoch_change(PARTITION, &batch(5, 40, None).header, None).unwrap();
        assert!(change.key.starts_with(&prefix(PARTITION)));
        let start = epoch_start(&change.key, &change.value.unwrap());
        assert_eq!(start, Some((LeaderEpoch(5), Offset(40))));
        assert_eq!(epoch_of_key(&change.key[..7]), None);
    }

    /// Both views, after the changes so far.
    #[derive(Debug, Default, PartialEq)]
    struct Views(BTreeMap<(Derived, Vec<u8>), Vec<u8>>);

    impl Views {
        fn take(&mut self, changes: impl IntoIterator<Item = Change>) {
            for Change { view, key, value } in changes {
                match value {
                    Some(value) => self.0.insert((view, key), value),
                    None => self.0.remove(&(view, key)),
                };
            }
        }
    }

    impl Views {
        fn aborted(&self) -> Vec<AbortedTransaction> {
            let entries = self
                .0
                .iter()
                .filter(|((view, _), _)| *view == Derived::Aborted);
            let decoded = entries.map(|((_, key), value)| AbortedTransaction::decode(key, value));
            decoded.map(Option::unwrap).collect()
        }
    }

    impl Saved for Views {
        fn newest_epoch(&self, _: PartitionId) -> Option<LeaderEpoch> {
            let epochs = self.0.keys().filter(|(view, _)| *view == Derived::Epochs);
            epochs.filter_map(|(_, key)| epoch_of_key(key)).max()
        }

        fn producer(&self, partition: PartitionId, producer: ProducerId) -> Option<ProducerEntry> {
            let key = (Derived::Producers, producer_key(partition, producer));
            ProducerEntry::decode(self.0.get(&key)?)
        }

        fn each_producer(&self, _: PartitionId, each: &mut dyn FnMut(ProducerId, ProducerEntry)) {
            for ((view, key), value) in &self.0 {
                if *view == Derived::Producers {
                    let (producer, entry) = producer_entry(key, value).unwrap();
                    each(producer, entry);
                }
            }
        }
    }

    /// At a start, the views may lag behind the log by any amount.
    #[test]
    fn a_replay_from_anywhere_leads_to_what_the_writer_derived() {
        let batches = [
            batch(0, 0, Some((1, 0))),
            batch(0, 1, None),
            batch(0, 2, Some((2, 0))),
            batch(1, 3, Some((1, 1))),
            batch(1, 4, Some((1, 2))),
            batch(3, 5, Some((2, 1))),
            batch(3, 6, None),
            in_transaction(7, (5, 0)),
            in_transaction(8, (6, 0)),
            in_transaction(9, (5, 1)),
            marker(10, 5, TransactionResult::Abort),
            in_transaction(11, (5, 2)),
            marker(12, 6, TransactionResult::Commit),
            marker(13, 5, TransactionResult::Abort),
            in_transaction(14, (6, 1)),
        ];
        let mut log = PartitionLog::new(Offset(0), Offset(0), None, Producers::default());
        let now = Now {
            append_ms: 9,
            ..Now::default()
        };
        let mut live = Views::default();
        let mut so_far = Vec::new();
        for batch in &batches {
            so_far.push(live.0.clone());
            let write = Marker::of(batch)
                .map_or_else(|| SequenceRange::of(&batch.header).into(), Write::Marker);
            assert_eq!(log.plan(&write), Ok(Planned::Append));
            log.apply(PARTITION, &write, Some(&batch.header), now, |change| {
                live.take([change]);
            });
        }
        assert_eq!(log.next_offset(), Offset(batches.len() as i64));
        assert_eq!(log.last_stable_offset(), Offset(14));
        let aborted = live.aborted();
        let ends = [(7, 10, 8), (11, 13, 14)];
        assert_eq!(
            aborted,
            ends.map(|(first, last, last_stable)| AbortedTransaction {
                producer: ProducerId(5),
                first: Offset(first),
                last: Offset(last),
                last_stable: Offset(last_stable),
            })
        );
        for (from, saved) in so_far.into_iter().enumerate() {
            for at_once in 1..=batches.len() {
                let mut views = Views(saved.clone());
                let mut replay = HeaderReplay::default();
                for part in batches[from..].chunks(at_once) {
                    let changes = replay.replay(&views, PARTITION, part, 9);
                    views.take(changes);
                }
                assert_eq!(views, live, "from {from}, {at_once} at once");
            }
        }
    }

    #[test]
    fn a_partition_that_was_forgotten_is_asked_of_the_views_again() {
        let mut replay = HeaderReplay::default();
        let first = [batch(4, 0, None)];
        let none = Views::default();
        assert_eq!(replay.replay(&none, PARTITION, &first, 0).len(), 1);
        assert_eq!(replay.replay(&none, PARTITION, &first, 0).len(), 0);
        replay.forget(PARTITION);
        assert_eq!(replay.replay(&none, PARTITION, &first, 0).len(), 1);
    }
}

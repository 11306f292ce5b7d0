//! Derives view entries from the headers of a partition's batches alone: where each leader epoch
//! starts (KIP-101), and what each producer last wrote (KIP-98).
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

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use sedge_protocol::batch::BatchHeader;
use sedge_protocol::ids::{LeaderEpoch, Offset, PartitionId, ProducerId};

use super::producers::{ProducerEntry, Producers, SequenceRange};
use crate::limits::REPLAYED_EPOCHS_MAX;

/// A view that is derived from headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Derived {
    Epochs,
    Producers,
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

/// The views, as far as a replay reads them.
pub trait Saved {
    /// Returns the newest leader epoch of a partition in the epochs view.
    fn newest_epoch(&self, partition: PartitionId) -> Option<LeaderEpoch>;
    /// Returns a producer's entry in the producers view.
    fn producer(&self, partition: PartitionId, producer: ProducerId) -> Option<ProducerEntry>;
}

/// Derives view changes from headers that the views do not have yet.
#[derive(Debug, Default)]
pub struct HeaderReplay {
    /// The newest leader epochs of replayed partitions. The views have them too, but asking the
    /// views for each batch took longer than everything else.
    epochs: BTreeMap<PartitionId, Option<LeaderEpoch>>,
}

impl HeaderReplay {
    /// Returns the changes from a partition's next batches. `append_ms` is the append clock's time
    /// of their commit.
    pub fn replay<'a>(
        &mut self,
        saved: &impl Saved,
        partition: PartitionId,
        headers: impl Iterator<Item = &'a BatchHeader>,
        append_ms: i64,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut known = Producers::default();
        let mut epoch = match self.epochs.get(&partition) {
            Some(known) => *known,
            None => saved.newest_epoch(partition),
        };
        for header in headers {
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
                changes.push(producer_change(partition, producer, &known));
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
    use sedge_protocol::records::{BatchBuilder, Compression, Producer};

    use super::*;
    use crate::log::{PartitionLog, Planned, Write};
    use crate::machine::Now;

    const PARTITION: PartitionId = PartitionId(3);

    /// Builds the header of a batch of one record; without a producer if `sequence` is `None`.
    fn header(epoch: i32, base_offset: i64, sequence: Option<(i64, i32)>) -> BatchHeader {
        let mut builder = BatchBuilder::new(Compression::None);
        if let Some((id, base_sequence)) = sequence {
            builder = builder.producer(Producer {
                id: ProducerId(id),
                epoch: ProducerEpoch(0),
                base_sequence,
            });
        }
        builder.push(base_offset, None, Some(b"value"), &[]);
        let mut header = builder.build().unwrap().header;
        header.set_base_offset(Offset(base_offset));
        header.set_leader_epoch(LeaderEpoch(epoch));
        header
    }

    #[test]
    fn a_key_is_of_its_partition_and_of_what_it_names() {
        let key = producer_key(PARTITION, ProducerId(7));
        assert!(key.starts_with(&prefix(PARTITION)));
        assert_eq!(parse_producer_key(&key), Some((PARTITION, ProducerId(7))));
        assert_eq!(parse_producer_key(&key[..11]), None);
        let change = epoch_change(PARTITION, &header(5, 40, None), None).unwrap();
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

    impl Saved for Views {
        fn newest_epoch(&self, _: PartitionId) -> Option<LeaderEpoch> {
            let epochs = self.0.keys().filter(|(view, _)| *view == Derived::Epochs);
            epochs.filter_map(|(_, key)| epoch_of_key(key)).max()
        }

        fn producer(&self, partition: PartitionId, producer: ProducerId) -> Option<ProducerEntry> {
            let key = (Derived::Producers, producer_key(partition, producer));
            ProducerEntry::decode(self.0.get(&key)?)
        }
    }

    /// At a start, the views may lag behind the log by any amount.
    #[test]
    fn a_replay_from_anywhere_leads_to_what_the_writer_derived() {
        let headers = [
            header(0, 0, Some((1, 0))),
            header(0, 1, None),
            header(0, 2, Some((2, 0))),
            header(1, 3, Some((1, 1))),
            header(1, 4, Some((1, 2))),
            header(3, 5, Some((2, 1))),
            header(3, 6, None),
        ];
        let mut log = PartitionLog::new(Offset(0), Offset(0), None, Producers::default());
        let now = Now {
            append_ms: 9,
            ..Now::default()
        };
        let mut live = Views::default();
        let mut so_far = Vec::new();
        for header in &headers {
            so_far.push(live.0.clone());
            let write = Write {
                sequence: SequenceRange::of(header),
            };
            assert_eq!(log.plan(&write), Ok(Planned::Append));
            log.apply(PARTITION, &write, Some(header), now, |change| {
                live.take([change]);
            });
        }
        assert_eq!(log.next_offset(), Offset(headers.len() as i64));
        for (from, saved) in so_far.into_iter().enumerate() {
            for at_once in 1..=headers.len() {
                let mut views = Views(saved.clone());
                let mut replay = HeaderReplay::default();
                for part in headers[from..].chunks(at_once) {
                    let changes = replay.replay(&views, PARTITION, part.iter(), 9);
                    views.take(changes);
                }
                assert_eq!(views, live, "from {from}, {at_once} at once");
            }
        }
    }

    #[test]
    fn a_partition_that_was_forgotten_is_asked_of_the_views_again() {
        let mut replay = HeaderReplay::default();
        let first = header(4, 0, None);
        let none = Views::default();
        assert_eq!(
            replay
                .replay(&none, PARTITION, [&first].into_iter(), 0)
                .len(),
            1
        );
        assert_eq!(
            replay
                .replay(&none, PARTITION, [&first].into_iter(), 0)
                .len(),
            0
        );
        replay.forget(PARTITION);
        assert_eq!(
            replay
                .replay(&none, PARTITION, [&first].into_iter(), 0)
                .len(),
            1
        );
    }
}

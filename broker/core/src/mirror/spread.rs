//! Spreads the records of a partition over the partitions of a topic upstream that has another
//! number of them.
//!
//! A stored batch becomes one batch for each partition that gets some of its records. The cursor
//! moves past the stored batch when the upstream has all of them. Sequences are counted for each
//! partition upstream, which gets batches of several partitions here. So a link spreads only in
//! transactions: after any failure it begins a new epoch, in which all sequences begin at 0, and no
//! batch is ever sent again under the sequence that it had.
//!
//! **Invariant:** the batches of one partition upstream leave in the order of their sequences
//! (`Link::handle_read` counts them and returns the batches; `simulation/exactly_once.rs`).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use sedge_protocol::batch::Batch;
use sedge_protocol::ids::PartitionId;
use sedge_protocol::limits::DECOMPRESSED_BYTES_MAX;
use sedge_protocol::records::{Kept, RecordView, Records, decompress, rebuild};

use super::stamp::{Prepared, StampError};
use crate::partitioner::partition_of;

/// The partitions upstream that the records of a partition go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// The first partition of the topic here, which names the topic.
    pub topic: PartitionId,
    /// The partition's index here.
    pub index: u32,
    /// Partitions of the topic upstream.
    pub partitions: u32,
}

/// The partition upstream that a batch goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// The one with the index of this partition.
    Twin(PartitionId),
    /// Partition `index` of the topic that begins with partition `topic` here.
    Of { topic: PartitionId, index: i32 },
}

impl Spread {
    /// Returns where Kafka's producers would send a record. A record without a key stays with the
    /// others of its partition.
    #[must_use]
    pub fn murmur2(&self, record: &RecordView<'_>) -> u32 {
        let partitions = self.partitions.max(1);
        let by_key = |key: &[u8]| partition_of(key, partitions);
        record.key.map_or(self.index % partitions, by_key)
    }

    /// Returns the target of records for a partition upstream.
    pub(super) const fn target(&self, index: i32) -> Target {
        Target::Of {
            topic: self.topic,
            index,
        }
    }
}

impl Prepared {
    /// Splits the batch by the partitions that `choose` names for its records. Decompresses and
    /// compresses, so do not call this on the executor's threads.
    pub fn spread(&mut self, choose: impl FnMut(&RecordView<'_>) -> u32) {
        if let Some(Ok(batch)) = &self.batch {
            match split(batch, choose) {
                Ok(parts) => self.parts = parts,
                Err(error) => self.batch = Some(Err(error)),
            }
        }
    }
}

/// Returns the batches for the partitions upstream, by their indices.
fn split(
    batch: &Batch,
    mut choose: impl FnMut(&RecordView<'_>) -> u32,
) -> Result<Vec<(i32, Batch)>, StampError> {
    let unreadable = |_| StampError::Unreadable;
    let header = &batch.header;
    let body = decompress(header, &batch.body, DECOMPRESSED_BYTES_MAX).map_err(unreadable)?;
    let mut of: BTreeMap<u32, Vec<Kept<'_>>> = BTreeMap::new();
    for record in Records::new(header, &body) {
        let record = record.map_err(unreadable)?;
        of.entry(choose(&record)).or_default().push(Kept {
            timestamp_delta: record.timestamp_delta,
            key: record.key,
            value: record.value,
            headers: record.headers,
        });
    }
    if let (1, Some(index)) = (of.len(), of.keys().next()) {
        return Ok(Vec::from([(index.cast_signed(), batch.clone())]));
    }
    let parts = of.into_iter().map(|(index, records)| {
        let part = rebuild(header, records).map_err(unreadable)?;
        Ok((index.cast_signed(), part.ok_or(StampError::Unreadable)?))
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use sedge_protocol::ids::Offset;
    use sedge_protocol::records::{BatchBuilder, Compression};

    use super::*;

    const SPREAD: Spread = Spread {
        topic: PartitionId(7),
        index: 5,
        partitions: 3,
    };

    fn batch(keys: &[Option<&str>]) -> Batch {
        let mut builder = BatchBuilder::new(Compression::Lz4);
        for (number, key) in keys.iter().enumerate() {
            let key = key.map(str::as_bytes);
            builder.push(1000 + number as i64, key, Some(&[number as u8]), &[]);
        }
        let mut batch = builder.build().unwrap();
        batch.header.set_base_offset(Offset(40));
        batch
    }

    fn numbers(batch: &Batch) -> Vec<u8> {
        let body = decompress(&batch.header, &batch.body, 1 << 20).unwrap();
        let records = Records::new(&batch.header, &body).map(Result::unwrap);
        records.map(|record| record.value.unwrap()[0]).collect()
    }

    #[test]
    fn keys_go_where_kafka_s_producers_send_them_and_others_stay_together() {
        let keys = [Some("a"), None, Some("b"), Some("a"), Some("c"), None];
        let mut prepared = Prepared::new(batch(&keys));
        prepared.spread(|record| SPREAD.murmur2(record));
        let mut seen = Vec::new();
        for (index, part) in &prepared.parts {
            let numbers = numbers(part);
            assert!(numbers.is_sorted(), "the order is kept");
            assert_eq!(part.header.record_count() as usize, numbers.len());
            assert_eq!(part.header.compression(), 3);
            for number in &numbers {
                let key = keys[usize::from(*number)];
                let expected = key.map_or(5 % 3, |key| partition_of(key.as_bytes(), 3));
                assert_eq!(*index, expected.cast_signed());
            }
            seen.extend(numbers);
        }
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_batch_for_one_partition_is_sent_as_it_is() {
        let stored = batch(&[None, None]);
        let mut prepared = Prepared::new(stored.clone());
        prepared.spread(|record| SPREAD.murmur2(record));
        let [(index, part)] = &prepared.parts[..] else {
            panic!("{:?}", prepared.parts);
        };
        assert_eq!((*index, &part.body), (2, &stored.body));
    }
}

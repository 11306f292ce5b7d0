//! The end of a transaction in a partition: Kafka's control record `EndTransactionMarker`, the one
//! record of its batch (KIP-98).
//!
//! | part | content |
//! | --- | --- |
//! | key | version i16, 0; type i16: 0 abort, 1 commit |
//! | value | version i16, 0; coordinator epoch i32 |

use super::build::{BatchBuilder, Producer};
use super::codec::Compression;
use super::read::Records;
use crate::batch::Batch;
use crate::error::Result;
use crate::ids::{ProducerEpoch, ProducerId};

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionResult {
    Abort,
    Commit,
}

/// The end of a transaction, as a partition's log has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndTransactionMarker {
    pub result: TransactionResult,
    /// Of the partition of `__transaction_state` that has the transaction.
    pub coordinator_epoch: i32,
}

impl EndTransactionMarker {
    /// Reads the marker in a control batch. Returns `None` for another control record, such as
    /// those of `KRaft`, and for one that cannot be read.
    #[must_use]
    pub fn read(batch: &Batch) -> Option<Self> {
        let mut records = Records::new(&batch.header, &batch.body);
        let record = records.next()?.ok()?;
        let result = match record.key?.get(2..4)? {
            [0, 0] => TransactionResult::Abort,
            [0, 1] => TransactionResult::Commit,
            _ => return None,
        };
        let epoch = record
            .value
            .and_then(|value| value.get(2..6)?.first_chunk());
        Some(Self {
            result,
            coordinator_epoch: epoch.map_or(-1, |epoch| i32::from_be_bytes(*epoch)),
        })
    }

    /// Returns the control batch that ends the transaction of a producer.
    ///
    /// # Errors
    /// None for any input; the codec's type has them.
    pub fn batch(self, id: ProducerId, epoch: ProducerEpoch, timestamp_ms: i64) -> Result<Batch> {
        let producer = Producer {
            id,
            epoch,
            base_sequence: -1,
        };
        let key = [0, 0, 0, u8::from(self.result == TransactionResult::Commit)];
        let mut value = [0; 6];
        value[2..].copy_from_slice(&self.coordinator_epoch.to_be_bytes());
        let builder = BatchBuilder::new(Compression::None).producer(producer);
        let mut builder = builder.transactional().control();
        builder.push(timestamp_ms, Some(&key), Some(&value), &[]);
        builder.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_read_as_it_was_written() {
        for result in [TransactionResult::Abort, TransactionResult::Commit] {
            let marker = EndTransactionMarker {
                result,
                coordinator_epoch: 3,
            };
            let batch = marker.batch(ProducerId(7), ProducerEpoch(2), 5).unwrap();
            let header = &batch.header;
            assert!(header.is_control() && header.is_transactional());
            assert_eq!(header.base_sequence(), -1);
            assert_eq!(header.producer_epoch(), ProducerEpoch(2));
            assert_eq!(EndTransactionMarker::read(&batch), Some(marker));
        }
    }

    #[test]
    fn a_record_that_is_no_marker_is_none() {
        let mut builder = BatchBuilder::new(Compression::None).control();
        builder.push(1, Some(&[0, 0, 0, 2]), Some(&[0; 6]), &[]);
        assert_eq!(EndTransactionMarker::read(&builder.build().unwrap()), None);
        let mut builder = BatchBuilder::new(Compression::None).control();
        builder.push(1, Some(&[0, 0]), None, &[]);
        assert_eq!(EndTransactionMarker::read(&builder.build().unwrap()), None);
    }
}

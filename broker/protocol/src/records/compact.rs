//! Builds the compacted form of a batch: the same offsets, sequences and producer, with fewer
//! records or none.
//!
//! Unlike in [`rebuild`](super::rebuild) for filters, offsets do not close up: base offset and last
//! offset delta stay, so that a restart reads the producer's sequence as it was written.

use bytes::Bytes;

use super::build::{batch_length, put_front};
use super::codec::compression_of;
use super::compress::compress;
use super::read::RecordView;
use crate::batch::{Batch, BatchHeader};
use crate::error::Result;

/// Builds the compacted form of one batch, in the same codec.
#[derive(Debug)]
pub struct Compacted<'a> {
    header: &'a BatchHeader,
    base_timestamp: i64,
    has_delete_horizon: bool,
    max_timestamp: i64,
    count: i32,
    records: Vec<u8>,
}

impl<'a> Compacted<'a> {
    /// Starts the compacted batch. KIP-534: with a delete horizon, the time after which tombstones
    /// and markers of this batch may be removed, the base timestamp is that time. A horizon that
    /// the batch already has stays.
    #[must_use]
    pub fn new(header: &'a BatchHeader, delete_horizon_ms: Option<i64>) -> Self {
        let base_timestamp = match delete_horizon_ms {
            Some(horizon) if !header.has_delete_horizon() => horizon,
            _ => header.base_timestamp(),
        };
        Self {
            header,
            base_timestamp,
            has_delete_horizon: header.has_delete_horizon() || delete_horizon_ms.is_some(),
            max_timestamp: -1,
            count: 0,
            records: Vec::new(),
        }
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Appends a record of the batch unchanged.
    pub fn keep(&mut self, record: &RecordView<'_>) {
        let timestamp = self
            .header
            .base_timestamp()
            .wrapping_add(record.timestamp_delta);
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let delta = timestamp.wrapping_sub(self.base_timestamp);
        let rest = record.after_offset_delta();
        put_front(
            &mut self.records,
            record.attributes,
            delta,
            record.offset_delta,
            rest.len(),
        );
        self.records.extend_from_slice(rest);
        self.count += 1;
    }

    /// Builds the batch.
    ///
    /// # Errors
    /// A codec that does not exist.
    pub fn build(self) -> Result<Batch> {
        // A batch without records has no body, hence no codec and no delete horizon.
        let is_empty = self.is_empty();
        let body = if is_empty {
            Vec::new()
        } else {
            compress(compression_of(self.header)?, self.records)?
        };
        let max_timestamp = if is_empty || self.header.is_log_append_time() {
            self.header.max_timestamp()
        } else {
            self.max_timestamp
        };
        let header = self.header.compacted(
            batch_length(&body)?,
            self.count,
            self.base_timestamp,
            max_timestamp,
            self.has_delete_horizon && !is_empty,
        );
        Ok(Batch {
            header: header.with_computed_crc(&body),
            body: Bytes::from(body),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BatchBuilder, Compression, Producer, Records, decompress};
    use super::*;
    use crate::ids::{Offset, ProducerEpoch, ProducerId};
    use crate::kafka::record::RecordBatch;

    const CODECS: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    fn original(codec: Compression) -> Batch {
        let mut builder = BatchBuilder::new(codec).producer(Producer {
            id: ProducerId(9),
            epoch: ProducerEpoch(1),
            base_sequence: 70,
        });
        builder.push(1000, Some(b"a"), Some(&[7; 300]), &[("h", Some(b"v"))]);
        builder.push(1200, Some(b"b"), None, &[("n", None)]);
        builder.push(900, Some(b"c"), Some(b""), &[]);
        let mut batch = builder.build().unwrap();
        batch.header.set_base_offset(Offset(50));
        batch
    }

    fn compacted(batch: &Batch, kept: &[i32], horizon: Option<i64>) -> Batch {
        let body = decompress(&batch.header, &batch.body, 4096).unwrap();
        let mut left = Compacted::new(&batch.header, horizon);
        for record in Records::new(&batch.header, &body) {
            let record = record.unwrap();
            if kept.contains(&record.offset_delta) {
                left.keep(&record);
            }
        }
        left.build().unwrap()
    }

    #[test]
    fn offsets_times_headers_and_sequences_stay() {
        for codec in CODECS {
            let original = original(codec);
            for horizon in [None, Some(5_000_000)] {
                let batch = compacted(&original, &[0, 2], horizon);
                let header = &batch.header;
                assert_eq!(header.compression(), original.header.compression());
                assert_eq!(header.batch_bytes(), Some(batch.bytes()));
                assert_eq!(header.crc(), header.computed_crc(&batch.body));
                let numbers = |header: &BatchHeader| {
                    (
                        header.base_offset(),
                        header.next_offset(),
                        header.base_sequence(),
                        header.producer_id(),
                        header.producer_epoch(),
                    )
                };
                assert_eq!(numbers(header), numbers(&original.header));
                assert_eq!(header.record_count(), 2);
                assert_eq!(header.max_timestamp(), 1000);
                assert_eq!(header.has_delete_horizon(), horizon.is_some());
                assert_eq!(header.base_timestamp(), horizon.unwrap_or(1000));
                let whole = [&header.as_bytes()[..], &batch.body].concat();
                let decoded = RecordBatch::decode(&mut whole.into()).unwrap();
                let facts: Vec<_> = decoded
                    .records
                    .iter()
                    .map(|record| {
                        let time = header.base_timestamp() + record.timestamp_delta;
                        (record.offset_delta, time, record.headers.len())
                    })
                    .collect();
                assert_eq!(facts, [(0, 1000, 1), (2, 900, 0)], "{codec:?}");
            }
        }
    }

    #[test]
    fn a_horizon_is_set_once() {
        let first = compacted(&original(Compression::Lz4), &[0, 1, 2], Some(77));
        let second = compacted(&first, &[1], Some(99));
        assert_eq!(second.header.base_timestamp(), 77);
        assert!(second.header.has_delete_horizon());
        let body = decompress(&second.header, &second.body, 4096).unwrap();
        let records: Vec<_> = Records::new(&second.header, &body)
            .collect::<Result<_>>()
            .unwrap();
        assert_eq!(records.len(), 1);
        assert_eq!(77 + records[0].timestamp_delta, 1200);
        assert_eq!(records[0].value, None);
    }

    #[test]
    fn a_batch_without_records_still_has_its_offsets_and_producer() {
        for codec in CODECS {
            let original = original(codec);
            let empty = compacted(&original, &[], None);
            assert_eq!((empty.bytes(), empty.header.record_count()), (61, 0));
            assert_eq!(empty.header.last_offset(), original.header.last_offset());
            assert_eq!(empty.header.base_sequence(), 70);
            assert_eq!(empty.header.compression(), 0);
            assert_eq!(empty.header.max_timestamp(), 1200);
            assert_eq!(empty.header.crc(), empty.header.computed_crc(b""));
        }
    }
}

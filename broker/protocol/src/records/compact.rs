//! Builds what compaction, or a filter for a consumer, leaves of a stored batch: the same offsets,
//! sequences and producer, with fewer or other records, or none.
//!
//! Unlike in [`rebuild`](super::rebuild) for filters of producers, offsets do not close up: base
//! offset and last offset delta stay, so that a restart reads the producer's sequence as it was
//! written.

use bytes::Bytes;

use super::build::{batch_length, nullable_bytes, put_front, put_nullable};
use super::codec::compression_of;
use super::compress::compress;
use super::read::{Headers, RecordView};
use crate::batch::{Batch, BatchHeader};
use crate::error::Result;
use crate::wire::varint_bytes;

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
        let rest = record.after_offset_delta();
        self.front(record, rest.len());
        self.records.extend_from_slice(rest);
    }

    /// Appends the front of a record, before its `rest_bytes`.
    fn front(&mut self, record: &RecordView<'_>, rest_bytes: usize) {
        let timestamp = self
            .header
            .base_timestamp()
            .wrapping_add(record.timestamp_delta);
        self.max_timestamp = self.max_timestamp.max(timestamp);
        put_front(
            &mut self.records,
            record.attributes,
            timestamp.wrapping_sub(self.base_timestamp),
            record.offset_delta,
            rest_bytes,
        );
        self.count += 1;
    }

    /// Appends a record of the batch with another key and value.
    pub fn replace(&mut self, record: &RecordView<'_>, key: Option<&[u8]>, value: Option<&[u8]>) {
        let headers = record.headers;
        let rest = nullable_bytes(key) + nullable_bytes(value) + headers_bytes(headers);
        self.front(record, rest);
        put_nullable(&mut self.records, key);
        put_nullable(&mut self.records, value);
        headers.write_section(&mut self.records);
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

/// Builds the batch that stands in for one of which a consumer gets nothing: the same offsets,
/// producer and sequence, and one record that no consumer shows.
///
/// A batch without records would do for most clients. librdkafka takes an answer without any record
/// for a message that does not fit, and after some such answers reports an error. So the record is
/// a control record of type -1, which Kafka's clients ignore (`ControlRecordType.UNKNOWN`).
#[must_use]
pub fn gap(header: &BatchHeader) -> Batch {
    let mut body = Vec::new();
    // Version 0, type -1; in the value, version 0.
    let (key, value) = (Some(&[0, 0, 0xff, 0xff][..]), Some(&[0, 0][..]));
    let headers = Headers::default();
    let rest = nullable_bytes(key) + nullable_bytes(value) + headers_bytes(headers);
    put_front(&mut body, 0, 0, header.last_offset_delta(), rest);
    put_nullable(&mut body, key);
    put_nullable(&mut body, value);
    headers.write_section(&mut body);
    let length = batch_length(&body).expect("some twenty bytes");
    let header = header.as_control(length, 1);
    Batch {
        header: header.with_computed_crc(&body),
        body: Bytes::from(body),
    }
}

fn headers_bytes(headers: Headers<'_>) -> usize {
    let count = i32::try_from(headers.count()).expect("they were read");
    varint_bytes(count) + headers.raw().len()
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
    fn a_replaced_record_keeps_its_offset_time_and_headers() {
        for codec in CODECS {
            let original = original(codec);
            let body = decompress(&original.header, &original.body, 4096).unwrap();
            let mut left = Compacted::new(&original.header, None);
            for record in Records::new(&original.header, &body).skip(1) {
                let record = record.unwrap();
                left.replace(&record, Some(b"key"), None);
            }
            let batch = left.build().unwrap();
            let header = &batch.header;
            assert_eq!(header.base_offset(), original.header.base_offset());
            assert_eq!(header.next_offset(), original.header.next_offset());
            assert_eq!(header.crc(), header.computed_crc(&batch.body));
            let body = decompress(header, &batch.body, 4096).unwrap();
            let records: Vec<_> = Records::new(header, &body).collect::<Result<_>>().unwrap();
            let facts = records.iter().map(|record| {
                assert_eq!((record.key, record.value), (Some(&b"key"[..]), None));
                let time = header.base_timestamp() + record.timestamp_delta;
                (record.offset_delta, time, record.headers.count())
            });
            let facts: Vec<_> = facts.collect();
            assert_eq!(facts, [(1, 1200, 1), (2, 900, 0)], "{codec:?}");
        }
    }

    #[test]
    fn a_gap_has_the_offsets_and_the_producer_and_no_record_to_show() {
        for codec in CODECS {
            let original = original(codec);
            let gap = gap(&original.header);
            let header = &gap.header;
            assert!(header.is_control());
            assert_eq!(header.batch_bytes(), Some(gap.bytes()));
            assert_eq!(header.crc(), header.computed_crc(&gap.body));
            assert_eq!((header.compression(), header.record_count()), (0, 1));
            assert_eq!(header.base_offset(), original.header.base_offset());
            assert_eq!(header.next_offset(), original.header.next_offset());
            assert_eq!(header.producer_id(), original.header.producer_id());
            assert_eq!(header.base_sequence(), original.header.base_sequence());
            let whole = [&header.as_bytes()[..], &gap.body].concat();
            let decoded = RecordBatch::decode(&mut whole.into()).unwrap();
            let offsets: Vec<_> = decoded.records.iter().map(|r| r.offset_delta).collect();
            assert_eq!(offsets, [original.header.last_offset_delta()]);
        }
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

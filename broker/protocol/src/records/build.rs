//! Builds batches: new ones, and those that a filter has removed records from.

use bytes::{BufMut, Bytes};

use super::codec::{Compression, compression_of};
use super::compress::compress;
use super::read::Headers;
use crate::batch::{Batch, BatchHeader, HEADER_BYTES, LOG_OVERHEAD_BYTES};
use crate::error::{Error, Result};
use crate::ids::{ProducerEpoch, ProducerId};
use crate::wire::{Write as _, varint_bytes, varlong_bytes};

/// A header of a record: key and value.
pub type RecordHeader<'a> = (&'a str, Option<&'a [u8]>);

/// The producer of a batch, and the sequence of the batch's first record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    pub id: ProducerId,
    pub epoch: ProducerEpoch,
    pub base_sequence: i32,
}

/// Collects records into one batch with base offset 0 and leader epoch -1; the log sets both.
#[derive(Debug)]
pub struct BatchBuilder {
    codec: Compression,
    attributes: i16,
    producer: Option<Producer>,
    base_timestamp: Option<i64>,
    max_timestamp: i64,
    count: i32,
    records: Vec<u8>,
}

const TRANSACTIONAL_BIT: i16 = 1 << 4;
const CONTROL_BIT: i16 = 1 << 5;

impl BatchBuilder {
    #[must_use]
    pub fn new(codec: Compression) -> Self {
        Self {
            codec,
            attributes: 0,
            producer: None,
            base_timestamp: None,
            max_timestamp: -1,
            count: 0,
            records: Vec::new(),
        }
    }

    #[must_use]
    pub fn producer(mut self, producer: Producer) -> Self {
        self.producer = Some(producer);
        self
    }

    #[must_use]
    pub fn transactional(mut self) -> Self {
        self.attributes |= TRANSACTIONAL_BIT;
        self
    }

    #[must_use]
    pub fn control(mut self) -> Self {
        self.attributes |= CONTROL_BIT;
        self
    }

    #[must_use]
    pub const fn count(&self) -> i32 {
        self.count
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the size of the batch in bytes, before compression.
    #[must_use]
    pub fn bytes(&self) -> usize {
        HEADER_BYTES + self.records.len()
    }

    pub fn push(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[RecordHeader<'_>],
    ) {
        let mut raw = Vec::new();
        put_headers(&mut raw, headers);
        self.push_raw(timestamp_ms, 0, key, value, headers.len(), &raw);
    }

    /// Appends a record whose headers are copied as they are from another one.
    pub fn push_with(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: Headers<'_>,
    ) {
        self.push_raw(timestamp_ms, 0, key, value, headers.count(), headers.raw());
    }

    fn push_raw(
        &mut self,
        timestamp_ms: i64,
        attributes: i8,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        header_count: usize,
        headers: &[u8],
    ) {
        let base = *self.base_timestamp.get_or_insert(timestamp_ms);
        let timestamp_delta = timestamp_ms.wrapping_sub(base);
        self.max_timestamp = self.max_timestamp.max(timestamp_ms);
        let header_count = length(header_count);
        let rest = nullable_bytes(key)
            + nullable_bytes(value)
            + varint_bytes(header_count)
            + headers.len();
        put_front(
            &mut self.records,
            attributes,
            timestamp_delta,
            self.count,
            rest,
        );
        put_nullable(&mut self.records, key);
        put_nullable(&mut self.records, value);
        self.records.put_varint(header_count);
        self.records.extend_from_slice(headers);
        self.count += 1;
    }

    /// Builds the batch.
    ///
    /// # Errors
    /// No record was pushed, or the batch is above 2 GiB.
    pub fn build(self) -> Result<Batch> {
        let base_timestamp = self.base_timestamp.ok_or(Error::Invalid {
            what: "an empty batch",
        })?;
        let body = compress(self.codec, self.records)?;
        let header = Header {
            attributes: self.attributes | self.codec as i16,
            offsets: self.count,
            timestamps: (base_timestamp, self.max_timestamp),
            producer: self.producer,
            records: self.count,
        };
        header.with(body)
    }
}

/// The fields of a header that is written anew.
pub(super) struct Header {
    pub attributes: i16,
    /// The number of offsets that the batch takes.
    pub offsets: i32,
    /// The base timestamp and the largest one.
    pub timestamps: (i64, i64),
    pub producer: Option<Producer>,
    pub records: i32,
}

impl Header {
    pub fn with(self, body: Vec<u8>) -> Result<Batch> {
        let (id, epoch, sequence) = self.producer.map_or((-1, -1, -1), |producer| {
            (producer.id.0, producer.epoch.0, producer.base_sequence)
        });
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.put_i64(0);
        bytes.put_i32(batch_length(&body)?);
        bytes.put_i32(-1);
        bytes.put_i8(2);
        bytes.put_u32(0);
        bytes.put_i16(self.attributes);
        bytes.put_i32(self.offsets - 1);
        bytes.put_i64(self.timestamps.0);
        bytes.put_i64(self.timestamps.1);
        bytes.put_i64(id);
        bytes.put_i16(epoch);
        bytes.put_i32(sequence);
        bytes.put_i32(self.records);
        let header = BatchHeader::read(&bytes).expect("61 bytes were written");
        Ok(Batch {
            header: header.with_computed_crc(&body),
            body: Bytes::from(body),
        })
    }
}

/// A record that stays in a batch: unchanged, or with a replaced value.
#[derive(Clone, Copy, Debug)]
pub struct Kept<'a> {
    pub timestamp_delta: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Headers<'a>,
}

/// Rebuilds the batch of `header` with only the records `kept`: same codec, timestamps, producer
/// and epoch; offsets without a gap. Returns `None` if no record is kept.
///
/// The sequence of the *last* record stays the same, so that a restart reads from the log the
/// sequence at which the producer continues. The base sequence moves up by the number of removed
/// records.
///
/// # Errors
/// The batch cannot be built.
pub fn rebuild<'a>(
    header: &BatchHeader,
    kept: impl IntoIterator<Item = Kept<'a>>,
) -> Result<Option<Batch>> {
    let mut builder = with_records(header, kept)?;
    builder.attributes = header.attributes() & (TRANSACTIONAL_BIT | CONTROL_BIT);
    if builder.is_empty() {
        return Ok(None);
    }
    builder.producer = header.producer_id().map(|id| {
        let gone = header.record_count().wrapping_sub(builder.count);
        let base_sequence = sequence_plus(header.base_sequence(), gone);
        Producer {
            id,
            epoch: header.producer_epoch(),
            base_sequence,
        }
    });
    builder.build().map(Some)
}

/// Builds a batch of records of the batch of `header`, for another partition: same codec and
/// timestamps, and no producer, whose sequence the partition that the batch was sent to has.
///
/// # Errors
/// There are no records, or the batch cannot be built.
pub fn rebuild_elsewhere<'a>(
    header: &BatchHeader,
    records: impl IntoIterator<Item = Kept<'a>>,
) -> Result<Batch> {
    with_records(header, records)?.build()
}

/// Like [`rebuild_elsewhere`]. Each record has `more` headers behind its own.
///
/// # Errors
/// There are no records, or the batch cannot be built.
pub fn rebuild_elsewhere_with<'a>(
    header: &BatchHeader,
    records: impl IntoIterator<Item = Kept<'a>>,
    more: &[RecordHeader<'_>],
) -> Result<Batch> {
    let mut added = Vec::new();
    put_headers(&mut added, more);
    let mut builder = BatchBuilder::new(compression_of(header)?);
    let mut headers = Vec::new();
    for record in records {
        let timestamp = header
            .base_timestamp()
            .saturating_add(record.timestamp_delta);
        headers.clear();
        headers.extend_from_slice(record.headers.raw());
        headers.extend_from_slice(&added);
        let count = record.headers.count() + more.len();
        builder.push_raw(timestamp, 0, record.key, record.value, count, &headers);
    }
    builder.build()
}

/// Builds the batch that stands in for one whose records all went to other partitions: no record,
/// one offset, and the last sequence of its producer, so that the batch is recognised when it is
/// sent again, also after a restart.
///
/// # Errors
/// None; the batch has no body.
pub fn stand_in(header: &BatchHeader) -> Result<Batch> {
    let last = sequence_plus(header.base_sequence(), header.last_offset_delta());
    let stand_in = Header {
        attributes: 0,
        offsets: 1,
        timestamps: (-1, -1),
        producer: header.producer_id().map(|id| Producer {
            id,
            epoch: header.producer_epoch(),
            base_sequence: last,
        }),
        records: 0,
    };
    stand_in.with(Vec::new())
}

fn with_records<'a>(
    header: &BatchHeader,
    records: impl IntoIterator<Item = Kept<'a>>,
) -> Result<BatchBuilder> {
    let mut builder = BatchBuilder::new(compression_of(header)?);
    for record in records {
        let timestamp = header
            .base_timestamp()
            .saturating_add(record.timestamp_delta);
        builder.push_with(timestamp, record.key, record.value, record.headers);
    }
    Ok(builder)
}

fn put_headers(bytes: &mut Vec<u8>, headers: &[RecordHeader<'_>]) {
    for (name, value) in headers {
        put_nullable(bytes, Some(name.as_bytes()));
        put_nullable(bytes, *value);
    }
}

/// KIP-98: sequences wrap from the largest number to 0.
#[must_use]
pub const fn sequence_plus(sequence: i32, count: i32) -> i32 {
    let sum = sequence as i64 + count as i64;
    (if sum > i32::MAX as i64 {
        sum - i32::MAX as i64 - 1
    } else {
        sum
    }) as i32
}

/// Returns the value of the batch-length field for a batch with this body.
///
/// # Errors
/// The batch is above 2 GiB.
pub(super) fn batch_length(body: &[u8]) -> Result<i32> {
    let length = HEADER_BYTES - LOG_OVERHEAD_BYTES + body.len();
    i32::try_from(length).map_err(|_| Error::TooMany {
        what: "bytes of a batch",
        limit: i32::MAX as usize,
    })
}

/// Appends the front of a record, up to its key, with the length that counts the bytes from the key
/// on.
pub(super) fn put_front(
    out: &mut Vec<u8>,
    attributes: i8,
    timestamp_delta: i64,
    offset_delta: i32,
    rest_bytes: usize,
) {
    let bytes = 1 + varlong_bytes(timestamp_delta) + varint_bytes(offset_delta) + rest_bytes;
    out.reserve(bytes + LENGTH_BYTES_MAX);
    out.put_varint(length(bytes));
    out.put_i8(attributes);
    out.put_varlong(timestamp_delta);
    out.put_varint(offset_delta);
}

/// Largest size of a varint.
const LENGTH_BYTES_MAX: usize = 5;

fn length(count: usize) -> i32 {
    i32::try_from(count).expect("records are built from what fits a frame")
}

pub(super) fn nullable_bytes(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint_bytes(length(bytes.len())) + bytes.len())
}

pub(super) fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            out.put_varint(length(bytes.len()));
            out.extend_from_slice(bytes);
        }
        None => out.put_varint(-1),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Opener, Records, Unreadable, check_records, decompress};
    use super::*;
    use crate::kafka::record::RecordBatch;

    const CODECS: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    fn batch(codec: Compression) -> Batch {
        let producer = Producer {
            id: ProducerId(9),
            epoch: ProducerEpoch(1),
            base_sequence: i32::MAX - 1,
        };
        let mut builder = BatchBuilder::new(codec).producer(producer);
        builder.push(
            1000,
            Some(b"k0"),
            Some(&[7; 300]),
            &[("h", Some(b"v")), ("null", None)],
        );
        builder.push(900, None, Some(b""), &[]);
        builder.push(1100, Some(b""), None, &[]);
        builder.build().unwrap()
    }

    fn whole(batch: &Batch) -> Bytes {
        [batch.header.as_bytes().as_slice(), &batch.body]
            .concat()
            .into()
    }

    #[test]
    fn the_other_codec_reads_what_is_built() {
        for codec in CODECS {
            let built = batch(codec);
            assert_eq!(built.header.batch_bytes(), Some(built.bytes()));
            assert_eq!(built.header.crc(), built.header.computed_crc(&built.body));
            assert_eq!(built.header.max_timestamp(), 1100);
            let decoded = RecordBatch::decode(&mut whole(&built)).unwrap();
            assert_eq!(decoded.records.len(), 3, "{codec:?}");
            assert_eq!(decoded.records[0].headers.len(), 2);
            assert_eq!(decoded.records[1].timestamp_delta, -100);
            assert_eq!(decoded.records[2].value, None);
        }
    }

    #[test]
    fn records_come_back_through_every_codec() {
        for codec in CODECS {
            let built = batch(codec);
            let body = decompress(&built.header, &built.body, 4096).unwrap();
            let records: Vec<_> = Records::new(&built.header, &body)
                .collect::<Result<_>>()
                .unwrap();
            assert_eq!(records.len(), 3);
            assert_eq!(records[0].key, Some(&b"k0"[..]));
            assert_eq!(records[0].whole.start, 0);
            assert_eq!(records[2].whole.end, body.len());
            let headers: Vec<_> = records[0].headers.iter().collect();
            assert_eq!(
                headers,
                [(&b"h"[..], Some(&b"v"[..])), (&b"null"[..], None)]
            );
            let mut facts = Vec::new();
            let mut opener = Opener::new();
            check_records(&built.header, &built.body, &mut opener, 4096, |record| {
                facts.push((record.timestamp_delta, record.has_key));
            })
            .unwrap();
            assert_eq!(facts, [(0, true), (-100, false), (100, true)]);
        }
    }

    #[test]
    fn a_bomb_is_stopped_at_the_limit() {
        for codec in CODECS.into_iter().skip(1) {
            let mut builder = BatchBuilder::new(codec);
            builder.push(0, None, Some(&vec![0; 1 << 20]), &[]);
            let bomb = builder.build().unwrap();
            let all = (1 << 20) + 16;
            assert!(
                decompress(&bomb.header, &bomb.body, all).is_ok(),
                "{codec:?}"
            );
            assert!(
                decompress(&bomb.header, &bomb.body, 1 << 19).is_err(),
                "{codec:?}"
            );
        }
    }

    #[test]
    fn lz4_frames_of_other_clients_are_read() {
        use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
        use std::io::Write as _;
        let plain = batch(Compression::None);
        let mut header = batch(Compression::Lz4).header;
        for (mode, size, checksum) in [
            (BlockMode::Linked, BlockSize::Max64KB, false),
            (BlockMode::Independent, BlockSize::Max4MB, true),
            (BlockMode::Linked, BlockSize::Max1MB, true),
        ] {
            let info = FrameInfo::new()
                .block_mode(mode)
                .block_size(size)
                .content_checksum(checksum)
                .block_checksums(checksum);
            let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
            encoder.write_all(&plain.body).unwrap();
            let body = encoder.finish().unwrap();
            header = header.with_computed_crc(&body);
            assert_eq!(decompress(&header, &body, 4096).unwrap(), &plain.body[..]);
        }
    }

    /// Found by fuzzing: legacy frames have blocks of 8 MiB, which were allocated for a body of ten
    /// bytes.
    #[test]
    fn legacy_lz4_frames_are_refused() {
        let block = lz4_flex::block::compress(&batch(Compression::None).body);
        let mut body = 0x184c_2102_u32.to_le_bytes().to_vec();
        body.extend((block.len() as u32).to_le_bytes());
        body.extend(block);
        let header = batch(Compression::Lz4).header.with_computed_crc(&body);
        assert!(decompress(&header, &body, 4096).is_err());
    }

    #[test]
    fn a_rebuilt_batch_keeps_its_times_and_its_last_sequence() {
        for codec in CODECS {
            let original = batch(codec);
            let body = decompress(&original.header, &original.body, 4096).unwrap();
            let kept = Records::new(&original.header, &body)
                .map(Result::unwrap)
                .skip(1)
                .map(|record| Kept {
                    timestamp_delta: record.timestamp_delta,
                    key: record.key,
                    value: Some(b"replaced"),
                    headers: record.headers,
                });
            let rebuilt = rebuild(&original.header, kept).unwrap().unwrap();
            assert_eq!(rebuilt.header.compression(), original.header.compression());
            assert_eq!(rebuilt.header.record_count(), 2);
            assert_eq!(rebuilt.header.base_sequence(), i32::MAX);
            let last = |header: &BatchHeader| {
                sequence_plus(header.base_sequence(), header.last_offset_delta())
            };
            assert_eq!(last(&rebuilt.header), last(&original.header));
            let body = decompress(&rebuilt.header, &rebuilt.body, 4096).unwrap();
            let deltas: Vec<i64> = Records::new(&rebuilt.header, &body)
                .map(|record| record.unwrap().timestamp_delta)
                .collect();
            assert_eq!(rebuilt.header.base_timestamp(), 900);
            assert_eq!(deltas, [0, 200]);
            assert_eq!(rebuilt.header.max_timestamp(), 1100);
        }
        assert!(
            rebuild(&batch(Compression::Zstd).header, [])
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn bodies_that_do_not_fit_their_header_are_refused() {
        let good = batch(Compression::None);
        let mut opener = Opener::new();
        let mut check = |header: &BatchHeader, body: &[u8]| {
            check_records(header, body, &mut opener, 4096, |_| ())
        };
        assert!(check(&good.header, &good.body).is_ok());
        for end in 0..good.body.len() {
            assert!(check(&good.header, &good.body[..end]).is_err(), "{end}");
        }
        let longer = [&good.body[..], &[0]].concat();
        let error = check(&good.header, &longer).unwrap_err();
        let expected = Error::Trailing { bytes: 1 };
        assert!(
            matches!(&error, Unreadable::Record { index: 3, error } if format!("{error}") == format!("{expected}")),
            "{error}"
        );

        let header_with_count = |count: i32| {
            let mut bytes = *good.header.as_bytes();
            bytes[57..61].copy_from_slice(&count.to_be_bytes());
            BatchHeader::read(&bytes).unwrap()
        };
        for count in [-1, 0, 1, 2, 4, i32::MAX] {
            assert!(
                check(&header_with_count(count), &good.body).is_err(),
                "{count}"
            );
        }
    }

    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!(sequence_plus(i32::MAX, 1), 0);
        assert_eq!(sequence_plus(i32::MAX - 1, 4), 2);
        assert_eq!(sequence_plus(5, 3), 8);
    }
}

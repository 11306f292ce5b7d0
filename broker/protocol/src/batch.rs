//! The header of a record batch (message format v2): 61 bytes, read and patched in place.
//!
//! | at | bytes | field |
//! | --- | --- | --- |
//! | 0 | 8 | base offset |
//! | 8 | 4 | batch length: bytes that follow this field |
//! | 12 | 4 | partition leader epoch |
//! | 16 | 1 | magic, 2 |
//! | 17 | 4 | CRC-32C of all that follows |
//! | 21 | 2 | attributes |
//! | 23 | 4 | last offset delta |
//! | 27 | 8 | base timestamp, ms |
//! | 35 | 8 | largest timestamp, ms |
//! | 43 | 8 | producer id |
//! | 51 | 2 | producer epoch |
//! | 53 | 4 | base sequence |
//! | 57 | 4 | number of records |
//!
//! Source: Kafka's "Message format" page, `DefaultRecordBatch`. All numbers are big-endian.

use bytes::Bytes;

use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

/// Bytes of a batch's header.
pub const HEADER_BYTES: usize = 61;
/// Bytes before the part that the batch length counts.
pub const LOG_OVERHEAD_BYTES: usize = 12;
/// Offset of the first byte that the CRC covers.
pub const CRC_COVERS_FROM: usize = 21;

const COMPRESSION_MASK: i16 = 0x07;
const TIMESTAMP_TYPE_BIT: i16 = 1 << 3;
const TRANSACTIONAL_BIT: i16 = 1 << 4;
const CONTROL_BIT: i16 = 1 << 5;
const DELETE_HORIZON_BIT: i16 = 1 << 6;

/// The 61 bytes of the header. The getters only read the fields and trust none of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader([u8; HEADER_BYTES]);

impl core::fmt::Debug for BatchHeader {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("BatchHeader")
            .field("base_offset", &self.base_offset())
            .field("records", &self.record_count())
            .field("bytes", &self.batch_bytes())
            .finish_non_exhaustive()
    }
}

impl BatchHeader {
    /// Reads the header at the front of `bytes`; `None` if there are fewer than 61.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk::<HEADER_BYTES>().copied().map(Self)
    }

    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; HEADER_BYTES] {
        &self.0
    }

    fn at<const N: usize>(&self, start: usize) -> [u8; N] {
        *self.0[start..]
            .first_chunk::<N>()
            .expect("fields lie within the 61 bytes")
    }

    fn put<const N: usize>(&mut self, start: usize, field: [u8; N]) {
        self.0[start..start + N].copy_from_slice(&field);
    }

    #[must_use]
    pub fn base_offset(&self) -> Offset {
        Offset(i64::from_be_bytes(self.at(0)))
    }

    /// Returns the size of the whole batch in bytes, as its length field claims; `None` if the
    /// claim is smaller than a header.
    #[must_use]
    pub fn batch_bytes(&self) -> Option<usize> {
        let length = usize::try_from(i32::from_be_bytes(self.at(8))).ok()?;
        let bytes = length.checked_add(LOG_OVERHEAD_BYTES)?;
        (bytes >= HEADER_BYTES).then_some(bytes)
    }

    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch(i32::from_be_bytes(self.at(12)))
    }

    #[must_use]
    pub const fn magic(&self) -> i8 {
        self.0[16] as i8
    }

    #[must_use]
    pub fn crc(&self) -> u32 {
        u32::from_be_bytes(self.at(17))
    }

    #[must_use]
    pub fn attributes(&self) -> i16 {
        i16::from_be_bytes(self.at(21))
    }

    #[must_use]
    pub fn last_offset_delta(&self) -> i32 {
        i32::from_be_bytes(self.at(23))
    }

    #[must_use]
    pub fn base_timestamp(&self) -> i64 {
        i64::from_be_bytes(self.at(27))
    }

    #[must_use]
    pub fn max_timestamp(&self) -> i64 {
        i64::from_be_bytes(self.at(35))
    }

    /// Returns the producer's id; `None` for a producer that is not idempotent.
    #[must_use]
    pub fn producer_id(&self) -> Option<ProducerId> {
        ProducerId::from_wire(i64::from_be_bytes(self.at(43)))
    }

    #[must_use]
    pub fn producer_epoch(&self) -> ProducerEpoch {
        ProducerEpoch(i16::from_be_bytes(self.at(51)))
    }

    #[must_use]
    pub fn base_sequence(&self) -> i32 {
        i32::from_be_bytes(self.at(53))
    }

    #[must_use]
    pub fn record_count(&self) -> i32 {
        i32::from_be_bytes(self.at(57))
    }

    /// Returns the codec's number: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd, 5 to 7 unassigned.
    #[must_use]
    pub fn compression(&self) -> i16 {
        self.attributes() & COMPRESSION_MASK
    }

    #[must_use]
    pub fn is_log_append_time(&self) -> bool {
        self.attributes() & TIMESTAMP_TYPE_BIT != 0
    }

    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes() & TRANSACTIONAL_BIT != 0
    }

    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes() & CONTROL_BIT != 0
    }

    #[must_use]
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes() & DELETE_HORIZON_BIT != 0
    }

    /// Returns the offset of the batch's last record.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        self.base_offset().plus(i64::from(self.last_offset_delta()))
    }

    /// Returns the offset after the batch's last record.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.last_offset().plus(1)
    }

    /// Sets the base offset, which the CRC does not cover.
    pub fn set_base_offset(&mut self, offset: Offset) {
        self.put(0, offset.0.to_be_bytes());
    }

    /// Sets the leader epoch, which the CRC does not cover.
    pub fn set_leader_epoch(&mut self, epoch: LeaderEpoch) {
        self.put(12, epoch.0.to_be_bytes());
    }

    /// Makes this a `LogAppendTime` batch of `now_ms` and recomputes the CRC over `body`.
    pub fn set_log_append_time(&mut self, now_ms: i64, body: &[u8]) {
        let attributes = self.attributes() & !DELETE_HORIZON_BIT;
        self.put(21, (attributes | TIMESTAMP_TYPE_BIT).to_be_bytes());
        self.put(35, now_ms.to_be_bytes());
        *self = self.with_computed_crc(body);
    }

    /// Makes this a `CreateTime` batch with that largest timestamp and recomputes the CRC over
    /// `body`.
    pub fn set_create_time(&mut self, max_timestamp: i64, body: &[u8]) {
        let attributes = self.attributes() & !(TIMESTAMP_TYPE_BIT | DELETE_HORIZON_BIT);
        self.put(21, attributes.to_be_bytes());
        self.put(35, max_timestamp.to_be_bytes());
        *self = self.with_computed_crc(body);
    }

    /// Replaces producer, epoch and base sequence and recomputes the CRC. Used to forward a batch
    /// under another producer's id.
    pub fn set_producer(
        &mut self,
        id: ProducerId,
        epoch: ProducerEpoch,
        base_sequence: i32,
        body: &[u8],
    ) {
        self.put(43, id.0.to_be_bytes());
        self.put(51, epoch.0.to_be_bytes());
        self.put(53, base_sequence.to_be_bytes());
        *self = self.with_computed_crc(body);
    }

    /// Makes this a batch of a transaction, or of none. The caller must recompute the CRC.
    pub fn set_transactional(&mut self, is_transactional: bool) {
        let others = self.attributes() & !TRANSACTIONAL_BIT;
        let bit = if is_transactional {
            TRANSACTIONAL_BIT
        } else {
            0
        };
        self.put(21, (others | bit).to_be_bytes());
    }

    /// Makes this a batch without a producer, and of no transaction, and recomputes the CRC over
    /// `body`.
    pub fn clear_producer(&mut self, body: &[u8]) {
        let attributes = self.attributes() & !TRANSACTIONAL_BIT;
        self.put(21, attributes.to_be_bytes());
        self.set_producer(ProducerId(-1), ProducerEpoch(-1), -1, body);
    }

    /// Clears the delete horizon, which compaction sets and producers do not send. The caller must
    /// recompute the CRC.
    pub fn clear_delete_horizon(&mut self) {
        let attributes = self.attributes() & !DELETE_HORIZON_BIT;
        self.put(21, attributes.to_be_bytes());
    }

    /// Makes this the header of the compacted batch. The caller must recompute the CRC.
    pub(crate) fn compacted(
        mut self,
        batch_length: i32,
        record_count: i32,
        base_timestamp: i64,
        max_timestamp: i64,
        has_delete_horizon: bool,
    ) -> Self {
        let mut attributes = self.attributes() & !DELETE_HORIZON_BIT;
        if has_delete_horizon {
            attributes |= DELETE_HORIZON_BIT;
        }
        if record_count == 0 {
            attributes &= !COMPRESSION_MASK;
        }
        self.put(8, batch_length.to_be_bytes());
        self.put(21, attributes.to_be_bytes());
        self.put(27, base_timestamp.to_be_bytes());
        self.put(35, max_timestamp.to_be_bytes());
        self.put(57, record_count.to_be_bytes());
        self
    }

    /// Makes this the header of the same records, compressed with codec number `codec`. The caller
    /// must recompute the CRC.
    pub(crate) fn set_compression(&mut self, batch_length: i32, codec: i16) {
        let attributes = self.attributes() & !COMPRESSION_MASK;
        self.put(8, batch_length.to_be_bytes());
        self.put(21, (attributes | codec).to_be_bytes());
    }

    /// Returns the header of an uncompressed control batch with the same offsets. The caller must
    /// recompute the CRC.
    pub(crate) fn as_control(mut self, batch_length: i32, record_count: i32) -> Self {
        let attributes = self.attributes() & !(COMPRESSION_MASK | DELETE_HORIZON_BIT);
        self.put(8, batch_length.to_be_bytes());
        self.put(21, (attributes | CONTROL_BIT).to_be_bytes());
        self.put(57, record_count.to_be_bytes());
        self
    }

    /// Returns the same header with the CRC over its fields and `body`.
    #[must_use]
    pub fn with_computed_crc(mut self, body: &[u8]) -> Self {
        let crc = self.computed_crc(body);
        self.put(17, crc.to_be_bytes());
        self
    }

    /// Computes the CRC-32C of the bytes that the header's CRC covers, with `body` as the bytes
    /// behind the header.
    #[must_use]
    pub fn computed_crc(&self, body: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&self.0[CRC_COVERS_FROM..]), body)
    }
}

/// A whole batch on its way into the log: the header, which may have been patched, and the bytes
/// behind it, which stay in the buffer that the connection read them into.
#[derive(Clone, Debug)]
pub struct Batch {
    pub header: BatchHeader,
    pub body: Bytes,
}

impl Batch {
    /// Splits one batch off the front of `bytes`. Returns `None` if `bytes` is shorter than the
    /// batch's length field claims.
    #[must_use]
    pub fn split_from(bytes: &mut Bytes) -> Option<Self> {
        let header = BatchHeader::read(bytes)?;
        let whole = header.batch_bytes()?;
        if bytes.len() < whole {
            return None;
        }
        let body = bytes.split_to(whole).slice(HEADER_BYTES..);
        Some(Self { header, body })
    }

    /// Returns the size of header and body in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        HEADER_BYTES + self.body.len()
    }
}

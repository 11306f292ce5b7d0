//! Record batches, valid and invalid ones.

use std::io::Read as _;

use crate::wire::Decoder;

/// Offset of the first byte that the CRC covers.
const CRC_COVERS_FROM: usize = 21;
const HEADER_BYTES: usize = 61;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    None = 0,
    Gzip = 1,
    Snappy = 2,
    Lz4 = 3,
    Zstd = 4,
}

/// Key and value of a record; either may be null.
pub type KeyAndValue = (Option<Vec<u8>>, Option<Vec<u8>>);

/// A record batch to be encoded. Its header may contradict its contents.
#[derive(Clone, Debug)]
pub struct Batch {
    pub magic: u8,
    pub codec: Codec,
    /// Attribute bits besides the codec's.
    pub attributes: i16,
    pub base_timestamp: i64,
    /// The header's largest timestamp; the first record's if `None`.
    pub max_timestamp: Option<i64>,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    /// The header's number of records; the true one if `None`.
    pub count: Option<i32>,
    pub last_offset_delta: Option<i32>,
    /// The bytes behind the header: records, or anything that a test wants.
    pub payload: Vec<u8>,
    /// The number of records in `payload`.
    pub records: i32,
}

impl Batch {
    /// Creates records without keys from `values`.
    pub fn of(values: &[Vec<u8>]) -> Self {
        let mut payload = Vec::new();
        for (delta, value) in values.iter().enumerate() {
            put_record(&mut payload, delta as i64, value);
        }
        Self {
            magic: 2,
            codec: Codec::None,
            attributes: 0,
            base_timestamp: now_ms(),
            max_timestamp: None,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            count: None,
            last_offset_delta: None,
            payload,
            records: values.len() as i32,
        }
    }

    /// Creates records with keys; those without a value are tombstones.
    pub fn keyed(records: &[(Vec<u8>, Option<Vec<u8>>)]) -> Self {
        let some = |(key, value): &(Vec<u8>, Option<Vec<u8>>)| (Some(key.clone()), value.clone());
        Self::some_keyed(&records.iter().map(some).collect::<Vec<_>>())
    }

    /// Creates records of which some have keys.
    pub fn some_keyed(records: &[KeyAndValue]) -> Self {
        let mut payload = Vec::new();
        for (delta, (key, value)) in records.iter().enumerate() {
            put_keyed(&mut payload, delta as i64, key.as_deref(), value.as_deref());
        }
        Self {
            payload,
            records: records.len() as i32,
            ..Self::of(&[])
        }
    }

    /// Creates records without keys, at these (timestamp, offset) deltas from the first.
    pub fn spread(records: &[(i64, i64)]) -> Self {
        let mut payload = Vec::new();
        for (time, offset) in records {
            put_spread(&mut payload, *time, *offset, None, Some(b"value"));
        }
        Self {
            payload,
            records: records.len() as i32,
            ..Self::of(&[])
        }
    }

    /// Puts the same records in a Zstandard frame of one raw block (RFC 8878, 3.1.1.2).
    #[must_use]
    pub fn framed(self) -> Self {
        let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 11 << 3];
        let header = (self.payload.len() as u32) << 3 | 1;
        frame.extend(&header.to_le_bytes()[..3]);
        frame.extend(&self.payload);
        self.compressed(Codec::Zstd, frame)
    }

    /// Creates `count` records of `bytes` each.
    pub fn filled(count: usize, bytes: usize) -> Self {
        let values: Vec<Vec<u8>> = (0..count).map(|n| noise(n as u64, bytes)).collect();
        Self::of(&values)
    }

    /// Replaces the records by compressed bytes.
    #[must_use]
    pub fn compressed(mut self, codec: Codec, payload: Vec<u8>) -> Self {
        self.codec = codec;
        self.payload = payload;
        self
    }

    /// Encodes the batch with a correct CRC.
    pub fn encode(&self) -> Vec<u8> {
        let count = self.count.unwrap_or(self.records);
        let delta = self.last_offset_delta.unwrap_or(self.records - 1);
        let mut b = Vec::with_capacity(HEADER_BYTES + self.payload.len());
        b.extend(0_i64.to_be_bytes());
        b.extend(((HEADER_BYTES - 12 + self.payload.len()) as i32).to_be_bytes());
        b.extend((-1_i32).to_be_bytes());
        b.push(self.magic);
        b.extend([0; 4]);
        b.extend((self.codec as i16 | self.attributes).to_be_bytes());
        b.extend(delta.to_be_bytes());
        b.extend(self.base_timestamp.to_be_bytes());
        let largest = self.max_timestamp.unwrap_or(self.base_timestamp);
        b.extend(largest.to_be_bytes());
        b.extend(self.producer_id.to_be_bytes());
        b.extend(self.producer_epoch.to_be_bytes());
        b.extend(self.base_sequence.to_be_bytes());
        b.extend(count.to_be_bytes());
        b.extend(&self.payload);
        seal(&mut b);
        b
    }
}

/// Writes the correct CRC into an encoded batch.
pub fn seal(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[CRC_COVERS_FROM..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

fn put_record(out: &mut Vec<u8>, delta: i64, value: &[u8]) {
    put_keyed(out, delta, None, Some(value));
}

fn put_keyed(out: &mut Vec<u8>, delta: i64, key: Option<&[u8]>, value: Option<&[u8]>) {
    put_spread(out, 0, delta, key, value);
}

fn put_spread(out: &mut Vec<u8>, time: i64, delta: i64, key: Option<&[u8]>, value: Option<&[u8]>) {
    let mut body = vec![0];
    put_varint(&mut body, time);
    put_varint(&mut body, delta);
    for bytes in [key, value] {
        put_varint(&mut body, bytes.map_or(-1, |bytes| bytes.len() as i64));
        body.extend(bytes.unwrap_or_default());
    }
    put_varint(&mut body, 0);
    put_varint(out, body.len() as i64);
    out.extend(body);
}

fn put_varint(out: &mut Vec<u8>, n: i64) {
    let mut rest = ((n << 1) ^ (n >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Returns incompressible bytes, the same for the same seed.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..bytes).map(|_| next()).collect()
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("the clock is set").as_millis() as i64
}

/// A record that was read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub offset: i64,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

/// Returns the whole batches but for control batches, such as the ends of transactions, which
/// consumers do not show.
pub fn without_control(mut bytes: &[u8]) -> Vec<u8> {
    const CONTROL_BIT: i16 = 1 << 5;
    let mut shown = Vec::new();
    while bytes.len() > HEADER_BYTES {
        let length = 12 + Decoder(&bytes[8..]).i32() as usize;
        let Some(batch) = bytes.get(..length) else {
            break;
        };
        bytes = &bytes[length..];
        if Decoder(&batch[21..]).i16() & CONTROL_BIT == 0 {
            shown.extend(batch);
        }
    }
    shown
}

/// Returns the records of batches that are uncompressed or lz4, after checking each batch's CRC.
/// Ignores a batch that is cut off at the end, as a fetch may return it.
pub fn records(mut bytes: &[u8]) -> Vec<Record> {
    let mut found = Vec::new();
    while bytes.len() > HEADER_BYTES {
        let length = 12 + Decoder(&bytes[8..]).i32() as usize;
        let Some(batch) = bytes.get(..length) else {
            break;
        };
        bytes = &bytes[length..];
        let crc = Decoder(&batch[17..]).i32() as u32;
        assert_eq!(
            crc,
            crc32c::crc32c(&batch[CRC_COVERS_FROM..]),
            "the batch's CRC"
        );
        let base = Decoder(batch).i64();
        let body = match Decoder(&batch[21..]).i16() & 7 {
            0 => batch[HEADER_BYTES..].to_vec(),
            codec => {
                assert_eq!(
                    codec,
                    Codec::Lz4 as i16,
                    "a batch without compression, or lz4"
                );
                let mut decoder = lz4_flex::frame::FrameDecoder::new(&batch[HEADER_BYTES..]);
                let mut body = Vec::new();
                decoder.read_to_end(&mut body).expect("an lz4 frame");
                body
            }
        };
        let mut d = Decoder(&body);
        for _ in 0..Decoder(&batch[57..]).i32() {
            found.push(take_record(&mut d, base));
        }
    }
    found
}

/// Returns the offset after the last whole batch; `None` if there is none.
pub fn next_offset(mut bytes: &[u8]) -> Option<i64> {
    let mut next = None;
    while bytes.len() >= HEADER_BYTES {
        let length = 12 + Decoder(&bytes[8..]).i32() as usize;
        if bytes.len() < length {
            break;
        }
        next = Some(Decoder(bytes).i64() + i64::from(Decoder(&bytes[23..]).i32()) + 1);
        bytes = &bytes[length..];
    }
    next
}

fn take_record(d: &mut Decoder<'_>, base: i64) -> Record {
    take_varint(d);
    d.take(1);
    take_varint(d);
    let offset = base + take_varint(d);
    let key = take_bytes(d);
    let value = take_bytes(d);
    for _ in 0..take_varint(d) {
        take_bytes(d);
        take_bytes(d);
    }
    Record { offset, key, value }
}

fn take_bytes(d: &mut Decoder<'_>) -> Vec<u8> {
    usize::try_from(take_varint(d)).map_or_else(|_| Vec::new(), |length| d.take(length).to_vec())
}

fn take_varint(d: &mut Decoder<'_>) -> i64 {
    let mut n = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = d.take(1)[0];
        n |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    (n >> 1) as i64 ^ -((n & 1) as i64)
}

/// Builds a Zstandard frame of blocks that each repeat a zero 128 KiB times (RFC 8878, 3.1.1.2.2).
pub fn zstd_bomb(bytes: usize) -> Vec<u8> {
    const BLOCK_BYTES: usize = 128 << 10;
    // Magic, a descriptor without content size and checksum, a window of 2 MiB.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 11 << 3];
    let blocks = bytes / BLOCK_BYTES;
    for block in 0..blocks {
        let is_last = u32::from(block + 1 == blocks);
        let header = (BLOCK_BYTES as u32) << 3 | 1 << 1 | is_last;
        frame.extend(&header.to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}

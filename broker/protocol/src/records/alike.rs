//! Builds a compressed batch of records whose keys begin with the same bytes, without a search for
//! what repeats: each key's beginning refers to that of the record before. That takes a tenth of
//! the time of a compressor, and is what a compressor would find in keys and values of few bytes.
//!
//! The body is an LZ4 frame of one block, as the frame and block formats of LZ4 have it.

use bytes::BufMut as _;

use super::build::{Header, put_front, put_nullable};
use super::codec::Compression;
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::wire::{Write as _, varint_bytes};

/// Magic, flags (version 1, independent blocks, no checksums), blocks of up to 256 KiB, and the
/// checksum of these two bytes.
const FRAME: [u8; 7] = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x50, 0xfb];
const BLOCK_BYTES_MAX: usize = 256 << 10;

/// Bytes that a block takes memory for at first: those of a hundred records, about.
const BLOCK_BYTES_FIRST: usize = 4 << 10;

/// A reference has at least this length, and at most this distance.
const MATCH_BYTES_MIN: usize = 4;
const DISTANCE_MAX: usize = u16::MAX as usize;
/// A block ends in this many bytes that are no reference, and no reference begins in its last
/// twelve. A record is one reference, to a prefix of at least `PREFIX_BYTES_MIN`, and what follows.
const LAST_LITERALS: usize = 5;
const PREFIX_BYTES_MIN: usize = 12;

const _: () = assert!(PREFIX_BYTES_MIN >= MATCH_BYTES_MIN + LAST_LITERALS);

/// Collects records; see the module.
#[derive(Debug)]
pub struct AlikeBuilder {
    timestamp_ms: i64,
    prefix_bytes: usize,
    /// The key under construction; the prefix comes first.
    key: Vec<u8>,
    last_key: Vec<u8>,
    /// Where the last key begins in the uncompressed records.
    last_key_at: Option<usize>,
    /// Bytes of the uncompressed records.
    bytes: usize,
    /// The block so far, and the bytes that belong in it next, as they are.
    block: Vec<u8>,
    literals: Vec<u8>,
    count: i32,
}

impl AlikeBuilder {
    /// Begins a batch of records with this timestamp, whose keys begin with `prefix`.
    #[must_use]
    pub fn new(timestamp_ms: i64, prefix: &[u8]) -> Self {
        Self {
            timestamp_ms,
            prefix_bytes: prefix.len(),
            key: prefix.to_vec(),
            last_key: Vec::new(),
            last_key_at: None,
            bytes: 0,
            block: Vec::with_capacity(BLOCK_BYTES_FIRST),
            literals: Vec::new(),
            count: 0,
        }
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a record; `rest` is its key after the prefix. Returns false, and adds nothing, if the
    /// batch is full.
    pub fn push(&mut self, rest: &[u8], value: Option<&[u8]>) -> bool {
        self.key.truncate(self.prefix_bytes);
        self.key.extend_from_slice(rest);
        // A number takes 5 bytes at most, and there are six.
        let bytes_max = self.key.len() + value.map_or(0, <[u8]>::len) + 6 * 5;
        if self.bytes + bytes_max > BLOCK_BYTES_MAX {
            return false;
        }
        let before = self.literals.len();
        let nulls = value.map_or(varint_bytes(-1), |value| {
            varint_bytes(value.len() as i32) + value.len()
        });
        let key_bytes = self.key.len();
        let after_front = varint_bytes(key_bytes as i32) + key_bytes + nulls + varint_bytes(0);
        put_front(&mut self.literals, 0, 0, self.count, after_front);
        self.literals.put_varint(key_bytes as i32);
        let key_at = self.bytes + self.literals.len() - before;
        let tail = nulls + varint_bytes(0);
        let referred = self.referred(key_at, tail);
        if referred > 0 {
            let distance = key_at - self.last_key_at.unwrap_or_default();
            self.refer(referred, distance as u16);
        }
        let unlike = self.key.get(referred..).unwrap_or_default();
        self.literals.extend_from_slice(unlike);
        put_nullable(&mut self.literals, value);
        self.literals.put_varint(0);
        self.bytes = key_at + key_bytes + tail;
        self.last_key_at = Some(key_at);
        std::mem::swap(&mut self.key, &mut self.last_key);
        self.key.clear();
        let prefix = self.last_key.get(..self.prefix_bytes).unwrap_or_default();
        self.key.extend_from_slice(prefix);
        self.count += 1;
        true
    }

    /// Returns how many bytes of the key a reference to the last key replaces. `tail` bytes of the
    /// record come after the key.
    fn referred<'a>(&'a self, key_at: usize, tail: usize) -> usize {
        let Some(last_at) = self.last_key_at else {
            return 0;
        };
        // Both begin with the prefix.
        let rest = |key: &'a [u8]| key.get(self.prefix_bytes..).unwrap_or_default();
        let pairs = rest(&self.key).iter().zip(rest(&self.last_key));
        let alike = self.prefix_bytes + pairs.take_while(|(one, other)| one == other).count();
        let literals = (self.key.len() - alike + tail).max(LAST_LITERALS);
        let referred = (self.key.len() + tail - literals).min(alike);
        if key_at - last_at > DISTANCE_MAX || referred < MATCH_BYTES_MIN {
            return 0;
        }
        referred
    }

    /// Ends the literals with a reference.
    fn refer(&mut self, length: usize, distance: u16) {
        let length = length - MATCH_BYTES_MIN;
        self.put_literals(length.min(15));
        self.block.put_u16_le(distance);
        if length >= 15 {
            put_length(&mut self.block, length - 15);
        }
    }

    /// Writes a token and the literals.
    fn put_literals(&mut self, of_reference: usize) {
        let count = self.literals.len();
        self.block.push((count.min(15) << 4 | of_reference) as u8);
        if count >= 15 {
            put_length(&mut self.block, count - 15);
        }
        self.block.extend_from_slice(&self.literals);
        self.literals.clear();
    }

    /// Builds the batch.
    ///
    /// # Errors
    /// There are no records.
    pub fn build(mut self) -> Result<Batch> {
        if self.is_empty() {
            return Err(Error::Invalid {
                what: "an empty batch",
            });
        }
        self.put_literals(0);
        let mut body = Vec::with_capacity(FRAME.len() + self.block.len() + 8);
        body.extend_from_slice(&FRAME);
        body.put_u32_le(self.block.len() as u32);
        body.extend_from_slice(&self.block);
        // No further block.
        body.put_u32_le(0);
        let header = Header {
            attributes: Compression::Lz4 as i16,
            offsets: self.count,
            timestamps: (self.timestamp_ms, self.timestamp_ms),
            producer: None,
            records: self.count,
        };
        header.with(body)
    }
}

/// Appends what a length has above 15.
fn put_length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 255 {
        out.push(255);
        length -= 255;
    }
    out.push(length as u8);
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::super::{Records, decompress};
    use super::*;

    type Pairs = Vec<(Vec<u8>, Option<Vec<u8>>)>;

    const PREFIX: &[u8; PREFIX_BYTES_MIN] = b"the prefix: ";

    fn built(records: &Pairs) -> Batch {
        let mut builder = AlikeBuilder::new(1_795_311_182_000, PREFIX);
        for (rest, value) in records {
            assert!(builder.push(rest, value.as_deref()));
        }
        builder.build().unwrap()
    }

    fn check(records: &Pairs) {
        let batch = built(records);
        let header = &batch.header;
        assert_eq!(header.crc(), header.computed_crc(&batch.body));
        assert_eq!(header.record_count() as usize, records.len());
        let body = decompress(header, &batch.body, 1 << 20).unwrap();
        // As another reader of LZ4 has it.
        let mut other = Vec::new();
        let mut decoder = lz4_flex::frame::FrameDecoder::new(&batch.body[..]);
        decoder.read_to_end(&mut other).unwrap();
        assert_eq!(*body, *other);
        let read: Pairs = Records::new(header, &body)
            .map(|record| {
                let record = record.unwrap();
                let rest = record.key.unwrap().strip_prefix(PREFIX).unwrap();
                (rest.to_vec(), record.value.map(<[u8]>::to_vec))
            })
            .collect();
        assert_eq!(read, *records);
    }

    #[test]
    fn records_of_every_length_are_read_as_they_were_pushed() {
        let lengths = [
            0, 1, 2, 3, 4, 5, 14, 15, 16, 30, 254, 255, 270, 271, 525, 1024,
        ];
        for key in lengths {
            for value in lengths {
                let some = |number: u8| (vec![number / 2; key], Some(vec![number; value]));
                check(&(0..5).map(some).collect());
                check(&vec![(vec![7; key], Some(vec![8; value])); 3]);
                check(&vec![(vec![7; key], None); value.clamp(1, 200)]);
            }
        }
    }

    #[test]
    fn what_is_too_far_away_is_written_out() {
        for value in [65_000, 65_480, 65_500, 65_536] {
            check(&vec![(b"key".to_vec(), Some(vec![1; value])); 3]);
        }
    }

    #[test]
    fn a_batch_is_full_before_its_block_is_too_large() {
        let mut builder = AlikeBuilder::new(0, PREFIX);
        let mut pairs = Pairs::new();
        while builder.push(&[1; 100], Some(&[2; 900])) {
            pairs.push((vec![1; 100], Some(vec![2; 900])));
        }
        assert!(pairs.len() > 240, "{}", pairs.len());
        check(&pairs);
        let batch = builder.build().unwrap();
        assert_eq!(batch.header.record_count() as usize, pairs.len());
    }

    #[test]
    fn what_is_alike_takes_few_bytes() {
        let batch = built(&vec![(b"key".to_vec(), Some(b"value".to_vec())); 100]);
        assert!(batch.body.len() < 100 * 20, "{}", batch.body.len());
    }
}

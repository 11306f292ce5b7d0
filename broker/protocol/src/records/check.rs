//! Walks the records of a body while it is decompressed, without keeping any of it.
//!
//! Most records lie within one piece and are walked there. A record that spans pieces, because
//! pieces end anywhere or because it is larger than any, is read field by field.

use core::ops::ControlFlow;

use super::open::{Opener, Pieces};
use crate::batch::BatchHeader;
use crate::error::{Error, Result};
use crate::limits::RECORD_HEADERS_MAX;

/// The fields of a record in front of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordFacts {
    pub timestamp_delta: i64,
    pub offset_delta: i32,
    pub has_key: bool,
}

/// Reason why records cannot be read.
#[derive(Debug)]
pub enum Unreadable {
    /// The body cannot be decompressed.
    Body(Error),
    /// The body decompresses to more than `bytes_max`, or to more than a codec may need at once.
    TooLarge { bytes_max: usize },
    /// The record with that index in the batch is malformed. If bytes are left over behind all
    /// records, the index is the batch's number of records.
    Record { index: i32, error: Error },
}

impl core::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Body(error) => write!(f, "the records cannot be decompressed: {error}"),
            Self::TooLarge { bytes_max } => {
                write!(f, "the records decompress to more than {bytes_max} bytes")
            }
            Self::Record { index, error } => write!(f, "record {index}: {error}"),
        }
    }
}

impl From<Unreadable> for Error {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::Body(error) | Unreadable::Record { error, .. } => error,
            Unreadable::TooLarge { bytes_max } => Self::TooMany {
                what: "decompressed bytes",
                limit: bytes_max,
            },
        }
    }
}

impl Unreadable {
    fn of_body(error: Error) -> Self {
        match error {
            Error::TooMany { limit, .. } => Self::TooLarge { bytes_max: limit },
            error => Self::Body(error),
        }
    }
}

/// Calls `visit` with each record of a body until it breaks.
///
/// # Errors
/// The first malformed part: the body, a record, or the number of records. Records after a break of
/// `visit` are not checked.
pub fn each_record(
    header: &BatchHeader,
    body: &[u8],
    opener: &mut Opener,
    bytes_max: usize,
    mut visit: impl FnMut(RecordFacts) -> ControlFlow<()>,
) -> Result<(), Unreadable> {
    let pieces = opener
        .open(header, body, bytes_max)
        .map_err(Unreadable::of_body)?;
    let mut cursor = Cursor {
        pieces,
        at: 0,
        passed: 0,
    };
    for index in 0..header.record_count() {
        let facts = match cursor.whole_record() {
            Some(facts) => facts,
            None => cursor.record().map_err(|wrong| wrong.of(index))?,
        };
        if visit(facts).is_break() {
            return Ok(());
        }
    }
    cursor
        .finish()
        .map_err(|wrong| wrong.of(header.record_count()))
}

/// Checks a body against its header: the number of records, offset deltas from 0 upwards without a
/// gap, all lengths exact to the byte. Calls `visit` with each record.
///
/// # Errors
/// The first malformed part.
pub fn check_records(
    header: &BatchHeader,
    body: &[u8],
    opener: &mut Opener,
    bytes_max: usize,
    mut visit: impl FnMut(RecordFacts),
) -> Result<(), Unreadable> {
    let mut next = 0;
    let mut has_gap = false;
    each_record(header, body, opener, bytes_max, |facts| {
        has_gap = facts.offset_delta != next;
        if has_gap {
            return ControlFlow::Break(());
        }
        next += 1;
        visit(facts);
        ControlFlow::Continue(())
    })?;
    if has_gap || next == 0 {
        let what = if has_gap {
            "the offset delta of a record"
        } else {
            "the number of records"
        };
        return Err(Unreadable::Record {
            index: next,
            error: Error::Invalid { what },
        });
    }
    Ok(())
}

/// Reason why a [`Cursor`] stopped.
enum Wrong {
    Body(Error),
    Record(Error),
}

impl Wrong {
    fn of(self, index: i32) -> Unreadable {
        match self {
            Self::Body(error) => Unreadable::of_body(error),
            Self::Record(error) => Unreadable::Record { index, error },
        }
    }
}

impl From<Error> for Wrong {
    fn from(error: Error) -> Self {
        Self::Record(error)
    }
}

/// A position in the decompressed body.
struct Cursor<'a> {
    pieces: Pieces<'a>,
    /// Position within the current piece.
    at: usize,
    /// Bytes of the pieces before the current one.
    passed: u64,
}

impl Cursor<'_> {
    /// Returns the record at this position, if all of it lies in the current piece and is
    /// well-formed.
    #[inline]
    fn whole_record(&mut self) -> Option<RecordFacts> {
        let piece = self.pieces.piece();
        let mut at = self.at;
        let length = usize::try_from(varint(piece, &mut at)?).ok()?;
        let end = at.checked_add(length)?;
        // All reads below stay within the record, so that a record cannot borrow from the next.
        let record = piece.get(..end)?;
        at += 1;
        let timestamp_delta = varlong(record, &mut at)?;
        let offset_delta = varint(record, &mut at)?;
        let has_key = skip_nullable(record, &mut at)?;
        skip_nullable(record, &mut at)?;
        let headers = usize::try_from(varint(record, &mut at)?).ok()?;
        if headers > RECORD_HEADERS_MAX {
            return None;
        }
        for _ in 0..headers {
            if !skip_nullable(record, &mut at)? {
                return None;
            }
            skip_nullable(record, &mut at)?;
        }
        if at != end {
            return None;
        }
        self.at = end;
        Some(RecordFacts {
            timestamp_delta,
            offset_delta,
            has_key,
        })
    }

    /// Reads the record at this position, even if it spans pieces.
    #[cold]
    fn record(&mut self) -> Result<RecordFacts, Wrong> {
        let length = self.varint(u64::MAX)?;
        let length = u64::try_from(length).map_err(|_| Error::Negative { what: "a record" })?;
        let end = self.position() + length;
        self.skip(1, end, "a record")?;
        let timestamp_delta = self.varlong(end)?;
        let offset_delta = self.varint(end)?;
        let has_key = self.skip_nullable(end, "a record's key")?;
        self.skip_nullable(end, "a record's value")?;
        let headers = self.varint(end)?;
        let headers = usize::try_from(headers).map_err(|_| Error::Negative { what: "headers" })?;
        if headers > RECORD_HEADERS_MAX {
            return Err(Wrong::Record(Error::TooMany {
                what: "headers",
                limit: RECORD_HEADERS_MAX,
            }));
        }
        for _ in 0..headers {
            const KEY: &str = "a header's key";
            if !self.skip_nullable(end, KEY)? {
                return Err(Wrong::Record(Error::Negative { what: KEY }));
            }
            self.skip_nullable(end, "a header's value")?;
        }
        match end - self.position() {
            0 => Ok(RecordFacts {
                timestamp_delta,
                offset_delta,
                has_key,
            }),
            left => Err(Wrong::Record(Error::Trailing {
                bytes: usize::try_from(left).unwrap_or(usize::MAX),
            })),
        }
    }

    /// Checks that nothing is left over and that the codec's own end is right.
    fn finish(&mut self) -> Result<(), Wrong> {
        let mut bytes = self.pieces.piece().len() - self.at;
        if bytes == 0 && self.refill()? {
            bytes = self.pieces.piece().len();
        }
        match bytes {
            0 => Ok(()),
            bytes => Err(Wrong::Record(Error::Trailing { bytes })),
        }
    }

    fn position(&self) -> u64 {
        self.passed + self.at as u64
    }

    fn refill(&mut self) -> Result<bool, Wrong> {
        self.passed += self.pieces.piece().len() as u64;
        self.at = 0;
        self.pieces.advance().map_err(Wrong::Body)
    }

    /// Reads one byte of a field that ends at `end`.
    fn byte(&mut self, end: u64) -> Result<u8, Wrong> {
        const WHAT: &str = "a number";
        if self.position() >= end {
            return Err(Wrong::Record(Error::Truncated { what: WHAT }));
        }
        loop {
            if let Some(byte) = self.pieces.piece().get(self.at) {
                self.at += 1;
                return Ok(*byte);
            }
            if !self.refill()? {
                return Err(Wrong::Record(Error::Truncated { what: WHAT }));
            }
        }
    }

    fn skip(&mut self, bytes: u64, end: u64, what: &'static str) -> Result<(), Wrong> {
        if bytes > end - self.position() {
            return Err(Wrong::Record(Error::Truncated { what }));
        }
        let mut left = bytes;
        loop {
            let here = (self.pieces.piece().len() - self.at) as u64;
            if left <= here {
                self.at += left as usize;
                return Ok(());
            }
            left -= here;
            self.at += here as usize;
            if !self.refill()? {
                return Err(Wrong::Record(Error::Truncated { what }));
            }
        }
    }

    /// Skips length-prefixed bytes. Returns false if they are null.
    fn skip_nullable(&mut self, end: u64, what: &'static str) -> Result<bool, Wrong> {
        match self.varint(end)? {
            -1 => Ok(false),
            length => {
                let length = u64::try_from(length).map_err(|_| Error::Negative { what })?;
                self.skip(length, end, what)?;
                Ok(true)
            }
        }
    }

    fn varint(&mut self, end: u64) -> Result<i32, Wrong> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.byte(end)?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((value >> 1).cast_signed() ^ (value & 1).cast_signed().wrapping_neg());
            }
        }
        Err(Wrong::Record(Error::Varint))
    }

    fn varlong(&mut self, end: u64) -> Result<i64, Wrong> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let byte = self.byte(end)?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((value >> 1).cast_signed() ^ (value & 1).cast_signed().wrapping_neg());
            }
        }
        Err(Wrong::Record(Error::Varint))
    }
}

/// Skips length-prefixed bytes. Returns whether they are present, not null.
#[inline]
fn skip_nullable(bytes: &[u8], at: &mut usize) -> Option<bool> {
    let length = varint(bytes, at)?;
    if length == -1 {
        return Some(false);
    }
    *at = at.checked_add(usize::try_from(length).ok()?)?;
    (*at <= bytes.len()).then_some(true)
}

#[inline]
fn varint(bytes: &[u8], at: &mut usize) -> Option<i32> {
    let first = *bytes.get(*at)?;
    *at += 1;
    let mut value = u32::from(first);
    if first >= 0x80 {
        value &= 0x7f;
        let mut shift = 7;
        loop {
            let byte = *bytes.get(*at)?;
            *at += 1;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
            shift += 7;
            if shift >= 35 {
                return None;
            }
        }
    }
    Some((value >> 1).cast_signed() ^ (value & 1).cast_signed().wrapping_neg())
}

#[inline]
fn varlong(bytes: &[u8], at: &mut usize) -> Option<i64> {
    let mut value = 0;
    for shift in (0..70).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some((value >> 1).cast_signed() ^ (value & 1).cast_signed().wrapping_neg());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{BatchBuilder, Compression, Records, compress, decompress};

    const MANY: usize = 1 << 30;

    const CODECS: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }

        fn below(&mut self, bound: u64) -> u64 {
            (self.next() >> 8) % bound
        }

        /// Returns bytes of any length up to some pieces; mostly short, half of them compressible.
        fn bytes(&mut self) -> Vec<u8> {
            let bits = self.below(19);
            let length = self.below(1 << bits) as usize;
            let noise = self.below(2) == 0;
            let byte = |_| if noise { self.next() as u8 } else { b'a' };
            (0..length).map(byte).collect()
        }
    }

    fn random_batch(random: &mut Random) -> BatchBuilder {
        let mut builder = BatchBuilder::new(Compression::None);
        for _ in 0..=random.below(12) {
            let (key, value, text) = (random.bytes(), random.bytes(), random.bytes());
            let key = (random.below(3) > 0).then_some(&key[..]);
            let value = (random.below(3) > 0).then_some(&value[..]);
            let headers = [("h", Some(&text[..])), ("null", None)];
            let headers = &headers[..random.below(3) as usize];
            builder.push(random.below(1 << 40) as i64, key, value, headers);
        }
        builder
    }

    /// Returns the header of a body of these bytes, in this codec.
    fn coded(header: &BatchHeader, codec: Compression) -> BatchHeader {
        let mut bytes = *header.as_bytes();
        bytes[22] = codec as u8;
        BatchHeader::read(&bytes).unwrap()
    }

    /// The readers read all that the check accepts, with the same facts. They refuse all that the
    /// check refuses, except bodies whose offset deltas have a gap. Holds for every codec, wherever
    /// its pieces end, and for an opener that has been used for other bodies, broken ones among
    /// them.
    #[test]
    fn what_is_taken_can_be_read() {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut opener = Opener::new();
        let (mut refused, mut taken) = (0, 0);
        for round in 0..600 {
            let codec = CODECS[round % CODECS.len()];
            let good = random_batch(&mut random).build().unwrap();
            let mut body = good.body.to_vec();
            if round % 3 > 0 {
                let at = random.below(body.len() as u64) as usize;
                let near = at.min(random.below(40) as usize);
                body[near] = random.next() as u8;
            }
            if round % 7 == 0 {
                body.truncate(random.below(body.len() as u64 + 1) as usize);
            }
            let header = coded(&good.header, codec);
            let mut sent = compress(codec, body).unwrap();
            if round % 11 == 0 && !sent.is_empty() {
                let at = random.below(sent.len() as u64) as usize;
                sent[at] ^= 1 << random.below(8);
            }
            let mut found = Vec::new();
            let checked = check_records(&header, &sent, &mut opener, MANY, |record| {
                found.push((record.offset_delta, record.timestamp_delta, record.has_key));
            });
            let read = decompress(&header, &sent, MANY);
            let read = read.and_then(|body| {
                let records = Records::new(&header, &body);
                let facts = records.map(|record| {
                    let record = record?;
                    let has_key = record.key.is_some();
                    Ok((record.offset_delta, record.timestamp_delta, has_key))
                });
                facts.collect::<Result<Vec<_>>>()
            });
            let read = read.ok().filter(|records| {
                let deltas = records.iter().map(|(delta, ..)| *delta);
                deltas.eq(0..records.len() as i32)
            });
            assert_eq!(
                checked.is_ok().then_some(found),
                read,
                "round {round}, {codec:?}: {checked:?}"
            );
            *(if checked.is_ok() {
                &mut taken
            } else {
                &mut refused
            }) += 1;
        }
        assert!(
            refused > 100 && taken > 100,
            "{refused} refused, {taken} taken"
        );
    }

    #[test]
    fn small_bodies_are_judged_alike_by_check_and_reader() {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(
            5,
            Some(b"key"),
            Some(&[1; 200]),
            &[("h", Some(b"v")), ("n", None)],
        );
        builder.push(1 << 40, None, None, &[]);
        builder.push(-7, Some(b""), Some(b"x"), &[("", Some(b""))]);
        let good = builder.build().unwrap();
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut opener = Opener::new();
        let (mut refused, mut taken) = (0, 0);
        for _ in 0..50_000 {
            let mut body = good.body.to_vec();
            let at = random.below(body.len() as u64) as usize;
            body[at] = random.next() as u8;
            if random.below(5) == 0 {
                body.truncate(random.below(body.len() as u64 + 1) as usize);
            }
            let read: Result<Vec<_>> = Records::new(&good.header, &body).collect();
            let is_good = read.is_ok_and(|records| {
                let mut deltas = records.iter().map(|record| record.offset_delta);
                records.len() == 3 && deltas.by_ref().eq(0..3)
            });
            let checked = check_records(&good.header, &body, &mut opener, MANY, |_| ());
            assert_eq!(checked.is_ok(), is_good, "{body:?}");
            *(if is_good { &mut taken } else { &mut refused }) += 1;
        }
        assert!(
            refused > 1000 && taken > 1000,
            "{refused} refused, {taken} taken"
        );
    }

    #[test]
    fn the_record_at_fault_is_named() {
        let mut builder = BatchBuilder::new(Compression::Gzip);
        for _ in 0..3 {
            builder.push(1, None, Some(&[7; 10]), &[]);
        }
        let good = builder.build().unwrap();
        let body = decompress(&good.header, &good.body, 4096).unwrap();
        let check = |at: usize, byte: u8, expected: i32| {
            let mut body = body.to_vec();
            body[at] = byte;
            let sent = compress(Compression::Gzip, body).unwrap();
            let checked = check_records(&good.header, &sent, &mut Opener::new(), 4096, |_| ());
            let Err(Unreadable::Record { index, .. }) = checked else {
                panic!("byte {at} as {byte}: {checked:?}");
            };
            assert_eq!(index, expected, "byte {at} as {byte}");
        };
        let record = body.len() / 3;
        // The offset delta, the header count, the length.
        check(3, 2, 0);
        check(2 * record - 1, 1, 1);
        check(2 * record, 80, 2);
        check(3 * record - 1, 2, 2);
    }
}

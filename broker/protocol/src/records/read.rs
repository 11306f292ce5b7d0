//! Reading records, and checking that they are what the header says.

use core::ops::Range;

use crate::batch::BatchHeader;
use crate::error::{Error, Result};
use crate::limits::RECORD_HEADERS_MAX;
use crate::wire::Reader;

/// One record, borrowed from its batch.
#[derive(Clone, Debug)]
pub struct RecordView<'a> {
    pub offset_delta: i32,
    pub timestamp_delta: i64,
    pub attributes: i8,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Headers<'a>,
    /// Where the record lies in the body, its length in front included.
    pub whole: Range<usize>,
    /// From the key's length on.
    rest: &'a [u8],
}

impl<'a> RecordView<'a> {
    /// The record's bytes behind its offset delta: key, value and headers as they lie there.
    #[must_use]
    pub const fn after_offset_delta(&self) -> &'a [u8] {
        self.rest
    }
}

/// The headers of one record, checked to be well-formed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers<'a> {
    count: usize,
    entries: &'a [u8],
}

impl<'a> Headers<'a> {
    /// Headers from the bytes of their entries, as [`Headers::raw`] gives them.
    ///
    /// # Errors
    /// Where the entries are not `count` well-formed ones, to the byte.
    pub fn from_raw(count: usize, entries: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(entries);
        for _ in 0..count {
            skip_header(&mut reader)?;
        }
        reader.finish()?;
        Ok(Self { count, entries })
    }

    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// The entries as they lie in the record, without the count in front: for each, length and
    /// bytes of the key, length (-1 for null) and bytes of the value; lengths are zigzag varints.
    #[must_use]
    pub const fn raw(&self) -> &'a [u8] {
        self.entries
    }

    /// Appends the whole section as it lies in the record: the count, then the entries.
    pub fn write_section(&self, bytes: &mut Vec<u8>) {
        let mut count = (self.count as u32) << 1;
        while count >= 0x80 {
            bytes.push(count as u8 | 0x80);
            count >>= 7;
        }
        bytes.push(count as u8);
        bytes.extend_from_slice(self.entries);
    }

    /// Key and value of each header.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        let mut reader = Reader::new(self.entries);
        (0..self.count).map_while(move |_| {
            let key = nullable(&mut reader, "a header's key").ok()??;
            let value = nullable(&mut reader, "a header's value").ok()?;
            Some((key, value))
        })
    }
}

/// The records of one uncompressed body, in order. Ends after the first error.
///
/// The last thing that it checks, in place of a further record, is that nothing is left over.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    reader: Reader<'a>,
    body_bytes: usize,
    /// How many the header says there are still; `None` when done.
    left: Option<u32>,
}

impl<'a> Records<'a> {
    /// `body` is uncompressed: see [`super::decompress`].
    #[must_use]
    pub fn new(header: &BatchHeader, body: &'a [u8]) -> Self {
        let left = u32::try_from(header.record_count()).unwrap_or(0);
        Self {
            reader: Reader::new(body),
            body_bytes: body.len(),
            left: Some(left),
        }
    }

    fn read(&mut self) -> Result<RecordView<'a>> {
        let start = self.body_bytes - self.reader.len();
        let length = self.reader.varint()?;
        let length = usize::try_from(length).map_err(|_| Error::Negative { what: "a record" })?;
        let mut record = Reader::new(self.reader.take(length, "a record")?);
        let end = self.body_bytes - self.reader.len();
        let attributes = record.i8("a record")?;
        let timestamp_delta = record.varlong()?;
        let offset_delta = record.varint()?;
        let rest = record.rest();
        let key = nullable(&mut record, "a record's key")?;
        let value = nullable(&mut record, "a record's value")?;
        let headers = read_headers(&mut record)?;
        Ok(RecordView {
            offset_delta,
            timestamp_delta,
            attributes,
            key,
            value,
            headers,
            whole: start..end,
            rest,
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RecordView<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = match self.left? {
            0 => {
                self.left = None;
                return self.reader.finish().err().map(Err);
            }
            left => {
                self.left = Some(left - 1);
                self.read()
            }
        };
        if result.is_err() {
            self.left = None;
        }
        Some(result)
    }
}

fn nullable<'a>(reader: &mut Reader<'a>, what: &'static str) -> Result<Option<&'a [u8]>> {
    match reader.varint()? {
        -1 => Ok(None),
        length => {
            let length = usize::try_from(length).map_err(|_| Error::Negative { what })?;
            reader.take(length, what).map(Some)
        }
    }
}

fn skip_header(reader: &mut Reader<'_>) -> Result<()> {
    nullable(reader, "a header's key")?.ok_or(Error::Negative {
        what: "a header's key",
    })?;
    nullable(reader, "a header's value")?;
    Ok(())
}

/// Headers are the last part of a record, to its last byte.
fn read_headers<'a>(reader: &mut Reader<'a>) -> Result<Headers<'a>> {
    let count = reader.varint()?;
    let count = usize::try_from(count).map_err(|_| Error::Negative { what: "headers" })?;
    if count > RECORD_HEADERS_MAX {
        return Err(Error::TooMany {
            what: "headers",
            limit: RECORD_HEADERS_MAX,
        });
    }
    Headers::from_raw(count, reader.rest())
}

/// What a check of a body found out about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyFacts {
    /// The largest timestamp of any record, in ms.
    pub max_timestamp: i64,
    /// The smallest timestamp of any record, in ms.
    pub min_timestamp: i64,
    /// Index in the batch of the first record without a key.
    pub first_without_key: Option<i32>,
}

/// Checks an uncompressed body against its header: as many records as it says, offset deltas from 0
/// upwards without a gap, all lengths to the byte.
///
/// # Errors
/// The first thing that is wrong. The index of the record in the batch comes with it, or the count
/// where something is left over.
pub fn validate_uncompressed(
    header: &BatchHeader,
    body: &[u8],
) -> core::result::Result<BodyFacts, (i32, Error)> {
    match walk(header, body) {
        Some(facts) => Ok(facts),
        None => Err(explain(header, body)),
    }
}

/// The check itself, without a word about what is wrong: every record of every uncompressed batch
/// goes through here.
fn walk(header: &BatchHeader, body: &[u8]) -> Option<BodyFacts> {
    let base = header.base_timestamp();
    let count = header.record_count();
    if count <= 0 {
        return None;
    }
    let mut facts = BodyFacts {
        max_timestamp: i64::MIN,
        min_timestamp: i64::MAX,
        first_without_key: None,
    };
    let mut at = 0;
    for index in 0..count {
        let length = usize::try_from(varint(body, &mut at)?).ok()?;
        let end = at.checked_add(length)?;
        // All that follows reads within the record, so that a record cannot borrow from the next.
        let record = body.get(..end)?;
        at += 1;
        let timestamp = base.saturating_add(varlong(record, &mut at)?);
        facts.max_timestamp = facts.max_timestamp.max(timestamp);
        facts.min_timestamp = facts.min_timestamp.min(timestamp);
        if varint(record, &mut at)? != index {
            return None;
        }
        if !skip_nullable(record, &mut at)? && facts.first_without_key.is_none() {
            facts.first_without_key = Some(index);
        }
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
    }
    (at == body.len()).then_some(facts)
}

/// What [`walk`] found wrong: the record's index, and the error.
fn explain(header: &BatchHeader, body: &[u8]) -> (i32, Error) {
    let mut index = 0;
    for record in Records::new(header, body) {
        match record {
            Err(error) => return (index, error),
            Ok(record) if record.offset_delta != index => {
                return (
                    index,
                    Error::Invalid {
                        what: "the offset delta of a record",
                    },
                );
            }
            Ok(_) => index += 1,
        }
    }
    (
        index,
        Error::Invalid {
            what: "the number of records",
        },
    )
}

/// Passes over bytes with their length in front; whether they are not null.
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
    use crate::records::{BatchBuilder, Compression};

    /// The quick walk and the reader must agree on what is well-formed, whatever the bytes.
    #[test]
    fn the_walk_and_the_reader_agree() {
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
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let (mut refused, mut taken) = (0, 0);
        for _ in 0..50_000 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let mut body = good.body.to_vec();
            let at = (seed >> 8) as usize % body.len();
            body[at] = seed as u8;
            if seed.is_multiple_of(5) {
                body.truncate((seed >> 40) as usize % (body.len() + 1));
            }
            let read: Result<Vec<_>> = Records::new(&good.header, &body).collect();
            let is_good = read.is_ok_and(|records| {
                let mut deltas = records.iter().map(|record| record.offset_delta);
                records.len() == 3 && deltas.by_ref().eq(0..3)
            });
            assert_eq!(
                validate_uncompressed(&good.header, &body).is_ok(),
                is_good,
                "{body:?}"
            );
            *(if is_good { &mut taken } else { &mut refused }) += 1;
        }
        assert!(
            refused > 1000 && taken > 1000,
            "{refused} refused, {taken} taken"
        );
    }
}

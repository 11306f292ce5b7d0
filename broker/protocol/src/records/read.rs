//! Reads records and checks them against the batch's header.

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
    /// Range of the record in the body, its length field included.
    pub whole: Range<usize>,
    /// The record's bytes from the key's length on.
    rest: &'a [u8],
}

impl<'a> RecordView<'a> {
    /// Returns the record's bytes behind its offset delta: key, value and headers, as encoded.
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
    /// Returns headers from the bytes of their entries, as [`Headers::raw`] gives them.
    ///
    /// # Errors
    /// The bytes are not exactly `count` well-formed entries.
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

    /// Returns the encoded entries without the count in front: for each, length and bytes of the
    /// key, length (-1 for null) and bytes of the value; lengths are zigzag varints.
    #[must_use]
    pub const fn raw(&self) -> &'a [u8] {
        self.entries
    }

    /// Appends the whole section as encoded: the count, then the entries.
    pub fn write_section(&self, bytes: &mut Vec<u8>) {
        let mut count = (self.count as u32) << 1;
        while count >= 0x80 {
            bytes.push(count as u8 | 0x80);
            count >>= 7;
        }
        bytes.push(count as u8);
        bytes.extend_from_slice(self.entries);
    }

    /// Returns an iterator over the key and value of each header.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        let mut reader = Reader::new(self.entries);
        (0..self.count).map_while(move |_| {
            let key = nullable(&mut reader, "a header's key").ok()??;
            let value = nullable(&mut reader, "a header's value").ok()?;
            Some((key, value))
        })
    }
}

/// Iterator over the records of one uncompressed body, in order. Ends after the first error.
///
/// After the last record it checks that no bytes are left over.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    reader: Reader<'a>,
    body_bytes: usize,
    /// Records still to come, by the header's count; `None` when done.
    left: Option<u32>,
}

impl<'a> Records<'a> {
    /// Starts at the first record of `body`, which must be uncompressed: see [`super::decompress`].
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

/// Reads the headers, the last part of a record, up to the record's last byte.
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

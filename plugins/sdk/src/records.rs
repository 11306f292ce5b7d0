//! Records as views of the broker's flat bytes.
//!
//! **Invariant**: nothing here copies. The broker writes spans that lie within the blob; any other
//! span ends the instance by a panic and is never read.

pub(crate) const SPAN_BYTES: usize = 32;
const NULL: u32 = u32::MAX;

/// The fields of a record. One that the plugin's `NEEDS` does not name is `None`.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    blob: &'a [u8],
    span: &'a [u8; SPAN_BYTES],
}

/// Returns the records of a call.
pub(crate) fn records<'a>(
    blob: &'a [u8],
    spans: &'a [u8],
) -> impl ExactSizeIterator<Item = Fields<'a>> {
    let (spans, _) = spans.as_chunks::<SPAN_BYTES>();
    spans.iter().map(move |span| Fields { blob, span })
}

impl<'a> Fields<'a> {
    /// Returns the key's bytes.
    pub fn key(&self) -> Option<&'a [u8]> {
        self.field(0)
    }

    /// Returns the value's bytes; `None` is a tombstone.
    pub fn value(&self) -> Option<&'a [u8]> {
        self.field(8)
    }

    /// Returns the value as text; `None` if it is null or not UTF-8.
    pub fn value_str(&self) -> Option<&'a str> {
        self.value()
            .and_then(|value| core::str::from_utf8(value).ok())
    }

    /// Returns the headers, in order.
    pub fn headers(&self) -> Headers<'a> {
        Headers::new(self.field(16).unwrap_or_default())
    }

    /// Returns the timestamp, relative to that of the batch.
    pub(crate) fn timestamp_delta_ms(&self) -> i64 {
        self.span
            .last_chunk()
            .map_or(0, |bytes| i64::from_le_bytes(*bytes))
    }

    fn field(&self, at: usize) -> Option<&'a [u8]> {
        let number = |at: usize| {
            let bytes = self.span[at..].first_chunk().expect("a span holds it");
            u32::from_le_bytes(*bytes)
        };
        let (offset, length) = (number(at), number(at + 4));
        (length != NULL).then(|| &self.blob[offset as usize..][..length as usize])
    }
}

/// A record's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The header's name: UTF-8 by Kafka's protocol, but not checked.
    pub name: &'a [u8],
    /// The header's value.
    pub value: Option<&'a [u8]>,
}

/// Reads headers in Kafka's own encoding; ends at the first malformed one.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    left: i32,
    bytes: &'a [u8],
}

impl<'a> Headers<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let mut headers = Self { left: 0, bytes };
        headers.left = headers.varint().unwrap_or(0);
        headers
    }

    fn varint(&mut self) -> Option<i32> {
        let (mut value, mut shift) = (0u32, 0);
        loop {
            let (&byte, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            value |= u32::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some((value >> 1) as i32 ^ -((value & 1) as i32));
            }
            shift += 7;
        }
    }

    fn take(&mut self) -> Option<Option<&'a [u8]>> {
        let Ok(length) = usize::try_from(self.varint()?) else {
            return Some(None);
        };
        let (field, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(Some(field))
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        if self.left <= 0 {
            return None;
        }
        self.left -= 1;
        let name = self.take()??;
        Some(Header {
            name,
            value: self.take()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_kafka_writes_them() {
        // Two headers: a=bc, d=null.
        let headers: alloc::vec::Vec<_> =
            Headers::new(&[4, 2, b'a', 4, b'b', b'c', 2, b'd', 1]).collect();
        assert_eq!(
            headers[0],
            Header {
                name: b"a",
                value: Some(b"bc")
            }
        );
        assert_eq!(
            headers[1],
            Header {
                name: b"d",
                value: None
            }
        );
        assert_eq!(headers.len(), 2);
    }

    #[test]
    fn headers_that_are_cut_off_end() {
        assert_eq!(Headers::new(&[4, 2, b'a', 4, b'b']).count(), 0);
        assert_eq!(Headers::new(&[]).count(), 0);
        assert_eq!(
            Headers::new(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80]).count(),
            0
        );
    }
}

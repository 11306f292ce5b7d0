//! Reading and writing Kafka's primitive types over plain slices, for the formats that the
//! generated messages do not cover: request headers, records, and the record schemas of the
//! internal topics.
//!
//! **Invariant:** nothing here allocates by a length that the bytes claim; strings and arrays
//! borrow.
//!
//! Source: Kafka's protocol guide, "Protocol Primitive Types".

use bytes::BufMut;

use crate::error::{Error, Result};
use crate::kafka::KafkaUuid;
use crate::limits::TAGGED_FIELDS_MAX;

/// Reads a slice from its front.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Returns the bytes that have not been read yet.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[must_use]
    pub const fn len(&self) -> usize {
        self.rest.len()
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Checks that all bytes were read.
    ///
    /// # Errors
    /// [`Error::Trailing`] if bytes are left.
    pub fn finish(&self) -> Result<()> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Error::Trailing {
                bytes: self.rest.len(),
            })
        }
    }

    pub fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8]> {
        let (front, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(Error::Truncated { what })?;
        self.rest = rest;
        Ok(front)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N]> {
        let (front, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(Error::Truncated { what })?;
        self.rest = rest;
        Ok(*front)
    }

    pub fn i8(&mut self, what: &'static str) -> Result<i8> {
        Ok(i8::from_be_bytes(self.array(what)?))
    }

    pub fn i16(&mut self, what: &'static str) -> Result<i16> {
        Ok(i16::from_be_bytes(self.array(what)?))
    }

    pub fn i32(&mut self, what: &'static str) -> Result<i32> {
        Ok(i32::from_be_bytes(self.array(what)?))
    }

    pub fn i64(&mut self, what: &'static str) -> Result<i64> {
        Ok(i64::from_be_bytes(self.array(what)?))
    }

    pub fn uuid(&mut self, what: &'static str) -> Result<KafkaUuid> {
        let high = u64::from_be_bytes(self.array(what)?);
        let low = u64::from_be_bytes(self.array(what)?);
        Ok(KafkaUuid::from_parts(high, low))
    }

    /// Reads up to five bytes, seven bits each, lowest first.
    #[inline]
    pub fn unsigned_varint(&mut self) -> Result<u32> {
        let mut value = 0_u32;
        for (index, &byte) in self.rest.iter().take(5).enumerate() {
            value |= u32::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.rest = self.rest.get(index + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        Err(if self.rest.len() < 5 {
            Error::Truncated { what: "a number" }
        } else {
            Error::Varint
        })
    }

    /// Reads a zigzag number of up to five bytes.
    #[inline]
    pub fn varint(&mut self) -> Result<i32> {
        let value = self.unsigned_varint()?;
        Ok((value >> 1).cast_signed() ^ (value & 1).cast_signed().wrapping_neg())
    }

    /// Reads a zigzag number of up to ten bytes.
    #[inline]
    pub fn varlong(&mut self) -> Result<i64> {
        let mut value = 0_u64;
        for (index, &byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.rest = self.rest.get(index + 1..).unwrap_or_default();
                return Ok((value >> 1).cast_signed() ^ (value & 1).cast_signed().wrapping_neg());
            }
        }
        Err(if self.rest.len() < 10 {
            Error::Truncated { what: "a number" }
        } else {
            Error::Varint
        })
    }

    fn text(bytes: &'a [u8], what: &'static str) -> Result<&'a str> {
        core::str::from_utf8(bytes).map_err(|_| Error::NotText { what })
    }

    /// Reads a string with a length of two bytes, -1 for null.
    pub fn nullable_string(&mut self, what: &'static str) -> Result<Option<&'a str>> {
        match usize::try_from(self.i16(what)?) {
            Ok(length) => Self::text(self.take(length, what)?, what).map(Some),
            Err(_) => Ok(None),
        }
    }

    pub fn string(&mut self, what: &'static str) -> Result<&'a str> {
        self.nullable_string(what)?.ok_or(Error::Negative { what })
    }

    /// Reads bytes with a length of four bytes, -1 for null.
    pub fn nullable_bytes(&mut self, what: &'static str) -> Result<Option<&'a [u8]>> {
        match usize::try_from(self.i32(what)?) {
            Ok(length) => self.take(length, what).map(Some),
            Err(_) => Ok(None),
        }
    }

    pub fn bytes(&mut self, what: &'static str) -> Result<&'a [u8]> {
        self.nullable_bytes(what)?.ok_or(Error::Negative { what })
    }

    /// Reads bytes with their length plus one as an unsigned varint, 0 for null.
    pub fn compact_nullable_bytes(&mut self, what: &'static str) -> Result<Option<&'a [u8]>> {
        match self.unsigned_varint()?.checked_sub(1) {
            Some(length) => self.take(length as usize, what).map(Some),
            None => Ok(None),
        }
    }

    pub fn compact_bytes(&mut self, what: &'static str) -> Result<&'a [u8]> {
        self.compact_nullable_bytes(what)?
            .ok_or(Error::Negative { what })
    }

    pub fn compact_nullable_string(&mut self, what: &'static str) -> Result<Option<&'a str>> {
        match self.compact_nullable_bytes(what)? {
            Some(bytes) => Self::text(bytes, what).map(Some),
            None => Ok(None),
        }
    }

    pub fn compact_string(&mut self, what: &'static str) -> Result<&'a str> {
        self.compact_nullable_string(what)?
            .ok_or(Error::Negative { what })
    }

    /// Reads a four-byte number of elements, at most `limit`. Null counts as none.
    pub fn count(&mut self, what: &'static str, limit: usize) -> Result<usize> {
        let count = usize::try_from(self.i32(what)?).unwrap_or(0);
        if count > limit {
            Err(Error::TooMany { what, limit })
        } else {
            Ok(count)
        }
    }

    /// Reads a compact number of elements, at most `limit`. Null counts as none.
    pub fn compact_count(&mut self, what: &'static str, limit: usize) -> Result<usize> {
        let count = self.unsigned_varint()?.saturating_sub(1) as usize;
        if count > limit {
            Err(Error::TooMany { what, limit })
        } else {
            Ok(count)
        }
    }

    /// Calls `each` with each tagged field; `each` must skip unknown ones.
    pub fn tagged_fields(
        &mut self,
        mut each: impl FnMut(u32, Reader<'a>) -> Result<()>,
    ) -> Result<()> {
        let count = self.unsigned_varint()? as usize;
        if count > TAGGED_FIELDS_MAX {
            return Err(Error::TooMany {
                what: "tagged fields",
                limit: TAGGED_FIELDS_MAX,
            });
        }
        let mut previous = None;
        for _ in 0..count {
            let tag = self.unsigned_varint()?;
            if previous.is_some_and(|previous| tag <= previous) {
                return Err(Error::Invalid {
                    what: "the order of tagged fields",
                });
            }
            previous = Some(tag);
            let length = self.unsigned_varint()? as usize;
            each(tag, Reader::new(self.take(length, "a tagged field")?))?;
        }
        Ok(())
    }

    /// Skips a section of tagged fields.
    pub fn skip_tagged_fields(&mut self) -> Result<()> {
        self.tagged_fields(|_, _| Ok(()))
    }
}

/// Appends Kafka's primitive types; [`BufMut`] has the fixed-size numbers.
pub trait Write: BufMut {
    fn put_uuid(&mut self, value: KafkaUuid) {
        self.put_slice(&value.to_bytes());
    }

    fn put_unsigned_varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.put_slice(&[value as u8 | 0x80]);
            value >>= 7;
        }
        self.put_slice(&[value as u8]);
    }

    fn put_varint(&mut self, value: i32) {
        self.put_unsigned_varint(((value << 1) ^ (value >> 31)).cast_unsigned());
    }

    fn put_varlong(&mut self, value: i64) {
        let mut value = ((value << 1) ^ (value >> 63)).cast_unsigned();
        while value >= 0x80 {
            self.put_slice(&[value as u8 | 0x80]);
            value >>= 7;
        }
        self.put_slice(&[value as u8]);
    }

    /// Appends a string with a two-byte length.
    ///
    /// # Errors
    /// [`Error::TooMany`] if the string is longer than two bytes of length can say.
    fn put_string(&mut self, text: &str) -> Result<()> {
        let length = i16::try_from(text.len()).map_err(|_| Error::TooMany {
            what: "bytes of text",
            limit: i16::MAX as usize,
        })?;
        self.put_i16(length);
        self.put_slice(text.as_bytes());
        Ok(())
    }

    /// Appends a nullable string with a two-byte length.
    ///
    /// # Errors
    /// As for [`Write::put_string`].
    fn put_nullable_string(&mut self, text: Option<&str>) -> Result<()> {
        if let Some(text) = text {
            return self.put_string(text);
        }
        self.put_i16(-1);
        Ok(())
    }

    /// Appends bytes with a four-byte length.
    ///
    /// # Errors
    /// [`Error::TooMany`] if there are more bytes than four bytes of length can say.
    fn put_sized_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let length = i32::try_from(bytes.len()).map_err(|_| Error::TooMany {
            what: "bytes",
            limit: i32::MAX as usize,
        })?;
        self.put_i32(length);
        self.put_slice(bytes);
        Ok(())
    }

    /// Appends the count of a compact array or the length of compact bytes: one more than the
    /// value.
    fn put_compact_count(&mut self, count: usize) {
        let count = u32::try_from(count).expect("nothing that is written has 4 G elements");
        self.put_unsigned_varint(count + 1);
    }

    fn put_compact_bytes(&mut self, bytes: &[u8]) {
        self.put_compact_count(bytes.len());
        self.put_slice(bytes);
    }

    fn put_compact_string(&mut self, text: &str) {
        self.put_compact_bytes(text.as_bytes());
    }

    fn put_compact_nullable_string(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.put_compact_string(text),
            None => self.put_unsigned_varint(0),
        }
    }
}

impl<T: BufMut + ?Sized> Write for T {}

/// Returns the bytes that [`Write::put_varlong`] appends.
#[must_use]
pub const fn varlong_bytes(value: i64) -> usize {
    let value = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Returns the bytes that [`Write::put_varint`] appends.
#[must_use]
pub const fn varint_bytes(value: i32) -> usize {
    varlong_bytes(value as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_have_the_length_that_is_foretold() {
        for shift in 0..64 {
            for value in [
                (1_i64 << shift).wrapping_sub(1),
                1 << shift,
                (1_i64 << shift).wrapping_neg(),
            ] {
                let mut bytes = Vec::new();
                bytes.put_varlong(value);
                assert_eq!(bytes.len(), varlong_bytes(value), "{value}");
                assert_eq!(Reader::new(&bytes).varlong().unwrap(), value);
                let mut bytes = Vec::new();
                bytes.put_varint(value as i32);
                assert_eq!(bytes.len(), varint_bytes(value as i32), "{value}");
                assert_eq!(Reader::new(&bytes).varint().unwrap(), value as i32);
            }
        }
    }

    #[test]
    fn an_endless_number_is_refused() {
        assert!(matches!(
            Reader::new(&[0xff; 11]).varlong(),
            Err(Error::Varint)
        ));
        assert!(matches!(
            Reader::new(&[0xff; 6]).varint(),
            Err(Error::Varint)
        ));
        assert!(matches!(
            Reader::new(&[0xff; 4]).varint(),
            Err(Error::Truncated { .. })
        ));
    }

    #[test]
    fn tagged_fields_are_bounded_and_in_order() {
        let mut many = Vec::new();
        many.put_unsigned_varint(TAGGED_FIELDS_MAX as u32 + 1);
        assert!(matches!(
            Reader::new(&many).skip_tagged_fields(),
            Err(Error::TooMany { .. })
        ));
        assert!(Reader::new(&[2, 1, 0, 1, 0]).skip_tagged_fields().is_err());
        assert!(Reader::new(&[2, 1, 0, 2, 0]).skip_tagged_fields().is_ok());
        assert!(Reader::new(&[1, 1, 5, 0]).skip_tagged_fields().is_err());
    }
}

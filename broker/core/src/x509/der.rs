//! DER (X.690), the encoding of certificates, keys and PKCS#12: values behind tags and lengths.
//! Only the definite form and one-byte tags are supported.

/// Tags of X.690 8.1.2, as far as they are used here.
pub mod tag {
    pub const INTEGER: u8 = 0x02;
    pub const OCTET_STRING: u8 = 0x04;
    pub const OID: u8 = 0x06;
    pub const UTC_TIME: u8 = 0x17;
    pub const GENERALIZED_TIME: u8 = 0x18;
    pub const SEQUENCE: u8 = 0x30;
    pub const SET: u8 = 0x31;
    /// `[0]`, `[1]`, … with a value inside.
    pub const fn context(number: u8) -> u8 {
        0xa0 | number
    }
    /// `[0]`, `[1]`, … in place of a string's own tag.
    pub const fn implicit(number: u8) -> u8 {
        0x80 | number
    }
}

/// One value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value<'a> {
    pub tag: u8,
    pub content: &'a [u8],
    /// The value with its tag and length.
    pub whole: &'a [u8],
}

/// Reads consecutive values.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Returns the content of `bytes`, which must be a single value with this tag.
    #[must_use]
    pub fn whole(bytes: &'a [u8], tag: u8) -> Option<&'a [u8]> {
        let mut reader = Self::new(bytes);
        let content = reader.take(tag)?;
        reader.rest.is_empty().then_some(content)
    }

    /// Reads the next value. Returns `None` if it is incomplete.
    #[must_use]
    pub fn value(&mut self) -> Option<Value<'a>> {
        let (tag, behind) = self.rest.split_first()?;
        // Tags of several bytes do not occur in the supported structures.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (first, behind) = behind.split_first()?;
        let (length, behind) = match first {
            0..=0x7f => (usize::from(*first), behind),
            0x81..=0x84 => {
                let (digits, behind) = behind.split_at_checked(usize::from(first & 0x7f))?;
                let length = digits
                    .iter()
                    .fold(0_u32, |length, digit| length << 8 | u32::from(*digit));
                (usize::try_from(length).ok()?, behind)
            }
            _ => return None,
        };
        let (content, rest) = behind.split_at_checked(length)?;
        let whole = self.rest.get(..self.rest.len() - rest.len())?;
        self.rest = rest;
        Some(Value {
            tag: *tag,
            content,
            whole,
        })
    }

    /// Reads the next value, which must have this tag.
    #[must_use]
    pub fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let value = self.value()?;
        (value.tag == tag).then_some(value.content)
    }

    /// Reads the next value if it has this tag, otherwise nothing.
    #[must_use]
    pub fn take_if(&mut self, tag: u8) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let content = ahead.take(tag)?;
        *self = ahead;
        Some(content)
    }

    /// Reads the next value as a number that fits.
    #[must_use]
    pub fn number(&mut self) -> Option<u32> {
        let digits = self.take(tag::INTEGER)?;
        let digits = match digits {
            [0, rest @ ..] if rest.len() == 4 => rest,
            digits => digits,
        };
        if digits.is_empty() || digits.len() > 4 {
            return None;
        }
        Some(
            digits
                .iter()
                .fold(0, |of, digit| of << 8 | u32::from(*digit)),
        )
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_cut_where_their_lengths_say() {
        let bytes = [0x02, 1, 5, 0x30, 3, 0x04, 1, 9, 0x04, 0x81, 1, 7];
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.number(), Some(5));
        assert_eq!(reader.take_if(tag::OCTET_STRING), None);
        let inner = reader.take(tag::SEQUENCE).unwrap();
        assert_eq!(Reader::whole(inner, tag::OCTET_STRING), Some(&[9][..]));
        assert_eq!(reader.take_if(tag::OCTET_STRING), Some(&[7][..]));
        assert!(reader.is_empty() && reader.value().is_none());
    }

    #[test]
    fn forged_lengths_are_refused() {
        for bytes in [
            &[0x30][..],
            &[0x30, 1],
            &[0x30, 0x80, 0, 0],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0],
            &[0x30, 0x85, 0, 0, 0, 0, 0],
            &[0x30, 0x82, 1],
            &[0x3f, 0x81, 0],
        ] {
            assert!(Reader::new(bytes).value().is_none(), "{bytes:x?}");
        }
        assert_eq!(Reader::new(&[0x02, 0]).number(), None);
        assert_eq!(Reader::new(&[0x02, 5, 1, 2, 3, 4, 5]).number(), None);
        let most = [0x02, 5, 0, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(Reader::new(&most).number(), Some(u32::MAX));
    }
}

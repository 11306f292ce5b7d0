//! The readings of a message: for each, the milliseconds since the one before (a varint), its
//! length (a varint, only if the lengths differ) and its value.

use crate::limits::VALUE_BYTES_MAX;

/// A reading as it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading<'a> {
    pub sequence: u32,
    /// How long before its arrival the reading was taken, in milliseconds.
    pub age_ms: u32,
    pub value: &'a [u8],
}

/// The readings of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readings<'a> {
    pub(crate) first: u32,
    pub(crate) age_ms: u32,
    pub(crate) size: u8,
    pub(crate) bytes: &'a [u8],
}

impl Readings<'_> {
    /// Returns the number of readings, or `None` if there is none or the bytes are malformed.
    pub(crate) fn checked_count(mut self) -> Option<u32> {
        let mut count = 0;
        while !self.bytes.is_empty() {
            self.read()?;
            count += 1;
        }
        (count > 0).then_some(count)
    }
}

impl<'a> Readings<'a> {
    fn read(&mut self) -> Option<Reading<'a>> {
        let (after_ms, rest) = varint(self.bytes)?;
        let (length, rest) = match self.size {
            0 => varint(rest)?,
            size => (u32::from(size), rest),
        };
        if length as usize > VALUE_BYTES_MAX {
            return None;
        }
        let (value, rest) = rest.split_at_checked(length as usize)?;
        self.bytes = rest;
        self.age_ms = self.age_ms.saturating_sub(after_ms);
        let sequence = self.first;
        self.first = sequence.wrapping_add(1);
        Some(Reading {
            sequence,
            age_ms: self.age_ms,
            value,
        })
    }
}

impl<'a> Iterator for Readings<'a> {
    type Item = Reading<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read()
    }
}

/// Reads a varint of at most 32 bits, as postcard writes it.
fn varint(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut value = 0u64;
    for (at, byte) in bytes.iter().enumerate().take(5) {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((u32::try_from(value).ok()?, &bytes[at + 1..]));
        }
    }
    None
}

/// Writes the parts of a message one after the other.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    pub room: &'a mut [u8],
    pub at: usize,
}

impl Writer<'_> {
    /// Writes a byte. Returns `None` if there is no room.
    pub fn byte(&mut self, byte: u8) -> Option<()> {
        *self.room.get_mut(self.at)? = byte;
        self.at += 1;
        Some(())
    }

    pub fn varint(&mut self, mut value: u32) -> Option<()> {
        while value >= 0x80 {
            self.byte(value as u8 | 0x80)?;
            value >>= 7;
        }
        self.byte(value as u8)
    }

    /// Returns the room for the next bytes.
    pub fn next(&mut self, length: usize) -> Option<&mut [u8]> {
        let room = self.room.get_mut(self.at..self.at + length)?;
        self.at += length;
        Some(room)
    }
}

/// Returns the length of a varint.
pub(crate) const fn varint_bytes(value: u32) -> usize {
    ((value | 1).ilog2() / 7 + 1) as usize
}

//! Frames: COBS(message, CRC-32C), then a zero byte.
//!
//! The checksum covers the number of the session, which is not sent, before the message. A frame of
//! another session is noise, so a frame that comes late or again does no harm.

use crc::{CRC_32_ISCSI, Crc, NoTable};

use crate::limits::{CHECKSUM_BYTES, CONTENT_BYTES_MAX, FRAME_BYTES_MAX, MESSAGE_BYTES_MAX};

/// Without a table: a kilobyte of flash is worth more than the time.
const CRC: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISCSI);

/// The session of greetings, before there is one.
pub const NO_SESSION: u32 = 0;

fn checksum(session: u32, message: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut digest = CRC.digest();
    digest.update(&session.to_le_bytes());
    digest.update(message);
    digest.finalize().to_le_bytes()
}

/// The buffer of a frame that is built and sent.
#[derive(Debug)]
pub struct Frame {
    bytes: [u8; FRAME_BYTES_MAX],
}

impl Default for Frame {
    fn default() -> Self {
        Self::new()
    }
}

impl Frame {
    pub const fn new() -> Self {
        Self {
            bytes: [0; FRAME_BYTES_MAX],
        }
    }

    /// Returns the room for a message.
    pub fn message(&mut self) -> &mut [u8] {
        &mut self.bytes[1..=MESSAGE_BYTES_MAX]
    }

    /// Makes a frame of the first `length` bytes of the message, and returns its bytes.
    pub fn seal(&mut self, length: usize, session: u32) -> &[u8] {
        let length = length.min(MESSAGE_BYTES_MAX);
        let end = 1 + length + CHECKSUM_BYTES;
        let (message, rest) = self.bytes[1..].split_at_mut(length);
        rest[..CHECKSUM_BYTES].copy_from_slice(&checksum(session, message));
        // COBS: each zero becomes the distance to the next one. There is one block, so the bytes
        // stay where they are.
        let mut code = 0;
        for at in 1..end {
            if self.bytes[at] == 0 {
                self.bytes[code] = (at - code) as u8;
                code = at;
            }
        }
        self.bytes[code] = (end - code) as u8;
        self.bytes[end] = 0;
        &self.bytes[..=end]
    }
}

/// What a byte completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen<'a> {
    /// A message of the session.
    Message(&'a [u8]),
    /// A message outside of sessions.
    Greeting(&'a [u8]),
    /// A frame that is damaged, cut, too long, or of another session.
    Noise,
}

/// Puts frames together from bytes as they come. After noise, the next zero byte begins anew.
#[derive(Debug)]
pub struct Receiver {
    bytes: [u8; CONTENT_BYTES_MAX + 1],
    length: u8,
    is_too_long: bool,
}

const _: () = assert!(CONTENT_BYTES_MAX < u8::MAX as usize);

impl Default for Receiver {
    fn default() -> Self {
        Self::new()
    }
}

impl Receiver {
    pub const fn new() -> Self {
        Self {
            bytes: [0; CONTENT_BYTES_MAX + 1],
            length: 0,
            is_too_long: false,
        }
    }

    /// Forgets the frame that has begun.
    pub const fn clear(&mut self) {
        self.length = 0;
        self.is_too_long = false;
    }

    /// Takes a byte. Returns what it completes, if it ends a frame.
    pub fn push(&mut self, byte: u8, session: u32) -> Option<Seen<'_>> {
        if byte != 0 {
            match self.bytes.get_mut(usize::from(self.length)) {
                Some(place) => {
                    *place = byte;
                    self.length += 1;
                }
                None => self.is_too_long = true,
            }
            return None;
        }
        let length = usize::from(self.length);
        let is_too_long = self.is_too_long;
        self.length = 0;
        self.is_too_long = false;
        if length == 0 {
            return None;
        }
        if is_too_long {
            return Some(Seen::Noise);
        }
        Some(open(&mut self.bytes[..length], session))
    }
}

fn open(coded: &mut [u8], session: u32) -> Seen<'_> {
    let mut code = 0;
    while code < coded.len() {
        // No byte of a frame is zero, so this ends.
        let next = code + usize::from(coded[code]);
        coded[code] = 0;
        code = next;
    }
    // The last block ends with the frame.
    let content = coded.get_mut(1..).unwrap_or_default();
    if code != content.len() + 1 {
        return Seen::Noise;
    }
    let Some((message, sum)) = content.split_last_chunk::<CHECKSUM_BYTES>() else {
        return Seen::Noise;
    };
    if session != NO_SESSION && checksum(session, message) == *sum {
        Seen::Message(message)
    } else if checksum(NO_SESSION, message) == *sum {
        Seen::Greeting(message)
    } else {
        Seen::Noise
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::*;

    fn sealed(message: &[u8], session: u32) -> Vec<u8> {
        let mut frame = Frame::default();
        frame.message()[..message.len()].copy_from_slice(message);
        frame.seal(message.len(), session).to_vec()
    }

    fn opened(bytes: &[u8], session: u32) -> Vec<Option<Vec<u8>>> {
        let mut receiver = Receiver::default();
        let mut seen = Vec::new();
        for byte in bytes {
            match receiver.push(*byte, session) {
                Some(Seen::Message(message) | Seen::Greeting(message)) => {
                    seen.push(Some(message.to_vec()));
                }
                Some(Seen::Noise) => seen.push(None),
                None => {}
            }
        }
        seen
    }

    #[test]
    fn messages_of_all_lengths_come_back() {
        for length in 0..=MESSAGE_BYTES_MAX {
            for fill in [0, 1, 255] {
                let message: Vec<u8> = (0..length)
                    .map(|at| if at % 3 == 0 { 0 } else { fill })
                    .collect();
                let bytes = sealed(&message, 7);
                assert!(bytes[..bytes.len() - 1].iter().all(|byte| *byte != 0));
                assert_eq!(bytes.len(), length + 6);
                assert_eq!(opened(&bytes, 7), [Some(message)]);
            }
        }
    }

    #[test]
    fn a_frame_of_another_session_is_noise() {
        assert_eq!(opened(&sealed(b"reading", 7), 8), [None]);
        assert_eq!(opened(&sealed(b"hello", 0), 8), [Some(b"hello".to_vec())]);
    }

    #[test]
    fn a_forged_code_a_cut_and_a_long_frame_are_noise() {
        let whole = sealed(b"reading", 7);
        for at in 0..whole.len() - 1 {
            for byte in 1..=255 {
                let mut forged = whole.clone();
                forged[at] = byte;
                let expected = (forged == whole).then(|| b"reading".to_vec());
                assert_eq!(opened(&forged, 7), [expected], "{at} {byte}");
            }
            let mut cut = whole[..at].to_vec();
            cut.push(0);
            assert!(opened(&cut, 7).iter().all(Option::is_none));
        }
        let mut long = std::vec![1; 3000];
        long.push(0);
        long.extend(&whole);
        assert_eq!(opened(&long, 7), [None, Some(b"reading".to_vec())]);
    }
}

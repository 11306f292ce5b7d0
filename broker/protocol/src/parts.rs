//! A frame in parts: what the codec writes, and records between, which are not copied.

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::Result;
use crate::frame::frame_length;
use crate::limits::SPLICE_BYTES_MIN;

/// A stretch of a frame: bytes in memory, or the place in a file that holds them.
pub trait Piece: From<Bytes> + Clone {
    fn bytes(&self) -> usize;
    /// Returns the bytes, or `None` if they are not in memory.
    fn in_memory(&self) -> Option<&[u8]>;
}

impl Piece for Bytes {
    fn bytes(&self) -> usize {
        self.len()
    }

    fn in_memory(&self) -> Option<&[u8]> {
        Some(self)
    }
}

/// Returns the size in bytes of a frame in parts.
#[must_use]
pub fn frame_bytes(parts: &[impl Piece]) -> usize {
    parts.iter().map(Piece::bytes).sum()
}

/// A frame under construction: its own bytes in one buffer, and the places for other pieces.
#[derive(Debug)]
pub struct Parts<P> {
    pub buffer: BytesMut,
    splices: Vec<(usize, P)>,
}

impl<P: Piece> Parts<P> {
    /// Begins a frame, whose length is written last.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        let mut buffer = BytesMut::with_capacity(4 + bytes);
        buffer.put_i32(0);
        Self {
            buffer,
            splices: Vec::new(),
        }
    }

    /// Appends a piece. A short one is copied.
    pub fn splice(&mut self, piece: &P) {
        match piece.in_memory() {
            Some(bytes) if bytes.len() < SPLICE_BYTES_MIN => self.buffer.put_slice(bytes),
            _ => self.splices.push((self.buffer.len(), piece.clone())),
        }
    }

    /// Returns the whole frame, to be written one part after the other.
    ///
    /// # Errors
    /// The frame is above 2 GiB.
    pub fn finish(mut self) -> Result<Vec<P>> {
        let spliced = self
            .splices
            .iter()
            .map(|(_, piece)| piece.bytes())
            .sum::<usize>();
        let length = frame_length(self.buffer.len() + spliced)?;
        self.buffer[..4].copy_from_slice(&length.to_be_bytes());
        let mut own = self.buffer.freeze();
        let mut parts = Vec::with_capacity(2 * self.splices.len() + 1);
        let mut taken = 0;
        for (at, piece) in self.splices {
            let before = own.split_to(at - taken);
            taken = at;
            if !before.is_empty() {
                parts.push(P::from(before));
            }
            parts.push(piece);
        }
        if !own.is_empty() {
            parts.push(P::from(own));
        }
        Ok(parts)
    }
}

//! Decompresses bodies piece by piece, with bounded memory whatever the body claims.
//!
//! All codecs are implemented here once: checking a produced batch, looking records up, compacting,
//! filtering and mirroring read bodies through [`Opener`] and so agree on which bodies are
//! readable.
//!
//! **Invariant:** an opener holds at most [`OPENER_BYTES_MAX`], and keeps at most
//! [`OPENER_BYTES_KEPT`] between two bodies.
//!
//! Source: RFC 1952 (gzip), RFC 8878 (zstd), the LZ4 frame format 1.6.4, the snappy format
//! description, xerial's `SnappyOutputStream`.

mod gzip;
mod lz4;
mod snappy;
#[cfg(test)]
mod tests;
mod zstd;

use std::borrow::Cow;

use super::codec::{Compression, compression_of};
use crate::batch::BatchHeader;
use crate::error::{Error, Result};
use crate::limits::{DECOMPRESSED_BYTES_MAX, OPENED_RATIO_MAX, OPENER_BYTES_KEPT};

/// Returns the bytes that a body of `body_bytes` may decompress to if it is only walked and not
/// held.
#[must_use]
pub const fn opened_bytes_max(body_bytes: usize) -> usize {
    let by_ratio = body_bytes.saturating_mul(OPENED_RATIO_MAX);
    if by_ratio > DECOMPRESSED_BYTES_MAX {
        by_ratio
    } else {
        DECOMPRESSED_BYTES_MAX
    }
}

/// Returns the bytes of a body that is not a batch's, decompressed with the codec of this number.
///
/// # Errors
/// More than `bytes_max`, a codec that does not exist, or bytes that are not the codec's.
pub fn opened<'a>(
    opener: &mut Opener,
    compression_type: i8,
    body: &'a [u8],
    bytes_max: usize,
) -> Result<Cow<'a, [u8]>> {
    let compression = Compression::from_attributes(i16::from(compression_type));
    let compression = compression.map_err(|_| Error::Unknown {
        what: "compression type",
        number: i64::from(compression_type),
    })?;
    if compression == Compression::None {
        return Ok(Cow::Borrowed(body));
    }
    let mut pieces = opener.open_as(compression, body, bytes_max);
    let mut all = Vec::new();
    while pieces.advance()? {
        all.extend_from_slice(pieces.piece());
    }
    Ok(Cow::Owned(all))
}

/// State for decompressing bodies: the codecs' states and one buffer, reused for the next body.
#[derive(Debug, Default)]
pub struct Opener {
    piece: Vec<u8>,
    gzip: Option<gzip::Gzip>,
    lz4: lz4::Lz4,
    snappy: snappy::Snappy,
    zstd: Option<zstd::Zstd>,
}

impl Opener {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a body that may decompress to at most `bytes_max`.
    ///
    /// # Errors
    /// A codec that does not exist.
    pub(super) fn open<'a>(
        &'a mut self,
        header: &BatchHeader,
        body: &'a [u8],
        bytes_max: usize,
    ) -> Result<Pieces<'a>> {
        Ok(self.open_as(compression_of(header)?, body, bytes_max))
    }

    fn open_as<'a>(
        &'a mut self,
        compression: Compression,
        body: &'a [u8],
        bytes_max: usize,
    ) -> Pieces<'a> {
        let Self {
            piece,
            gzip,
            lz4,
            snappy,
            zstd,
        } = self;
        let codec = match compression {
            Compression::Gzip => {
                let gzip = gzip.get_or_insert_default();
                gzip.begin();
                Codec::Gzip(gzip)
            }
            Compression::Lz4 => {
                lz4.begin();
                Codec::Lz4(lz4)
            }
            Compression::Snappy => {
                snappy.begin();
                Codec::Snappy(snappy)
            }
            Compression::Zstd => {
                let zstd = zstd.get_or_insert_default();
                zstd.begin();
                Codec::Zstd(zstd)
            }
            _ => Codec::None,
        };
        let is_plain = matches!(codec, Codec::None);
        Pieces {
            plain: if is_plain { body } else { &[] },
            input: if is_plain { &[] } else { body },
            piece,
            codec,
            start: 0,
            end: 0,
            left: bytes_max,
            bytes_max,
        }
    }

    /// Frees the memory that an unusually large body needed.
    pub fn trim(&mut self) {
        let Self {
            piece, lz4, zstd, ..
        } = self;
        lz4.trim();
        if piece.capacity() > OPENER_BYTES_KEPT {
            *piece = Vec::new();
        }
        if zstd
            .as_ref()
            .is_some_and(|zstd| zstd.bytes() > OPENER_BYTES_KEPT)
        {
            *zstd = None;
        }
    }
}

/// One body as decompressed pieces; each is valid until the next is asked for.
#[derive(Debug)]
pub(super) struct Pieces<'a> {
    /// The only piece of a body that is not compressed.
    plain: &'a [u8],
    input: &'a [u8],
    piece: &'a mut Vec<u8>,
    codec: Codec<'a>,
    /// Bounds of the current piece within `piece`.
    start: usize,
    end: usize,
    /// Bytes that may still come out, and the limit they are counted from.
    left: usize,
    bytes_max: usize,
}

#[derive(Debug)]
enum Codec<'a> {
    None,
    Gzip(&'a mut gzip::Gzip),
    Lz4(&'a mut lz4::Lz4),
    Snappy(&'a mut snappy::Snappy),
    Zstd(&'a mut zstd::Zstd),
}

impl Pieces<'_> {
    #[inline]
    pub(super) fn piece(&self) -> &[u8] {
        if matches!(self.codec, Codec::None) {
            self.plain
        } else {
            self.piece.get(self.start..self.end).unwrap_or_default()
        }
    }

    /// Replaces the current piece with the next, which is not empty. Returns false at the end.
    ///
    /// # Errors
    /// [`Error::TooMany`] if more comes out than allowed; bytes that are not the codec's, or that
    /// end too early.
    pub(super) fn advance(&mut self) -> Result<bool> {
        loop {
            let range = match &mut self.codec {
                Codec::None => {
                    self.plain = &[];
                    return Ok(false);
                }
                Codec::Gzip(codec) => codec.next(&mut self.input, self.piece),
                Codec::Lz4(codec) => codec.next(&mut self.input, self.piece),
                Codec::Snappy(codec) => codec.next(&mut self.input, self.piece, self.left),
                Codec::Zstd(codec) => codec.next(&mut self.input, self.piece, self.left),
            }?;
            let Some(range) = range else {
                (self.start, self.end) = (0, 0);
                return Ok(false);
            };
            let left = self.left.checked_sub(range.len());
            self.left = left.ok_or(too_many(self.bytes_max))?;
            (self.start, self.end) = (range.start, range.end);
            if !range.is_empty() {
                return Ok(true);
            }
        }
    }
}

/// Returns the first `bytes` of a buffer that only grows, so that its existing bytes are not
/// cleared again.
fn room(buffer: &mut Vec<u8>, bytes: usize) -> &mut [u8] {
    if buffer.len() < bytes {
        buffer.resize(bytes, 0);
    }
    buffer.get_mut(..bytes).unwrap_or_default()
}

const fn too_many(limit: usize) -> Error {
    Error::TooMany {
        what: "decompressed bytes",
        limit,
    }
}

const fn wrong(what: &'static str) -> Error {
    Error::Invalid { what }
}

/// Takes `count` bytes off the front of `input`.
fn take<'a>(input: &mut &'a [u8], count: usize, what: &'static str) -> Result<&'a [u8]> {
    let (front, rest) = input
        .split_at_checked(count)
        .ok_or(Error::Truncated { what })?;
    *input = rest;
    Ok(front)
}

fn take_array<const N: usize>(input: &mut &[u8], what: &'static str) -> Result<[u8; N]> {
    let (front, rest) = input
        .split_first_chunk::<N>()
        .ok_or(Error::Truncated { what })?;
    *input = rest;
    Ok(*front)
}

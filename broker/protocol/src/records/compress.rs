//! Compresses and decompresses whole bodies of batches.

use std::borrow::Cow;

use super::codec::{Compression, compression_of};
use super::open::Opener;
use crate::batch::BatchHeader;
use crate::error::{Error, Result};

/// Returns the records of a batch, decompressed if they are compressed.
///
/// # Errors
/// More than `bytes_max`, a codec that does not exist, or bytes that are not the codec's.
pub fn decompress<'a>(
    header: &BatchHeader,
    body: &'a [u8],
    bytes_max: usize,
) -> Result<Cow<'a, [u8]>> {
    if compression_of(header)? == Compression::None {
        return Ok(Cow::Borrowed(body));
    }
    let mut opener = Opener::new();
    let mut pieces = opener.open(header, body, bytes_max)?;
    let mut records = Vec::new();
    while pieces.advance()? {
        records.extend_from_slice(pieces.piece());
    }
    Ok(Cow::Owned(records))
}

/// Compresses `records` with the codec, at its default level.
///
/// # Errors
/// The errors of the codec; none occurs in practice.
pub fn compress(codec: Compression, records: Vec<u8>) -> Result<Vec<u8>> {
    match codec {
        Compression::None => Ok(records),
        codec => codec
            .compress(&records)
            .map_err(|error| Error::Message(error.into())),
    }
}

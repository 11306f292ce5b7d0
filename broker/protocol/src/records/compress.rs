//! Codecs of batch bodies, each with a bound on what comes out.

use std::borrow::Cow;
use std::io::Read as _;

pub use crate::kafka::compression::Compression;

use crate::batch::BatchHeader;
use crate::error::{Error, Result};
use crate::kafka::compression::{gzip, snappy, zstd};

/// The codec that a header names.
///
/// # Errors
/// [`Error::Unknown`] for the unassigned numbers.
pub fn compression_of(header: &BatchHeader) -> Result<Compression> {
    Compression::from_attributes(header.attributes()).map_err(|_| Error::Unknown {
        what: "compression type",
        number: i64::from(header.compression()),
    })
}

/// The records of a batch, decompressed where they are compressed.
///
/// # Errors
/// More than `bytes_max`, a codec that does not exist, or bytes that are not the codec's.
pub fn decompress<'a>(
    header: &BatchHeader,
    body: &'a [u8],
    bytes_max: usize,
) -> Result<Cow<'a, [u8]>> {
    let result = match compression_of(header)? {
        Compression::None => return Ok(Cow::Borrowed(body)),
        Compression::Gzip => gzip::decompress_bounded(body, bytes_max),
        Compression::Snappy => snappy::decompress_bounded(body, bytes_max),
        Compression::Zstd => zstd::decompress_bounded(body, bytes_max),
        Compression::Lz4 => return decompress_lz4(body, bytes_max).map(Cow::Owned),
        _ => {
            let number = i64::from(header.compression());
            return Err(Error::Unknown {
                what: "compression type",
                number,
            });
        }
    };
    result
        .map(Cow::Owned)
        .map_err(|error| Error::Message(error.into()))
}

/// What an LZ4 frame begins with. The format of before has another magic, no checksum over its
/// header and blocks of 8 MiB; Kafka does not read it either.
const LZ4_MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();

/// The whole LZ4 frame format: clients differ in block size, linked blocks and checksums, and
/// Kafka's own codec here reads only what the Java client writes.
fn decompress_lz4(body: &[u8], bytes_max: usize) -> Result<Vec<u8>> {
    if !body.is_empty() && !body.starts_with(&LZ4_MAGIC) {
        return Err(Error::Invalid {
            what: "the lz4 frame",
        });
    }
    let mut out = Vec::new();
    let limit = bytes_max as u64 + 1;
    lz4_flex::frame::FrameDecoder::new(body)
        .take(limit)
        .read_to_end(&mut out)
        .map_err(|_| Error::Invalid {
            what: "the lz4 frame",
        })?;
    if out.len() > bytes_max {
        return Err(Error::TooMany {
            what: "decompressed bytes",
            limit: bytes_max,
        });
    }
    Ok(out)
}

/// `records` by the codec, at its usual level.
///
/// # Errors
/// What the codec refuses; none does in practice.
pub fn compress(codec: Compression, records: Vec<u8>) -> Result<Vec<u8>> {
    match codec {
        Compression::None => Ok(records),
        codec => codec
            .compress(&records)
            .map_err(|error| Error::Message(error.into())),
    }
}

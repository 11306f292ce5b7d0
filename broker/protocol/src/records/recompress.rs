//! Compresses batches that were built or produced without compression.

use super::build::batch_length;
use super::codec::{Compression, compression_of};
use crate::batch::Batch;
use crate::error::{Error, Result};

/// Compresses the records of an uncompressed batch with the codec. Returns `None` if the batch is
/// compressed already, or would not become smaller.
///
/// # Errors
/// The errors of the codec; none occurs in practice.
pub fn compress_batch(codec: Compression, batch: &Batch) -> Result<Option<Batch>> {
    if codec == Compression::None || compression_of(&batch.header)? != Compression::None {
        return Ok(None);
    }
    let compressed = codec.compress(&batch.body);
    let body = compressed.map_err(|error| Error::Message(error.into()))?;
    if body.len() >= batch.body.len() {
        return Ok(None);
    }
    let mut header = batch.header;
    header.set_compression(batch_length(&body)?, codec as i16);
    Ok(Some(Batch {
        header: header.with_computed_crc(&body),
        body: body.into(),
    }))
}

//! Compresses batches that were built or produced without compression, or with another codec.

use super::build::batch_length;
use super::codec::{Compression, compression_of};
use super::open::{Opener, opened};
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::limits::DECOMPRESSED_BYTES_MAX;

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

/// Compresses the records of a batch with this codec at this level; `None` is the codec's default.
/// A batch that has the codec is returned as it is.
///
/// # Errors
/// A body that cannot be opened, or has more than [`DECOMPRESSED_BYTES_MAX`]; the codec's errors.
pub fn recompress_batch(
    opener: &mut Opener,
    (codec, level): (Compression, Option<i32>),
    batch: Batch,
) -> Result<Batch> {
    let before = compression_of(&batch.header)?;
    if before == codec {
        return Ok(batch);
    }
    let records = opened(opener, before as i8, &batch.body, DECOMPRESSED_BYTES_MAX)?;
    let body = match codec {
        Compression::None => records.into_owned(),
        codec => codec
            .compress_with_level(&records, level)
            .map_err(|error| Error::Message(error.into()))?,
    };
    let mut header = batch.header;
    header.set_compression(batch_length(&body)?, codec as i16);
    Ok(Batch {
        header: header.with_computed_crc(&body),
        body: body.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{BatchBuilder, decompress};

    const CODECS: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    fn batch(codec: Compression) -> Batch {
        let mut builder = BatchBuilder::new(codec);
        for number in 0..100 {
            let value = format!("{number} and the same again and again");
            builder.push(7, Some(b"key"), Some(value.as_bytes()), &[]);
        }
        builder.build().unwrap()
    }

    #[test]
    fn every_codec_becomes_every_other_with_the_same_records() {
        let mut opener = Opener::new();
        let plain = batch(Compression::None);
        for from in CODECS {
            for to in CODECS {
                let level = (to == Compression::Zstd).then_some(1);
                let done = recompress_batch(&mut opener, (to, level), batch(from)).unwrap();
                assert_eq!(compression_of(&done.header).unwrap(), to);
                let records = decompress(&done.header, &done.body, DECOMPRESSED_BYTES_MAX);
                assert_eq!(*records.unwrap(), *plain.body, "{from:?} {to:?}");
                assert_eq!(done.header, done.header.with_computed_crc(&done.body));
                let count = done.header.record_count();
                assert_eq!(count, plain.header.record_count());
                let whole = [&done.header.as_bytes()[..], &done.body].concat();
                assert_eq!(done.bytes(), whole.len());
            }
        }
    }

    #[test]
    fn a_level_changes_the_size() {
        let mut opener = Opener::new();
        let mut bytes = |level| {
            let target = (Compression::Gzip, Some(level));
            let done = recompress_batch(&mut opener, target, batch(Compression::None));
            done.unwrap().bytes()
        };
        assert!(bytes(9) < bytes(1));
    }

    #[test]
    fn a_body_that_cannot_be_opened_is_refused() {
        let mut cut = batch(Compression::Zstd);
        cut.body = cut.body.slice(..cut.body.len() - 9);
        let target = (Compression::Gzip, None);
        assert!(recompress_batch(&mut Opener::new(), target, cut).is_err());
    }
}

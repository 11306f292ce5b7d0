//! How a link packs what it sends: its keys `batch.size` and `compression.type`.

use sedge_core::mirror::Packing;
use sedge_protocol::records::Compression;

use super::limits;
use super::link_values::number;
use crate::client::config::ConfigError;

/// Checks the keys.
///
/// # Errors
/// The key that cannot be used, and the reason.
pub(super) fn packing(
    batch_size: Option<String>,
    compression_type: Option<&str>,
) -> Result<Packing, ConfigError> {
    let batch_bytes: usize = number("batch.size", batch_size, limits::LINK_BATCH_BYTES)?;
    let most = limits::LINK_BATCH_BYTES_MAX;
    if batch_bytes > most {
        let why = format!("{batch_bytes} is out of range; set at most {most}");
        return Err(ConfigError::new("batch.size", why));
    }
    let compression = match compression_type.map(str::trim) {
        Some("producer") => None,
        Some("gzip") => Some(Compression::Gzip),
        Some("snappy") => Some(Compression::Snappy),
        None | Some("lz4") => Some(Compression::Lz4),
        Some("zstd") => Some(Compression::Zstd),
        Some(other) => {
            return Err(ConfigError::new(
                "compression.type",
                format!("{other:?} is not valid; use producer, gzip, snappy, lz4 or zstd"),
            ));
        }
    };
    Ok(Packing {
        batch_bytes,
        compression,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_that_were_produced_without_compression_are_compressed_unless_told_not_to() {
        let check = |value: Option<&str>, expected| {
            let packing = packing(None, value).unwrap();
            assert_eq!(packing.compression, expected);
        };
        check(None, Some(Compression::Lz4));
        check(Some("zstd"), Some(Compression::Zstd));
        check(Some("producer"), None);
    }
}

//! Names the codec of a batch's body.

use crate::batch::BatchHeader;
use crate::error::{Error, Result};
pub use crate::kafka::compression::Compression;

/// Returns the codec that a header names.
///
/// # Errors
/// [`Error::Unknown`] for the unassigned numbers.
pub fn compression_of(header: &BatchHeader) -> Result<Compression> {
    Compression::from_attributes(header.attributes()).map_err(|_| Error::Unknown {
        what: "compression type",
        number: i64::from(header.compression()),
    })
}

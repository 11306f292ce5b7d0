//! Reads a text file with a bound, and without leaving its text in memory.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

/// Largest file: a configuration is written by hand.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads the file.
///
/// # Errors
/// It cannot be read, is too large, or is not UTF-8.
pub fn read(path: &Path) -> io::Result<(Zeroizing<String>, Metadata)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(
        metadata.len().min(FILE_BYTES_MAX) as usize + 1,
    ));
    if file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)? as u64 > FILE_BYTES_MAX {
        let why = format!(
            "it has more than the {FILE_BYTES_MAX} bytes that a configuration file may have"
        );
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Ok((Zeroizing::new(text), metadata)),
        Err(error) => {
            drop(Zeroizing::new(error.into_bytes()));
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it is not UTF-8",
            ))
        }
    }
}

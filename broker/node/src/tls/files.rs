//! Certificate and key files: bounded reads, and detection of changes.

use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::limits::{TLS_DIRECTORY_FILES_MAX, TLS_FILE_BYTES_MAX};
use crate::process::private_file;

/// Extensions that are read in a directory of certificates; other files are ignored.
const EXTENSIONS: [&str; 5] = ["pem", "crt", "cer", "key", "crl"];

/// The contents of one file, with its path and mode.
pub struct Contents {
    pub path: PathBuf,
    pub bytes: Zeroizing<Vec<u8>>,
    metadata: Metadata,
}

impl Contents {
    /// Checks the mode of a file that contains a private key.
    ///
    /// # Errors
    /// Users other than the owner and the group have access to the file.
    pub fn check_private(&self) -> Result<(), String> {
        private_file::check(&self.path, &self.metadata, "a private key")
    }
}

/// Reads the file at `path`; in a directory, reads all certificate and key files by name order.
pub fn read(path: &Path) -> Result<Vec<Contents>, String> {
    paths(path)?.iter().map(|path| read_one(path)).collect()
}

fn read_one(path: &Path) -> Result<Contents, String> {
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(format!("{} is not a file", path.display()));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(
        metadata.len().min(TLS_FILE_BYTES_MAX) as usize
    ));
    let mut limited = file.take(TLS_FILE_BYTES_MAX + 1);
    let read = limited.read_to_end(&mut bytes).map_err(failed)?;
    if read as u64 > TLS_FILE_BYTES_MAX {
        return Err(format!(
            "{} is larger than {TLS_FILE_BYTES_MAX} bytes, the limit for certificate files; check \
             the path",
            path.display()
        ));
    }
    Ok(Contents {
        path: path.to_path_buf(),
        bytes,
        metadata,
    })
}

/// Returns `path` itself, or the certificate and key files if it is a directory.
fn paths(path: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let extension = path.extension().and_then(|of| of.to_str());
        let is_named_so = extension.is_some_and(|of| EXTENSIONS.contains(&of));
        // Kubernetes keeps the versions of a secret in hidden directories, linked by symlinks.
        let is_file = fs::metadata(&path).is_ok_and(|of| of.is_file());
        if is_named_so && is_file {
            paths.push(path);
        }
        if paths.len() > TLS_DIRECTORY_FILES_MAX {
            return Err(format!(
                "the directory has more than {TLS_DIRECTORY_FILES_MAX} certificate files, the limit"
            ));
        }
    }
    paths.sort();
    if paths.is_empty() {
        return Err(format!(
            "{} has no file that ends in .pem, .crt, .cer, .key or .crl",
            path.display()
        ));
    }
    Ok(paths)
}

/// Inode, size and times of a set of files. A different stamp means that they have changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamp(Vec<(PathBuf, Option<[i64; 6]>)>);

impl Stamp {
    pub fn of(of: &[&Path]) -> Self {
        let files = of.iter().flat_map(|path| {
            // A path that cannot be listed is recorded by itself, without metadata.
            paths(path).unwrap_or_else(|_| vec![path.to_path_buf()])
        });
        let look = |path: PathBuf| {
            let metadata = fs::metadata(&path).ok();
            (path, metadata.as_ref().map(identity))
        };
        Self(files.map(look).collect())
    }
}

fn identity(of: &Metadata) -> [i64; 6] {
    [
        of.ino() as i64,
        of.len() as i64,
        of.mtime(),
        of.mtime_nsec(),
        of.ctime(),
        of.ctime_nsec(),
    ]
}

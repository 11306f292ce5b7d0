//! Keys: their files, and the seals made with them.

use std::{
    fmt, fs,
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use sha2::{Digest as _, Sha256};

use crate::{
    error::Error,
    limits::{KEY_FILE_BYTES_MAX, OPERATOR_KEY_BYTES_MIN},
};

/// Bytes of a seal.
pub const SEAL_BYTES: usize = 32;

/// The owner of the key that a seal was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Sealer {
    Nobody = 0,
    Operator = 1,
    Installation = 2,
}

impl Sealer {
    pub(crate) const fn from_wire(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Nobody),
            1 => Some(Self::Operator),
            2 => Some(Self::Installation),
            _ => None,
        }
    }
}

/// A key for making and checking seals. Never shown, never logged.
pub struct SealKey {
    sealer: Sealer,
    /// HMAC's two hash states, each with its padded key already absorbed.
    inner: Sha256,
    outer: Sha256,
}

impl SealKey {
    /// Returns the installation's key in `file`, and creates it if it does not exist.
    ///
    /// # Errors
    /// The file cannot be read or created, or other users could have read it.
    pub fn of_installation(file: &Path) -> Result<Self, Error> {
        let error = |source| Error::File {
            path: file.to_owned(),
            source,
        };
        if let Err(source) = fs::symlink_metadata(file) {
            if source.kind() != io::ErrorKind::NotFound {
                return Err(error(source));
            }
            make_key(file).map_err(error)?;
        }
        Ok(Self::new(Sealer::Installation, &read_key(file)?))
    }

    /// Returns the operator's key: all bytes of a file, without surrounding white space.
    ///
    /// # Errors
    /// The file cannot be read, is too short, or can be read by users other than its owner.
    pub fn of_operator(file: &Path) -> Result<Self, Error> {
        let bytes = read_key(file)?;
        let key = bytes.trim_ascii();
        if key.len() < OPERATOR_KEY_BYTES_MIN {
            let why = "a key needs at least 16 bytes; `openssl rand -hex 32` makes a good one";
            return Err(Error::BadKey {
                path: file.to_owned(),
                why,
            });
        }
        Ok(Self::new(Sealer::Operator, key))
    }

    fn new(sealer: Sealer, key: &[u8]) -> Self {
        // RFC 2104: a key longer than a block is hashed, a shorter one filled with zeros.
        let mut block = [0; 64];
        if key.len() > block.len() {
            block[..SEAL_BYTES].copy_from_slice(&Sha256::digest(key));
        } else {
            block[..key.len()].copy_from_slice(key);
        }
        let padded = |pad: u8| Sha256::new_with_prefix(block.map(|byte| byte ^ pad));
        Self {
            sealer,
            inner: padded(0x36),
            outer: padded(0x5c),
        }
    }

    #[must_use]
    pub const fn sealer(&self) -> Sealer {
        self.sealer
    }

    /// Returns the seal for `bytes`.
    #[must_use]
    pub fn seal(&self, bytes: &[u8]) -> [u8; SEAL_BYTES] {
        let inner = self.inner.clone().chain_update(bytes).finalize();
        self.outer.clone().chain_update(inner).finalize().into()
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealKey")
            .field("sealer", &self.sealer)
            .finish_non_exhaustive()
    }
}

/// Creates a random key. If two processes do so at once, the first one's key stays.
fn make_key(file: &Path) -> io::Result<()> {
    if let Some(directory) = file.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
    }
    let mut key = [0_u8; SEAL_BYTES];
    // Blocks until the kernel has gathered entropy; at boot, /dev/urandom does not.
    fs::File::open("/dev/random")?.read_exact(&mut key)?;
    let new = file.with_extension(format!("new-{}", std::process::id()));
    let mut opened = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    opened.write_all(&key)?;
    opened.sync_all()?;
    let linked = fs::hard_link(&new, file);
    fs::remove_file(&new)?;
    match linked {
        Err(source) if source.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn read_key(file: &Path) -> Result<Vec<u8>, Error> {
    let error = |source| Error::File {
        path: file.to_owned(),
        source,
    };
    let bad = |why| {
        Err(Error::BadKey {
            path: file.to_owned(),
            why,
        })
    };
    let opened = fs::File::open(file).map_err(error)?;
    let metadata = opened.metadata().map_err(error)?;
    if !metadata.is_file() {
        return bad("is not a file");
    }
    if metadata.mode() & 0o077 != 0 {
        return bad("other users can read or write it; `chmod 600` the file, or make a new one");
    }
    let mut key = Vec::new();
    opened
        .take(KEY_FILE_BYTES_MAX)
        .read_to_end(&mut key)
        .map_err(error)?;
    if key.is_empty() {
        return bad("is empty");
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: &[u8], data: &[u8], expected: &str) {
        let seal = SealKey::new(Sealer::Operator, key).seal(data);
        assert_eq!(crate::ComponentHash(seal).to_string(), expected);
    }

    #[test]
    fn seals_are_hmac_sha256() {
        // RFC 4231, test cases 2, 3 and 6.
        check(
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        );
        check(
            &[0xaa; 20],
            &[0xdd; 50],
            "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
        );
        check(
            &[0xaa; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        );
    }
}

//! A token in a file, which another program keeps fresh: `sasl.oauthbearer.token.endpoint.url` with
//! a `file:` URL. It is read for each login.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::process::private_file;

/// Bytes of a token's file. Brokers take requests of at most 512 KiB before a login; a token with
/// the groups of its user has some thousands.
const TOKEN_BYTES_MAX: u64 = 64 << 10;

pub struct TokenFile(PathBuf);

impl TokenFile {
    /// Parses a `file:` URL.
    ///
    /// # Errors
    /// Why the URL cannot be used.
    pub fn parse(url: &str) -> Result<Self, String> {
        let path = url.strip_prefix("file:").ok_or(
            "OAUTHBEARER needs the token in a file; set file:///PATH, and have a program write it",
        )?;
        let path = path.strip_prefix("//").unwrap_or(path);
        let path = path.strip_prefix("localhost").unwrap_or(path);
        if !path.starts_with('/') || path.contains(['%', '?', '#', '\0']) {
            return Err(format!(
                "{url:?} is no URL of a file; write file:///PATH, without %, ? and #"
            ));
        }
        Ok(Self(Path::new(path).to_path_buf()))
    }

    /// Reads the token.
    ///
    /// # Errors
    /// Why the file cannot be used.
    pub fn read(&self) -> Result<Zeroizing<String>, String> {
        let path = self.0.display();
        let failed = |error: std::io::Error| format!("cannot read {path}: {error}");
        let file = File::open(&self.0).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(format!("{path} is not a file"));
        }
        private_file::check(&self.0, &metadata, "a token")?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(TOKEN_BYTES_MAX as usize + 1));
        let mut limited = file.take(TOKEN_BYTES_MAX + 1);
        limited.read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > TOKEN_BYTES_MAX {
            return Err(format!("{path} has more than {TOKEN_BYTES_MAX} bytes"));
        }
        let token = bytes.trim_ascii();
        // RFC 6750, `b64token`.
        let is_of_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
        let token = std::str::from_utf8(token)
            .ok()
            .filter(|token| !token.is_empty() && token.as_bytes().iter().all(is_of_token));
        let token = token.ok_or_else(|| format!("{path} has no token, or more than one"))?;
        Ok(Zeroizing::new(token.to_owned()))
    }
}

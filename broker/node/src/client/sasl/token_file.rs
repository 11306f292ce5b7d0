//! A token in a file that another program renews: `sasl.oauthbearer.token.endpoint.url` with a
//! `file:` URL. The file is read at each login.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::process::private_file;

/// Largest file of a token, in bytes. Brokers accept requests of at most 512 KiB before a login; a
/// token that lists its user's groups has some thousand bytes.
const TOKEN_BYTES_MAX: u64 = 64 << 10;

pub struct TokenFile(PathBuf);

impl TokenFile {
    /// Parses a `file:` URL.
    ///
    /// # Errors
    /// The URL is not a plain `file:` URL of this machine.
    pub fn parse(url: &str) -> Result<Self, String> {
        let path = url.strip_prefix("file:").ok_or(
            "OAUTHBEARER needs a file with the token: set file:///PATH, and let a program renew it",
        )?;
        let path = path.strip_prefix("//").unwrap_or(path);
        let path = path.strip_prefix("localhost").unwrap_or(path);
        if !path.starts_with('/') || path.contains(['%', '?', '#', '\0']) {
            return Err(format!(
                "{url:?} is not the URL of a file; write file:///PATH, without %, ? and #"
            ));
        }
        Ok(Self(Path::new(path).to_path_buf()))
    }

    /// Reads the token.
    ///
    /// # Errors
    /// The file cannot be read, is not private, or has no single token.
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

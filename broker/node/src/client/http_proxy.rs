//! HTTP proxies: a tunnel to a broker by CONNECT (RFC 9110, 9.3.6).

use std::fmt;

use futures_lite::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use sedge_core::base64;

use super::address::split_address;
use super::error::Error;
use super::limits::PROXY_HEAD_BYTES_MAX;
use crate::process::secret::Secret;

/// The proxy of the key `proxy`.
#[derive(Clone)]
pub struct HttpProxy {
    /// `HOST:PORT`.
    pub address: String,
    /// User and password, as the header has them.
    credentials: Option<Secret>,
}

impl fmt::Debug for HttpProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpProxy")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl HttpProxy {
    /// Reads `http://[USER:PASSWORD@]HOST:PORT`.
    ///
    /// # Errors
    /// The reason, which does not name the password.
    pub fn read(text: &str) -> Result<Self, String> {
        const FORM: &str = "write http://HOST:PORT or http://USER:PASSWORD@HOST:PORT";
        let rest = text
            .strip_prefix("http://")
            .ok_or_else(|| format!("only proxies with http:// are supported; {FORM}"))?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (user, address) = match rest.rsplit_once('@') {
            Some((user, address)) => (Some(user), address),
            None => (None, rest),
        };
        if split_address(address).is_none() || address.contains('/') {
            return Err(format!("the address is not HOST:PORT; {FORM}"));
        }
        let credentials = user.map(|user| {
            let (user, password) = user.split_once(':').unwrap_or((user, ""));
            let (mut plain, password) = (decoded(user)?, decoded(password)?);
            plain.push(b':');
            plain.extend(password);
            Some(Secret::new(base64::encode(&plain)))
        });
        let credentials = match credentials {
            None => None,
            Some(Some(credentials)) => Some(credentials),
            Some(None) => return Err(format!("% in user or password is not %XX; {FORM}")),
        };
        Ok(Self {
            address: address.to_owned(),
            credentials,
        })
    }

    /// Asks the proxy, on a new connection to it, for a tunnel to `HOST:PORT`.
    ///
    /// # Errors
    /// The proxy refuses, or is no proxy.
    pub async fn tunnel(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        address: &str,
    ) -> Result<(), Error> {
        let address = address.split_once("://").map_or(address, |(_, it)| it);
        let mut request = format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n");
        if let Some(credentials) = &self.credentials {
            request.push_str("Proxy-Authorization: Basic ");
            request.push_str(credentials.text());
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await?;
        let refused = |status| Error::Proxy {
            proxy: self.address.clone(),
            address: address.to_owned(),
            status,
        };
        let head = read_head(stream).await?.ok_or_else(|| refused(None))?;
        match status(&head) {
            Some(200..=299) => Ok(()),
            status => Err(refused(status)),
        }
    }
}

/// Reads up to the empty line, and no further: what follows is the broker's. Returns `None` if the
/// head is too long.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<Vec<u8>>, Error> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= PROXY_HEAD_BYTES_MAX {
            return Ok(None);
        }
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        head.push(byte[0]);
    }
    Ok(Some(head))
}

/// Returns the status code of an answer by HTTP/1.
fn status(head: &[u8]) -> Option<u16> {
    let line = head.strip_prefix(b"HTTP/1.")?;
    let line = std::str::from_utf8(line.get(2..5)?).ok()?;
    line.parse().ok()
}

/// Decodes `%XX`.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2)?;
        rest = behind;
        let digits = std::str::from_utf8(digits).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_credentials() {
        let check = |text: &str, address: &str, credentials: Option<&str>| {
            let proxy = HttpProxy::read(text).unwrap();
            assert_eq!(proxy.address, address, "{text}");
            let of = proxy.credentials.as_ref().map(Secret::text);
            assert_eq!(of, credentials, "{text}");
        };
        check("http://proxy:3128", "proxy:3128", None);
        check("http://proxy:3128/", "proxy:3128", None);
        check("http://[::1]:3128", "[::1]:3128", None);
        check(
            "http://user:pass@proxy:3128",
            "proxy:3128",
            Some("dXNlcjpwYXNz"),
        );
        check(
            "http://a%40b:p%3Aq@proxy:1",
            "proxy:1",
            Some("YUBiOnA6cQ=="),
        );
        for text in [
            "proxy:3128",
            "https://proxy:3128",
            "http://proxy",
            "http://proxy:3128/path",
            "http://user:s3cret%zz@proxy:3128",
        ] {
            let why = HttpProxy::read(text).unwrap_err();
            assert!(!why.contains("s3cret"), "{why}");
        }
        let proxy = HttpProxy::read("http://user:s3cret@proxy:3128").unwrap();
        assert!(!format!("{proxy:?}").contains("s3cret"));
    }

    #[test]
    fn answers() {
        assert_eq!(
            status(b"HTTP/1.1 200 Connection established\r\n\r\n"),
            Some(200)
        );
        assert_eq!(status(b"HTTP/1.0 407 No\r\n\r\n"), Some(407));
        assert_eq!(status(b"SSH-2.0\r\n\r\n"), None);
        assert_eq!(status(b"HTTP/1.1"), None);
    }
}

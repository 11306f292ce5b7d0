//! Fetches a document from an HTTP server by one GET, with bounds on its size and time.

use std::fmt;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;

use async_io::Timer;
use futures_lite::{AsyncRead, AsyncWrite, future};
use futures_rustls::TlsConnector;
use hyper::body::Body as _;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, HOST, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use rustls::pki_types::ServerName;
use sedge_core::security::oauth::JWKS_BYTES_MAX;
use smol::net::TcpStream;
use smol_hyper::rt::FuturesIo;

use crate::limits::JWKS_FETCH_TIME_MAX;
use crate::tls::ClientTls;
use crate::tls::words::{self, Peer};

/// `http://HOST[:PORT]/PATH`, or with https.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl {
    pub is_secure: bool,
    /// Without brackets.
    host: String,
    port: u16,
    /// Host and port as in the URL.
    authority: String,
    /// With the query.
    path: String,
}

impl HttpUrl {
    /// Parses a URL.
    ///
    /// # Errors
    /// The URL is invalid.
    pub fn parse(url: &str) -> Result<Self, String> {
        let (is_secure, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            (None, None) => {
                return Err("the URL begins with neither file:, https:// nor http://".to_owned());
            }
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        let broken = || "the URL is not https://HOST[:PORT]/PATH".to_owned();
        if !is_plain(rest) || rest.contains(['@', '#']) || authority.is_empty() {
            return Err(broken());
        }
        let default = if is_secure { 443 } else { 80 };
        let is_v6 = authority.starts_with('[');
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !is_v6 || host.ends_with(']') => {
                (host, port.parse().map_err(|_| broken())?)
            }
            _ => (authority, default),
        };
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        if host.is_empty() || (bare.is_none() && host.contains([':', '[', ']'])) {
            return Err(broken());
        }
        Ok(Self {
            is_secure,
            host: host.to_owned(),
            port,
            authority: authority.to_owned(),
            path: if path.starts_with('/') {
                path.to_owned()
            } else {
                format!("/{path}")
            },
        })
    }

    /// Returns whether another machine on the way can answer in the server's place.
    pub fn can_be_forged(&self) -> bool {
        let address = self.host.parse::<IpAddr>();
        let is_here = self.host == "localhost" || address.is_ok_and(|of| of.is_loopback());
        !self.is_secure && !is_here
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secure { "https" } else { "http" };
        // A query may contain a secret.
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "{scheme}://{}{path}", self.authority)
    }
}

/// Returns the body of the response to a GET.
///
/// # Errors
/// The request failed; the error names the URL.
pub async fn get(url: &HttpUrl, tls: Option<&Arc<ClientTls>>) -> Result<Vec<u8>, String> {
    let late = async {
        Timer::after(JWKS_FETCH_TIME_MAX).await;
        Err(format!(
            "no answer within {} s",
            JWKS_FETCH_TIME_MAX.as_secs()
        ))
    };
    let got = future::or(fetch(url, tls), late).await;
    got.map_err(|why| format!("cannot get {url}: {why}"))
}

async fn fetch(url: &HttpUrl, tls: Option<&Arc<ClientTls>>) -> Result<Vec<u8>, String> {
    let stream = TcpStream::connect((url.host.as_str(), url.port)).await;
    let stream = stream.map_err(|error| error.to_string())?;
    let Some(tls) = tls else {
        return ask(url, stream).await;
    };
    let tls = Arc::clone(tls);
    let config = blocking::unblock(move || tls.current()).await;
    let config = config.map_err(|error| error.to_string())?;
    let name = ServerName::try_from(url.host.clone()).map_err(|error| error.to_string())?;
    let connected = TlsConnector::from(config).connect(name, stream).await;
    let stream = connected.map_err(|error| match words::of_io(&error) {
        Some(error) => words::explain(error, Peer::Server).1,
        None => error.to_string(),
    })?;
    ask(url, stream).await
}

async fn ask(
    url: &HttpUrl,
    stream: impl AsyncRead + AsyncWrite + Unpin,
) -> Result<Vec<u8>, String> {
    let failed = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(JWKS_BYTES_MAX)
        .handshake(FuturesIo::new(stream))
        .await
        .map_err(failed)?;
    let request = Request::get(&url.path)
        .header(HOST, &url.authority)
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, "sedge")
        .body(String::new())
        .map_err(|error| error.to_string())?;
    let asking = async { collect(sender.send_request(request).await.map_err(failed)?).await };
    let driving = async {
        let ended = connection.await;
        // The answer's end is the other future's to tell.
        match ended {
            Err(error) => Err(failed(error)),
            Ok(()) => future::pending().await,
        }
    };
    future::or(asking, driving).await
}

async fn collect(response: Response<hyper::body::Incoming>) -> Result<Vec<u8>, String> {
    let status = response.status();
    if status != StatusCode::OK {
        let more = if status.is_redirection() {
            "; set the URL that it leads to"
        } else {
            ""
        };
        return Err(format!("the server answers {status}{more}"));
    }
    let mut body = pin!(response.into_body());
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::as_mut(&mut body).poll_frame(context)).await {
        let frame = frame.map_err(|error| error.to_string())?;
        let data = frame.into_data().unwrap_or_default();
        if bytes.len() + data.len() > JWKS_BYTES_MAX {
            return Err(format!("the answer has more than {JWKS_BYTES_MAX} bytes"));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_of_servers() {
        let check = |url: &str, expected: Option<(&str, u16, &str)>| {
            let url = HttpUrl::parse(url);
            let found = url.as_ref().ok();
            let found = found.map(|url| (url.host.as_str(), url.port, url.path.as_str()));
            assert_eq!(found, expected, "{url:?}");
        };
        check("https://idp/keys", Some(("idp", 443, "/keys")));
        check(
            "http://127.0.0.1:80/a?b=c",
            Some(("127.0.0.1", 80, "/a?b=c")),
        );
        check("https://idp:8443", Some(("idp", 8443, "/")));
        check("https://idp?x", Some(("idp", 443, "/?x")));
        check("https://[::1]:1/x", Some(("::1", 1, "/x")));
        check("https://[::1]/x", Some(("::1", 443, "/x")));
        for none in [
            "ftp://idp/",
            "https://",
            "https:///x",
            "https://user@idp/",
            "https://idp:x/",
            "https://::1/",
            "https://idp/a b",
            "https://idp/\n",
            "https://idp/#x",
            "https://:1/",
        ] {
            check(none, None);
        }
        let shown = HttpUrl::parse("https://idp/keys?code=s3cret")
            .unwrap()
            .to_string();
        assert_eq!(shown, "https://idp/keys");
    }
}

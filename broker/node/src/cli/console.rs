//! Requests to a broker's console, with TLS and a token if need be.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use async_io::Timer;
use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _, future};
use zeroize::Zeroizing;

use crate::client::ClientConfig;
use crate::client::config::split_address;
use crate::client::transport::Transport;
use crate::config::{console, file};
use crate::limits;
use crate::process::failure::{Exit, Failure};

/// The port of a console that is not told.
const PORT: u16 = 9644;
/// Bytes that are written at once, so that each has its time.
const PIECE_BYTES: usize = 64 << 10;

/// The console of a broker.
#[derive(Debug)]
pub struct Console {
    purpose: Purpose,
    address: String,
    config: ClientConfig,
    token: Option<Zeroizing<String>>,
}

/// What a command asks a console for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Updates and restarts of a device.
    Device,
    Metrics,
}

impl Purpose {
    /// Returns the flag that has the address, and the scheme of an address without one.
    const fn flag(self) -> (&'static str, &'static str) {
        match self {
            Self::Device => ("--host", "https"),
            Self::Metrics => ("--console", "http"),
        }
    }

    /// Returns the keys of the tokens that serve, the best one first.
    const fn tokens(self) -> &'static [&'static str] {
        match self {
            Self::Device => &[console::DEVICE_TOKEN],
            Self::Metrics => &[console::METRICS_TOKEN, console::TOKEN],
        }
    }
}

/// An answer that is no page.
#[derive(Debug)]
enum Wrong {
    Io(io::Error),
    Connect(crate::client::Error),
    NoAnswer,
}

impl From<io::Error> for Wrong {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Console {
    /// Reads the address and the properties of the way there.
    ///
    /// # Errors
    /// The address or a property is invalid.
    pub fn of(
        purpose: Purpose,
        host: &str,
        command_config: Option<&Path>,
    ) -> Result<Self, Failure> {
        let (flag, scheme) = purpose.flag();
        let (scheme, address) = host.split_once("://").unwrap_or((scheme, host));
        let address = match split_address(address) {
            Some(_) => address.to_owned(),
            None => format!("{address}:{PORT}"),
        };
        if !["http", "https"].contains(&scheme) || split_address(&address).is_none() {
            let what =
                format!("{flag}: `{host}` is not HOST:PORT, with http:// or https:// or not");
            return Err(Failure::new(Exit::Usage, what));
        }
        let wrong = |what: String| Failure::new(Exit::Config, format!("--command-config: {what}"));
        let mut keys = match command_config {
            Some(path) => file::read_properties(path).map_err(|it| wrong(it.to_string()))?,
            None => BTreeMap::new(),
        };
        let mut tokens = purpose.tokens().iter();
        let token = tokens.find_map(|key| keys.remove(*key));
        // The file may be that of other clients, whose logins a console does not know.
        keys.retain(|key, _| key.starts_with("ssl."));
        if scheme == "https" {
            keys.insert("security.protocol".to_owned(), "SSL".to_owned());
        }
        let mut config = ClientConfig::new(vec![address.clone()]);
        config
            .apply(&keys)
            .map_err(|error| wrong(error.to_string()))?;
        Ok(Self {
            purpose,
            address,
            config,
            token: token.map(Zeroizing::new),
        })
    }

    /// Returns a page.
    ///
    /// # Errors
    /// The console cannot be reached, or refuses.
    pub fn get(&self, path: &str) -> Result<String, Failure> {
        self.send("GET", path, &[])
    }

    /// Sends `parts`, one behind the other, and returns the answer.
    ///
    /// # Errors
    /// The console cannot be reached, or refuses.
    pub fn send(&self, method: &str, path: &str, parts: &[&[u8]]) -> Result<String, Failure> {
        async_io::block_on(self.answer(method, path, parts))
    }

    /// Like [`Self::get`], for a command that waits for other things, too.
    ///
    /// # Errors
    /// The console cannot be reached, or refuses.
    pub async fn page(&self, path: &str) -> Result<String, Failure> {
        self.answer("GET", path, &[]).await
    }

    async fn answer(&self, method: &str, path: &str, parts: &[&[u8]]) -> Result<String, Failure> {
        let answer = self.ask(method, path, parts).await;
        let (status, text) = answer.map_err(|wrong| self.unreachable(&wrong))?;
        let said = text.trim_end().to_owned();
        match status {
            200 => Ok(text),
            401 => Err(Failure::new(Exit::Permission, said).advise(format!(
                "write {}=TOKEN into the file of --command-config, as in the broker's sedge.toml",
                self.purpose.tokens().join("=TOKEN or ")
            ))),
            403 => Err(Failure::new(Exit::Permission, said)),
            409 | 413 => Err(Failure::new(Exit::Data, said)),
            503 => Err(Failure::new(Exit::Temporary, said)),
            _ => Err(Failure::new(Exit::Unavailable, said)),
        }
    }

    fn unreachable(&self, wrong: &Wrong) -> Failure {
        let why = match wrong {
            Wrong::Io(error) => error.to_string(),
            Wrong::Connect(error) => error.to_string(),
            Wrong::NoAnswer => "what answers there is no console".to_owned(),
        };
        let what = format!("the console at {} cannot be asked: {why}", self.address);
        let failure = Failure::new(Exit::Unavailable, what);
        match self.purpose {
            Purpose::Device => failure
                .advise("sedge.console=https://0.0.0.0:9644 in the device's sedge.toml opens it"),
            Purpose::Metrics => failure,
        }
    }

    async fn ask(&self, method: &str, path: &str, parts: &[&[u8]]) -> Result<(u16, String), Wrong> {
        let connect = async {
            let connected = Transport::connect(&self.address, &self.config).await;
            connected.map_err(Wrong::Connect)
        };
        let mut transport = within(limits::SCRAPE_TIME_MAX, connect).await?;
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        let mut head = Zeroizing::new(format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {bytes}\r\n",
            self.address
        ));
        if let Some(token) = &self.token {
            head.push_str("Authorization: Bearer ");
            head.push_str(token);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        let pieces = parts.iter().flat_map(|part| part.chunks(PIECE_BYTES));
        for piece in std::iter::once(head.as_bytes()).chain(pieces) {
            let written = async {
                transport.writer.write_all(piece).await?;
                Ok(transport.writer.flush().await?)
            };
            // A console that refuses early has answered already.
            if within(limits::DEVICE_SILENCE_MAX, written).await.is_err() {
                break;
            }
        }
        let mut answer = Vec::new();
        let read = async {
            let mut reader = transport.reader.take(limits::SCRAPE_BYTES_MAX);
            Ok(reader.read_to_end(&mut answer).await)
        };
        let limit = match bytes {
            0 => limits::SCRAPE_TIME_MAX,
            _ => limits::DEVICE_ANSWER_TIME_MAX,
        };
        let ended = within(limit, read).await?;
        match parse(&String::from_utf8_lossy(&answer)) {
            Some(parsed) => Ok(parsed),
            None => Err(ended.map_or_else(Wrong::Io, |_| Wrong::NoAnswer)),
        }
    }
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Wrong>>,
) -> Result<T, Wrong> {
    let late = async {
        Timer::after(limit).await;
        Err(Wrong::Io(io::ErrorKind::TimedOut.into()))
    };
    future::or(work, late).await
}

/// Returns the status and the body of an answer.
fn parse(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_the_console_s_port_and_tls_if_it_says_nothing_else() {
        let check = |host: &str, address: &str, has_tls: bool| {
            let console = Console::of(Purpose::Device, host, None).unwrap();
            assert_eq!(
                (console.address.as_str(), console.config.tls.is_some()),
                (address, has_tls)
            );
        };
        check("edge-7", "edge-7:9644", true);
        check("edge-7:1", "edge-7:1", true);
        check("https://edge-7", "edge-7:9644", true);
        check("http://127.0.0.1:9644", "127.0.0.1:9644", false);
        for wrong in ["", "ftp://edge-7", "edge-7:0:1"] {
            let wrong = Console::of(Purpose::Device, wrong, None);
            assert!(wrong.is_err(), "{wrong:?}");
        }
        let metrics = Console::of(Purpose::Metrics, "edge-7", None).unwrap();
        assert!(metrics.config.tls.is_none());
    }

    #[test]
    fn answers() {
        let parsed = parse("HTTP/1.1 409 Conflict\r\na: b\r\n\r\nwhy\n");
        assert_eq!(parsed, Some((409, "why\n".to_owned())));
        assert_eq!(parse("SSH-2.0\r\n\r\n"), None);
    }
}

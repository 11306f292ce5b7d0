//! The document of public keys: its location, the times at which it is reloaded, and its newest
//! content.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};
use async_io::Timer;
use futures_lite::future;
use log::{info, warn};
use sedge_core::security::oauth::{JWKS_BYTES_MAX, Keys};

use super::fetch::{self, HttpUrl};
use crate::limits::{JWKS_ASKED_EVERY, JWKS_FILE_CHECK_EVERY};
use crate::tls::ClientTls;

/// The location of the document.
#[derive(Debug)]
pub enum Document {
    File(PathBuf),
    Http {
        url: HttpUrl,
        /// For https.
        tls: Option<Arc<ClientTls>>,
    },
}

/// The times at which the document is reloaded.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub refresh: Duration,
    /// The wait after a failure, doubled with each further one up to `backoff_max`.
    pub backoff: Duration,
    pub backoff_max: Duration,
}

/// The document, shared by the logins and the task that reloads it.
#[derive(Debug)]
pub struct Jwks {
    document: Document,
    pace: Pace,
    keys: Mutex<Arc<Keys>>,
    asking: Sender<()>,
    asked: Receiver<()>,
}

impl Jwks {
    /// Reads a file, which must have keys. Only [`Jwks::keep`] asks a server.
    ///
    /// # Errors
    /// The file cannot be read, or has no usable key.
    pub fn new(document: Document, pace: Pace) -> Result<Self, String> {
        let keys = match &document {
            Document::File(path) => parse(&read(path)?)?,
            Document::Http { .. } => Keys::default(),
        };
        let (asking, asked) = async_channel::bounded(1);
        Ok(Self {
            document,
            pace,
            keys: Mutex::new(Arc::new(keys)),
            asking,
            asked,
        })
    }

    /// Returns the reason, with advice, if another machine can put its own keys in the document.
    pub fn insecurity(&self) -> Option<String> {
        match &self.document {
            Document::Http { url, .. } if url.can_be_forged() => Some(format!(
                "sasl.oauthbearer.jwks.endpoint.url: {url} is read without TLS, so another machine                  on the network can replace the keys, and log in as any user; use https"
            )),
            Document::File(_) | Document::Http { .. } => None,
        }
    }

    /// Returns the keys that were loaded last.
    pub fn current(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks for a reload soon, because a token names an unknown key.
    pub fn ask(&self) {
        // If the channel is full, a reload was requested already.
        let _ = self.asking.try_send(());
    }

    /// Reloads the document at its times, for ever.
    pub async fn keep(self: Arc<Self>) {
        let mut backoff = self.pace.backoff;
        let mut due = match self.document {
            Document::File(_) => self.every(),
            Document::Http { .. } => Duration::ZERO,
        };
        loop {
            self.wait(due).await;
            let loaded = Instant::now();
            due = match self.load().await {
                Ok(()) => {
                    backoff = self.pace.backoff;
                    self.every()
                }
                Err(why) => {
                    let count = self.current().len();
                    warn!(
                        target: "sedge::oauth",
                        "sasl.oauthbearer.jwks.endpoint.url: {why}; {}",
                        match count {
                            0 => "no token is accepted until it can be loaded".to_owned(),
                            count => format!("the {count} keys that were loaded before stay"),
                        }
                    );
                    let due = backoff.min(self.pace.backoff_max);
                    backoff = backoff.saturating_mul(2);
                    due
                }
            };
            // A client that makes up names of keys must not decide how often the document is
            // loaded.
            let rest = JWKS_ASKED_EVERY.saturating_sub(loaded.elapsed());
            Timer::after(rest.min(due)).await;
        }
    }

    fn every(&self) -> Duration {
        match self.document {
            // Checking a file costs next to nothing.
            Document::File(_) => self.pace.refresh.min(JWKS_FILE_CHECK_EVERY),
            Document::Http { .. } => self.pace.refresh,
        }
    }

    /// Waits until `due` has passed, or a token asks for a reload.
    async fn wait(&self, due: Duration) {
        let by_time = async {
            Timer::after(due).await;
        };
        let by_token = async {
            let _ = self.asked.recv().await;
        };
        future::or(by_token, by_time).await;
    }

    pub(super) async fn load(self: &Arc<Self>) -> Result<(), String> {
        let bytes = match &self.document {
            Document::File(_) => {
                let this = Arc::clone(self);
                let reading = move || match &this.document {
                    Document::File(path) => read(path),
                    Document::Http { .. } => Ok(Vec::new()),
                };
                blocking::unblock(reading).await?
            }
            Document::Http { url, tls } => fetch::get(url, tls.as_ref()).await?,
        };
        let keys = parse(&bytes)?;
        let mut current = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if **current != keys {
            info!(
                target: "sedge::oauth",
                "sasl.oauthbearer.jwks.endpoint.url: {} keys are loaded", keys.len()
            );
            *current = Arc::new(keys);
        }
        Ok(())
    }
}

fn parse(bytes: &[u8]) -> Result<Keys, String> {
    Keys::parse(bytes).map_err(|why| format!("the document cannot be used: {why}"))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    let mut limited = file.take(JWKS_BYTES_MAX as u64 + 1);
    limited.read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

//! The client's messages of one login.

use std::fmt;

use ring::rand::{SecureRandom as _, SystemRandom};
use sedge_core::base64;
use sedge_core::security::scram::{Client, Mechanism, ScramError};
use sedge_protocol::Bytes;

use crate::client::limits::NONCE_BYTES;
use crate::tls::settings::Secret;

/// The client's side of one login.
pub struct Exchange {
    /// The first message, which was not sent yet.
    first: Bytes,
    state: State,
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exchange")
    }
}

enum State {
    /// The message was sent; the broker answers without a message of its own.
    Sent,
    /// The token was sent. A broker that refuses it sends the reason as a challenge, which the
    /// client has to answer.
    SentToken,
    /// The broker refused the token, with this reason.
    Refused(String),
    /// The broker sends salt and iterations, and then proves that it knows the password.
    Scram {
        client: Client,
        /// `None` once it was used.
        password: Option<Secret>,
    },
}

/// The client's next step after a message of the broker.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this message.
    Send(Bytes),
    /// The client is logged in.
    Done,
}

impl Exchange {
    /// RFC 4616, without an authorization identity.
    pub(super) fn plain(username: &str, password: &str) -> Self {
        let parts = [b"\0", username.as_bytes(), b"\0", password.as_bytes()];
        Self {
            first: joined(&parts),
            state: State::Sent,
        }
    }

    /// RFC 7628, without an authorization identity.
    pub(super) fn oauthbearer(token: &str, extensions: &[(String, String)]) -> Self {
        let mut parts: Vec<&[u8]> = vec![b"n,,\x01auth=Bearer ", token.as_bytes(), b"\x01"];
        for (name, value) in extensions {
            parts.extend([name.as_bytes(), b"=", value.as_bytes(), b"\x01"]);
        }
        parts.push(b"\x01");
        Self {
            first: joined(&parts),
            state: State::SentToken,
        }
    }

    /// RFC 5802.
    pub(super) fn scram(
        mechanism: Mechanism,
        username: &str,
        password: &Secret,
        is_token: bool,
    ) -> Self {
        let mut nonce = [0; NONCE_BYTES];
        SystemRandom::new()
            .fill(&mut nonce)
            .expect("the operating system has randomness");
        let nonce = base64::encode(&nonce);
        let (client, first) = Client::begin(mechanism, username, is_token, &nonce);
        Self {
            first: first.into(),
            state: State::Scram {
                client,
                password: Some(password.clone()),
            },
        }
    }

    /// Returns the first message of the client.
    pub fn first(&mut self) -> Bytes {
        std::mem::take(&mut self.first)
    }

    /// Processes a message of a broker that did not refuse the previous one. Blocks while SCRAM
    /// hashes the password.
    ///
    /// # Errors
    /// The reason why the login fails.
    pub fn step(&mut self, challenge: &[u8]) -> Result<Step, String> {
        match &mut self.state {
            State::Scram { client, password } => {
                let failed = |error: ScramError| error.to_string();
                let Some(password) = password.take() else {
                    return client
                        .finish(challenge)
                        .map(|()| Step::Done)
                        .map_err(failed);
                };
                let answer = client.answer(challenge, password.text());
                answer.map(|of| Step::Send(of.into())).map_err(failed)
            }
            State::Refused(why) => Err(why.clone()),
            State::Sent | State::SentToken if challenge.is_empty() => Ok(Step::Done),
            State::Sent => Err("the broker asks for more than this mechanism has".to_owned()),
            State::SentToken => {
                let said = printable(&String::from_utf8_lossy(challenge));
                self.state = State::Refused(format!("the broker refuses the token: {said}"));
                Ok(Step::Send(Bytes::from_static(b"\x01")))
            }
        }
    }
}

/// Joins the parts in memory of exactly their size: a buffer that grows would leave a copy behind.
fn joined(parts: &[&[u8]]) -> Bytes {
    let length = parts.iter().map(|part| part.len()).sum();
    let mut message = Vec::with_capacity(length);
    for part in parts {
        message.extend_from_slice(part);
    }
    message.into()
}

/// Characters of a broker's message that an error shows.
const SAID_MAX: usize = 500;

/// Returns a broker's message, shortened and escaped for an error.
pub fn printable(said: &str) -> String {
    let letters = said.chars().filter(|letter| !letter.is_control());
    letters.take(SAID_MAX).collect()
}

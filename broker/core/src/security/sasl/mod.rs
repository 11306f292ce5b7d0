//! SASL: what a mechanism of the broker answers to the messages of a client, and who the client is.
//!
//! A mechanism is an [`Exchange`], which the connection makes when the client has chosen it, and
//! drops when it ends. An exchange has no clock and no randomness: its maker passes them in.
//!
//! **Invariant:** before a client has logged in, only ApiVersions and its login are answered
//! ([`Login::check`], `tests/sasl/hostile.rs`). A connection's principal never changes.
//! **Invariant:** responses do not reveal which users exist: each failed login has the same answer
//! ([`Mechanism::refusal`]), and a user that does not exist gets a SCRAM salt (`Users::decoy`,
//! `tests/sasl/hostile.rs`).

pub mod login;
mod oauthbearer;
mod plain;
mod scram;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

pub use login::{Answer, Barred, HandshakeAnswer, Login};
pub use oauthbearer::{OAuthBearer, Verifier};
pub use plain::{Passwords, Plain};
pub use scram::{Credentials, Scram, Token};

use super::Principal;
use super::scram::Mechanism as Hash;

/// A mechanism that the broker supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mechanism {
    /// RFC 4616: the client sends its password.
    Plain,
    /// RFC 5802.
    Scram(Hash),
    /// RFC 7628: the client shows a signed token.
    OAuthBearer,
}

impl Mechanism {
    /// All of them, the strongest first.
    pub const EACH: [Self; 4] = [
        Self::Scram(Hash::Sha512),
        Self::Scram(Hash::Sha256),
        Self::OAuthBearer,
        Self::Plain,
    ];

    /// Returns the mechanism of this name, which is in capitals.
    ///
    /// # Errors
    /// The broker has none of this name; the message says which it has.
    pub fn parse(name: &str) -> Result<Self, String> {
        let found = Self::EACH.into_iter().find(|one| one.name() == name);
        found.ok_or_else(|| {
            let names = Self::EACH.map(Self::name).join(", ");
            format!("`{name}` is no SASL mechanism that sedge has: {names} are")
        })
    }

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Scram(hash) => hash.name(),
            Self::OAuthBearer => "OAUTHBEARER",
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The broker's side of one authentication.
pub trait Exchange: fmt::Debug + Send {
    /// Takes the next message of the client. After [`Step::Done`] and [`Step::Refused`] there is
    /// none.
    fn step(&mut self, message: &[u8]) -> Step;
}

/// What follows from a message of the client.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// These bytes are sent, and the client sends another message.
    Continue(Vec<u8>),
    /// The client is authenticated.
    Done(Done),
    /// The client is not who it says, or breaks the rules of the mechanism.
    Refused(Refused),
}

/// The end of a successful exchange.
#[derive(Debug, PartialEq, Eq)]
pub struct Done {
    /// The last bytes to send.
    pub bytes: Vec<u8>,
    pub principal: Principal,
    /// Whether the client showed a delegation token.
    pub is_token: bool,
    /// When what the client showed expires, in milliseconds since 1970. `None`: never.
    pub expires_at_ms: Option<i64>,
}

/// The end of a failed exchange.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    /// The message for the client. It must not say which users exist. `None`: the one of
    /// [`Mechanism::refusal`].
    pub message: Option<String>,
    /// The reason for the log, without secrets.
    pub why: String,
}

/// Characters of a user's name in a line of the log.
const NAME_CHARS: usize = 80;

impl Refused {
    /// Refuses with the message that all mechanisms share.
    fn because(user: Option<&str>, why: impl fmt::Display) -> Step {
        let why = match user {
            // Written as a literal: a stranger's text must not look like another line of the log.
            Some(user) => {
                let user: String = user.chars().take(NAME_CHARS).collect();
                format!("user {user:?}: {why}")
            }
            None => format!("{why}"),
        };
        Step::Refused(Self { message: None, why })
    }
}

impl Mechanism {
    /// What a client is told whose exchange failed: the same for each reason
    /// (`SaslServerAuthenticator.handleSaslToken`).
    #[must_use]
    pub fn refusal(self) -> String {
        format!(
            "Authentication failed during authentication due to invalid credentials with SASL \
             mechanism {self}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mechanism_is_found_by_its_name() {
        for mechanism in Mechanism::EACH {
            assert_eq!(Mechanism::parse(mechanism.name()), Ok(mechanism));
        }
        let why = Mechanism::parse("GSSAPI").unwrap_err();
        assert_eq!(
            why,
            "`GSSAPI` is no SASL mechanism that sedge has: SCRAM-SHA-512, SCRAM-SHA-256, \
             OAUTHBEARER, PLAIN are"
        );
        assert!(Mechanism::parse("plain").is_err());
    }
}

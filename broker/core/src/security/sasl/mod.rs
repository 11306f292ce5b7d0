//! SASL: the broker's side of each mechanism, which finds out who a client is.
//!
//! A mechanism is an [`Exchange`], which the connection creates when the client has chosen it, and
//! drops at its end. An exchange has no clock and no random source: its creator passes them in.
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
    /// Handles the next message of the client. Not called again after [`Step::Done`] or
    /// [`Step::Refused`].
    fn step(&mut self, message: &[u8]) -> Step;
}

/// The next step after a message of the client.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Send these bytes; the client then sends another message.
    Continue(Vec<u8>),
    /// The client is authenticated.
    Done(Done),
    /// The client could not prove its identity, or broke the rules of the mechanism.
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
    /// The time at which the client's credential expires, in milliseconds since 1970. `None`:
    /// never.
    pub expires_at_ms: Option<i64>,
}

/// The end of a failed exchange.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    /// The message for the client, which must not reveal which users exist. `None` stands for
    /// [`Mechanism::refusal`].
    pub message: Option<String>,
    /// The reason for the log, without secrets.
    pub why: String,
}

/// Characters of a user's name that a log line shows.
const NAME_CHARS: usize = 80;

impl Refused {
    /// Refuses with the message that all mechanisms share.
    fn because(user: Option<&str>, why: impl fmt::Display) -> Step {
        let why = match user {
            // Escaped: a stranger's text must not look like another log line.
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
    /// Returns the message for a client whose exchange failed, the same for each reason
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

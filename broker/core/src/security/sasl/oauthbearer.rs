//! OAUTHBEARER (RFC 7628) as an [`Exchange`].

use alloc::string::ToString as _;
use alloc::vec::Vec;
use core::fmt;

use super::{Done, Exchange, Refused, Step};
use crate::security::Principal;
use crate::security::oauth::{ClientMessage, INVALID_TOKEN, Identity, Refusal};

/// The verifier of a listener's tokens.
pub trait Verifier: fmt::Debug + Send {
    /// Returns the identity of a token's bearer at this moment.
    ///
    /// # Errors
    /// The reason why the token is refused.
    fn identify(&self, token: &str) -> Result<Identity, Refusal>;
}

/// An exchange of OAUTHBEARER.
#[derive(Debug)]
pub struct OAuthBearer<V> {
    verifier: V,
    /// The refusal, until the client has acknowledged it.
    refused: Option<Refusal>,
}

impl<V: Verifier> OAuthBearer<V> {
    #[must_use]
    pub const fn new(verifier: V) -> Self {
        Self {
            verifier,
            refused: None,
        }
    }

    fn identify(&self, message: &[u8]) -> Result<Identity, Refusal> {
        let message = ClientMessage::parse(message)?;
        let identity = self.verifier.identify(message.token)?;
        match message.authorization_id {
            Some(other) if other != identity.name => Err(Refusal::AuthorizationId),
            _ => Ok(identity),
        }
    }
}

impl<V: Verifier> Exchange for OAuthBearer<V> {
    /// RFC 7628, 3.2.3: a token that is not accepted is answered with the reason, which the client
    /// acknowledges, and only then the exchange fails.
    fn step(&mut self, message: &[u8]) -> Step {
        if let Some(refusal) = self.refused.take() {
            return Step::Refused(Refused {
                message: Some(INVALID_TOKEN.into()),
                why: refusal.to_string(),
            });
        }
        match self.identify(message) {
            Ok(identity) => Step::Done(Done {
                bytes: Vec::new(),
                principal: Principal::user(&identity.name),
                is_token: false,
                expires_at_ms: Some(milliseconds(identity.expires_s)),
            }),
            Err(refusal @ Refusal::Message(_)) => Refused::because(None, refusal),
            Err(refusal) => {
                self.refused = Some(refusal);
                Step::Continue(INVALID_TOKEN.as_bytes().to_vec())
            }
        }
    }
}

fn milliseconds(seconds: u64) -> i64 {
    i64::try_from(seconds)
        .unwrap_or(i64::MAX)
        .saturating_mul(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Knows one token.
    #[derive(Debug)]
    struct One;

    impl Verifier for One {
        fn identify(&self, token: &str) -> Result<Identity, Refusal> {
            match token {
                "good" => Ok(Identity {
                    name: "alice".into(),
                    expires_s: 7,
                }),
                "endless" => Ok(Identity {
                    name: "alice".into(),
                    expires_s: u64::MAX,
                }),
                _ => Err(Refusal::Signature),
            }
        }
    }

    fn first(message: &[u8]) -> (OAuthBearer<One>, Step) {
        let mut exchange = OAuthBearer::new(One);
        let step = exchange.step(message);
        (exchange, step)
    }

    #[test]
    fn the_bearer_of_a_token_is_its_subject_until_it_expires() {
        let check = |message: &[u8], expires_at_ms: i64| {
            let done = Done {
                bytes: Vec::new(),
                principal: Principal::user("alice"),
                is_token: false,
                expires_at_ms: Some(expires_at_ms),
            };
            assert_eq!(first(message).1, Step::Done(done));
        };
        check(b"n,,\x01auth=Bearer good\x01\x01", 7_000);
        check(b"n,a=alice,\x01auth=Bearer good\x01\x01", 7_000);
        check(b"n,,\x01auth=Bearer endless\x01\x01", i64::MAX);
    }

    #[test]
    fn a_token_that_is_not_accepted_fails_when_the_client_knows() {
        for (message, refusal) in [
            (&b"n,,\x01auth=Bearer bad\x01\x01"[..], Refusal::Signature),
            (
                b"n,a=root,\x01auth=Bearer good\x01\x01",
                Refusal::AuthorizationId,
            ),
        ] {
            let (mut exchange, step) = first(message);
            assert_eq!(step, Step::Continue(INVALID_TOKEN.as_bytes().to_vec()));
            // Whatever comes then, even a good token.
            let Step::Refused(refused) = exchange.step(b"n,,\x01auth=Bearer good\x01\x01") else {
                panic!("it is not refused");
            };
            assert_eq!(refused.message.as_deref(), Some(INVALID_TOKEN));
            assert_eq!(refused.why, refusal.to_string());
        }
    }

    #[test]
    fn a_message_that_is_none_is_refused_at_once() {
        for message in [&b""[..], b"\x01", b"\0alice\0x", b"n,,n=alice,r=x"] {
            assert!(matches!(first(message).1, Step::Refused(_)), "{message:?}");
        }
    }
}

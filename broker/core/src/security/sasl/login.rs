//! The login of one connection: handshake, exchange, and re-authentication (KIP-368).
//!
//! **Invariant:** the principal of a connection never changes (`another_principal_is_refused`).

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Done, Exchange, Mechanism, Step};
use crate::security::Principal;
use crate::security::limits::REAUTHENTICATION_PAUSE_MS;

/// The state of a connection's login. Times are in milliseconds, of a monotonic clock.
#[derive(Debug)]
pub struct Login {
    /// The listener's mechanisms, in its order.
    mechanisms: Vec<Mechanism>,
    /// Longest session (`connections.max.reauth.ms`).
    session_ms_max: Option<u64>,
    exchange: Option<Running>,
    session: Option<Session>,
}

#[derive(Debug)]
struct Running {
    exchange: Box<dyn Exchange>,
    mechanism: Mechanism,
    /// Whether messages are frames without a header, because the handshake had version 0.
    is_raw: bool,
}

/// The identity of the connection since its last authentication.
#[derive(Debug)]
struct Session {
    principal: Principal,
    mechanism: Mechanism,
    begun_ms: u64,
    expires_ms: Option<u64>,
}

/// The kinds of requests that a login distinguishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    ApiVersions,
    Handshake,
    Authenticate,
    Other,
}

/// The reason why a request closes the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barred {
    /// The client is not authenticated.
    Unauthenticated,
    /// The client sent another request during an exchange.
    DuringExchange,
    /// The session expired, and the client did not authenticate again.
    Expired,
}

/// The answer to a SaslHandshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeAnswer {
    Accepted,
    /// The listener has no such mechanism.
    Unsupported,
    /// The client authenticated with another mechanism before.
    OtherMechanism,
    /// An exchange is running, or the client authenticated a moment ago.
    IllegalState,
}

/// The answer to a message of an exchange.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    Continue(Vec<u8>),
    Done {
        bytes: Vec<u8>,
        principal: Principal,
        mechanism: Mechanism,
        /// Whether the client showed a delegation token.
        is_token: bool,
        /// Whether the client was authenticated before.
        is_again: bool,
        /// Lifetime of the session; 0: no end.
        lifetime_ms: u64,
    },
    Failed {
        mechanism: Mechanism,
        /// For the client.
        message: String,
        /// For the log.
        why: String,
    },
    /// There was no handshake.
    IllegalState,
}

impl Login {
    #[must_use]
    pub const fn new(mechanisms: Vec<Mechanism>, session_ms_max: Option<u64>) -> Self {
        Self {
            mechanisms,
            session_ms_max,
            exchange: None,
            session: None,
        }
    }

    /// Returns whether the next frame is a message of an exchange, without a header.
    #[must_use]
    pub fn expects_raw(&self) -> bool {
        self.exchange.as_ref().is_some_and(|running| running.is_raw)
    }

    /// Checks that a request is allowed now.
    ///
    /// # Errors
    /// The connection must be closed.
    pub fn check(&self, request: Request, now_ms: u64) -> Result<(), Barred> {
        if matches!(request, Request::Handshake | Request::Authenticate) {
            return Ok(());
        }
        match (&self.exchange, &self.session) {
            (Some(_), _) => Err(Barred::DuringExchange),
            (None, Some(session)) if session.is_over(now_ms) => Err(Barred::Expired),
            (None, None) if request == Request::Other => Err(Barred::Unauthenticated),
            (None, _) => Ok(()),
        }
    }

    /// Handles a SaslHandshake that chooses this mechanism. `make` creates its exchange.
    pub fn handshake(
        &mut self,
        name: &str,
        version: i16,
        now_ms: u64,
        make: impl FnOnce(Mechanism) -> Box<dyn Exchange>,
    ) -> HandshakeAnswer {
        // `SaslServerAuthenticator` allows one in a second. A client that tries more stays
        // connected.
        let is_early = self.session.as_ref().is_some_and(|session| {
            now_ms.saturating_sub(session.begun_ms) < REAUTHENTICATION_PAUSE_MS
        });
        if self.exchange.is_some() || is_early {
            return HandshakeAnswer::IllegalState;
        }
        let found = self.mechanisms.iter().find(|of| of.name() == name);
        let Some(mechanism) = found.copied() else {
            return HandshakeAnswer::Unsupported;
        };
        if let Some(session) = &self.session
            && session.mechanism != mechanism
        {
            return HandshakeAnswer::OtherMechanism;
        }
        self.exchange = Some(Running {
            exchange: make(mechanism),
            mechanism,
            is_raw: version == 0,
        });
        HandshakeAnswer::Accepted
    }

    /// Handles a message of the exchange. `version` is the version of the SaslAuthenticate, or 0
    /// for a frame without a header. `wall_ms` is the time since 1970.
    pub fn authenticate(
        &mut self,
        message: &[u8],
        version: i16,
        now_ms: u64,
        wall_ms: i64,
    ) -> Answer {
        let Some(mut running) = self.exchange.take() else {
            return Answer::IllegalState;
        };
        let mechanism = running.mechanism;
        match running.exchange.step(message) {
            Step::Continue(bytes) => {
                self.exchange = Some(running);
                Answer::Continue(bytes)
            }
            Step::Done(done) => self.end(mechanism, done, version, now_ms, wall_ms),
            Step::Refused(refused) => Answer::Failed {
                mechanism,
                message: refused.message.unwrap_or_else(|| mechanism.refusal()),
                why: refused.why,
            },
        }
    }

    fn end(
        &mut self,
        mechanism: Mechanism,
        done: Done,
        version: i16,
        now_ms: u64,
        wall_ms: i64,
    ) -> Answer {
        let before = self.session.as_ref().map(|session| &session.principal);
        if let Some(before) = before
            && *before != done.principal
        {
            return Answer::Failed {
                mechanism,
                message: format!("Cannot change principals during re-authentication from {before}"),
                why: format!(
                    "it is {before} and authenticated again as {}",
                    done.principal
                ),
            };
        }
        let is_again = before.is_some();
        let credential_ms = done.expires_at_ms.map(|at_ms| {
            let left_ms = at_ms.saturating_sub(wall_ms);
            u64::try_from(left_ms).unwrap_or(0)
        });
        if credential_ms == Some(0) {
            return Answer::Failed {
                mechanism,
                message: mechanism.refusal(),
                why: format!("the credential of {} has expired", done.principal),
            };
        }
        // A client that does not know of session lifetimes is not held to this key, as in Kafka. A
        // credential that expires ends each session.
        let of_key = self.session_ms_max.filter(|_| version > 0);
        let lifetime_ms = match (credential_ms, of_key) {
            (Some(credential), Some(key)) => Some(credential.min(key)),
            (credential, key) => credential.or(key),
        };
        self.session = Some(Session {
            principal: done.principal.clone(),
            mechanism,
            begun_ms: now_ms,
            expires_ms: lifetime_ms.map(|lifetime| now_ms.saturating_add(lifetime)),
        });
        Answer::Done {
            bytes: done.bytes,
            principal: done.principal,
            mechanism,
            is_token: done.is_token,
            is_again,
            lifetime_ms: lifetime_ms.unwrap_or(0),
        }
    }
}

impl Session {
    fn is_over(&self, now_ms: u64) -> bool {
        self.expires_ms.is_some_and(|expires| now_ms >= expires)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::security::sasl::Refused;

    const PLAIN: Mechanism = Mechanism::Plain;
    const WALL_MS: i64 = 1_000_000;

    /// Goes on after `more`, and takes `USER` or `USER EXPIRES_AT_MS` as the user.
    #[derive(Debug)]
    struct Named;

    impl Exchange for Named {
        fn step(&mut self, message: &[u8]) -> Step {
            let text = core::str::from_utf8(message).unwrap();
            let (user, expires) = text.split_once(' ').unwrap_or((text, ""));
            match user {
                "more" => Step::Continue(b"go on".to_vec()),
                "nobody" => Refused::because(Some("nobody"), "wrong"),
                user => Step::Done(Done {
                    bytes: b"bye".to_vec(),
                    principal: Principal::user(user),
                    is_token: false,
                    expires_at_ms: expires.parse().ok(),
                }),
            }
        }
    }

    fn login(session_ms_max: Option<u64>) -> Login {
        let scram = Mechanism::Scram(crate::security::scram::Mechanism::Sha256);
        Login::new(vec![scram, PLAIN], session_ms_max)
    }

    fn shake(login: &mut Login, name: &str, now_ms: u64) -> HandshakeAnswer {
        login.handshake(name, 1, now_ms, |_| Box::new(Named))
    }

    fn lifetime(login: &mut Login, message: &str, version: i16, now_ms: u64) -> Option<u64> {
        match login.authenticate(message.as_bytes(), version, now_ms, WALL_MS) {
            Answer::Done { lifetime_ms, .. } => Some(lifetime_ms),
            Answer::Failed { .. } => None,
            other => panic!("{message}: {other:?}"),
        }
    }

    #[test]
    fn before_it_is_authenticated_a_client_may_only_authenticate() {
        let mut login = login(None);
        assert_eq!(login.check(Request::ApiVersions, 0), Ok(()));
        assert_eq!(login.check(Request::Handshake, 0), Ok(()));
        let unauthenticated = Err(Barred::Unauthenticated);
        assert_eq!(login.check(Request::Other, 0), unauthenticated);
        assert_eq!(login.authenticate(b"a", 1, 0, 0), Answer::IllegalState);
        assert_eq!(shake(&mut login, "GSSAPI", 0), HandshakeAnswer::Unsupported);
        assert_eq!(login.check(Request::Other, 0), unauthenticated);
        assert_eq!(shake(&mut login, "PLAIN", 0), HandshakeAnswer::Accepted);
        for request in [Request::ApiVersions, Request::Other] {
            assert_eq!(login.check(request, 0), Err(Barred::DuringExchange));
        }
        assert_eq!(shake(&mut login, "PLAIN", 0), HandshakeAnswer::IllegalState);
        let go_on = Answer::Continue(b"go on".to_vec());
        assert_eq!(login.authenticate(b"more", 1, 0, 0), go_on);
        assert_eq!(login.check(Request::Other, 0), Err(Barred::DuringExchange));
        assert_eq!(lifetime(&mut login, "a", 1, 0), Some(0));
        assert_eq!(login.check(Request::Other, u64::MAX), Ok(()));
        assert_eq!(login.authenticate(b"a", 1, 0, 0), Answer::IllegalState);
    }

    #[test]
    fn a_failed_exchange_leaves_nothing_behind() {
        let mut login = login(None);
        shake(&mut login, "PLAIN", 0);
        let Answer::Failed { message, why, .. } = login.authenticate(b"nobody", 1, 0, 0) else {
            panic!("not failed");
        };
        assert_eq!(message, PLAIN.refusal());
        assert_eq!(why, "user \"nobody\": wrong");
        assert_eq!(login.authenticate(b"a", 1, 0, 0), Answer::IllegalState);
        assert_eq!(login.check(Request::Other, 0), Err(Barred::Unauthenticated));
    }

    #[test]
    fn a_handshake_of_version_0_is_followed_by_frames_without_headers() {
        let mut login = login(None);
        assert!(!login.expects_raw());
        login.handshake("PLAIN", 0, 0, |_| Box::new(Named));
        assert!(login.expects_raw());
        assert_eq!(lifetime(&mut login, "a", 0, 0), Some(0));
        assert!(!login.expects_raw());
    }

    #[test]
    fn a_session_ends_unless_the_client_authenticates_again() {
        let mut login = login(Some(5_000));
        shake(&mut login, "PLAIN", 0);
        assert_eq!(lifetime(&mut login, "a", 1, 0), Some(5_000));
        assert_eq!(login.check(Request::Other, 4_999), Ok(()));
        for request in [Request::ApiVersions, Request::Other] {
            assert_eq!(login.check(request, 5_000), Err(Barred::Expired));
        }
        assert_eq!(login.check(Request::Handshake, 5_000), Ok(()));
        let early = shake(&mut login, "PLAIN", REAUTHENTICATION_PAUSE_MS - 1);
        assert_eq!(early, HandshakeAnswer::IllegalState);
        let other = shake(&mut login, "SCRAM-SHA-256", 6_000);
        assert_eq!(other, HandshakeAnswer::OtherMechanism);
        assert_eq!(shake(&mut login, "PLAIN", 6_000), HandshakeAnswer::Accepted);
        assert_eq!(lifetime(&mut login, "a", 1, 6_000), Some(5_000));
        assert_eq!(login.check(Request::Other, 10_999), Ok(()));
        assert_eq!(login.check(Request::Other, 11_000), Err(Barred::Expired));
    }

    #[test]
    fn another_principal_is_refused() {
        let mut login = login(None);
        shake(&mut login, "PLAIN", 0);
        assert_eq!(lifetime(&mut login, "a", 1, 0), Some(0));
        shake(&mut login, "PLAIN", 2_000);
        let Answer::Failed { why, .. } = login.authenticate(b"b", 1, 2_000, 0) else {
            panic!("not failed");
        };
        assert_eq!(why, "it is User:a and authenticated again as User:b");
    }

    #[test]
    fn a_session_is_not_longer_than_its_credential() {
        let check = |key: Option<u64>, expires: i64, version, expected: Option<u64>| {
            let mut login = login(key);
            shake(&mut login, "PLAIN", 0);
            let message = format!("a {}", WALL_MS + expires);
            let found = lifetime(&mut login, &message, version, 0);
            assert_eq!(found, expected, "{key:?} {expires} v{version}");
        };
        check(None, 700, 1, Some(700));
        check(Some(5_000), 700, 1, Some(700));
        check(Some(500), 700, 1, Some(500));
        // The client does not know of lifetimes.
        check(Some(500), 700, 0, Some(700));
        check(None, 0, 1, None);
        check(None, -1, 1, None);
    }
}

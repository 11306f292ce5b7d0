//! SCRAM as an [`Exchange`]: the credential is looked up when the first message names the user.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;

use super::{Done, Exchange, Refused, Step};
use crate::security::scram::{ClientFirst, Credential, Mechanism, Server};
use crate::security::{Principal, Users};

/// The credentials that the broker knows.
pub trait Credentials: fmt::Debug + Send {
    /// Returns the current users.
    fn users(&self) -> Arc<Users>;

    /// Returns a delegation token that has not expired.
    fn token(&self, id: &str, mechanism: Mechanism) -> Option<Token>;
}

/// A delegation token, by which a client logs in as its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub credential: Credential,
    pub owner: Principal,
    /// In milliseconds since 1970.
    pub expires_at_ms: i64,
}

/// An exchange of SCRAM.
#[derive(Debug)]
pub struct Scram<C> {
    mechanism: Mechanism,
    credentials: C,
    /// Random, printable and without commas.
    nonce: String,
    /// Set after the first message.
    begun: Option<Begun>,
}

#[derive(Debug)]
struct Begun {
    server: Server,
    user: String,
    principal: Principal,
    expires_at_ms: Option<i64>,
}

impl<C: Credentials> Scram<C> {
    #[must_use]
    pub const fn new(mechanism: Mechanism, credentials: C, nonce: String) -> Self {
        Self {
            mechanism,
            credentials,
            nonce,
            begun: None,
        }
    }

    fn begin(&mut self, message: &[u8]) -> Step {
        let first = match ClientFirst::read(message) {
            Ok(first) => first,
            Err(error) => return Refused::because(None, error),
        };
        let user = first.user.clone();
        let users = self.credentials.users();
        let known = if first.is_token {
            let token = self.credentials.token(&user, self.mechanism);
            token.map(|of| (of.credential, of.owner, Some(of.expires_at_ms)))
        } else {
            let credential = users.credential(&user, self.mechanism);
            credential.map(|of| (Credential::clone(of), Principal::user(&user), None))
        };
        // Created even if the user exists, so that both cases take the same time.
        let decoy = users.decoy(&user, self.mechanism);
        let (credential, principal, expires_at_ms) = match known {
            Some((credential, principal, expires)) => (Some(credential), principal, expires),
            None => (None, Principal::ANONYMOUS, None),
        };
        let (server, answer) = Server::begin(first, credential, decoy, &self.nonce);
        self.begun = Some(Begun {
            server,
            user,
            principal,
            expires_at_ms,
        });
        Step::Continue(answer)
    }
}

impl<C: Credentials> Exchange for Scram<C> {
    fn step(&mut self, message: &[u8]) -> Step {
        let Some(begun) = self.begun.take() else {
            return self.begin(message);
        };
        match begun.server.finish(message) {
            Ok(bytes) => Step::Done(Done {
                bytes,
                principal: begun.principal,
                is_token: begun.expires_at_ms.is_some(),
                expires_at_ms: begun.expires_at_ms,
            }),
            Err(error) => Refused::because(Some(&begun.user), error),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::security::limits::SCRAM_ITERATIONS_MIN;
    use crate::security::scram::{Client, ScramError};

    const MECHANISM: Mechanism = Mechanism::Sha256;

    fn credential(password: &str) -> Credential {
        let salt = b"salt".to_vec();
        Credential::of_password(MECHANISM, password, salt, SCRAM_ITERATIONS_MIN).unwrap()
    }

    /// Alice, and a token of hers.
    #[derive(Debug)]
    struct One;

    impl Credentials for One {
        fn users(&self) -> Arc<Users> {
            let mut users = Users::default();
            users.set("alice", credential("password"));
            Arc::new(users)
        }

        fn token(&self, id: &str, _: Mechanism) -> Option<Token> {
            (id == "token").then(|| Token {
                credential: credential("hmac"),
                owner: Principal::user("alice"),
                expires_at_ms: 7,
            })
        }
    }

    fn log_in(
        user: &str,
        is_token: bool,
        password: &str,
    ) -> Result<(Principal, Option<i64>), String> {
        let mut exchange = Scram::new(MECHANISM, One, "of-the-broker".into());
        let (mut client, first) = Client::begin(MECHANISM, user, is_token, "nonce");
        let Step::Continue(answer) = exchange.step(&first) else {
            panic!("not begun");
        };
        let last: Vec<u8> = client.answer(&answer, password).unwrap();
        match exchange.step(&last) {
            Step::Done(done) => {
                client.finish(&done.bytes).unwrap();
                Ok((done.principal, done.expires_at_ms))
            }
            Step::Refused(refused) => {
                assert_eq!(refused.message, None);
                Err(refused.why)
            }
            Step::Continue(_) => panic!("goes on"),
        }
    }

    #[test]
    fn a_client_is_its_user_or_the_owner_of_its_token() {
        let alice = Principal::user("alice");
        assert_eq!(
            log_in("alice", false, "password"),
            Ok((alice.clone(), None))
        );
        assert_eq!(log_in("token", true, "hmac"), Ok((alice, Some(7))));
        for (user, is_token, password) in [
            ("alice", false, "hmac"),
            ("alice", true, "password"),
            ("token", false, "hmac"),
            ("bob", false, "password"),
        ] {
            let why = log_in(user, is_token, password).unwrap_err();
            let refused = alloc::format!("user {user:?}: {}", ScramError::Refused);
            assert_eq!(why, refused);
        }
    }

    #[test]
    fn an_exchange_whose_first_message_is_none_is_refused() {
        let mut exchange = Scram::new(MECHANISM, One, "of-the-broker".into());
        assert!(matches!(exchange.step(b"\0alice\0x"), Step::Refused(_)));
    }
}

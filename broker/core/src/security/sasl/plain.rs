//! PLAIN (RFC 4616): one message with the user's name and password.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use ring::hmac;

use super::{Done, Exchange, Refused, Step};
use crate::security::Principal;
use crate::security::limits::PLAIN_MESSAGE_BYTES_MAX;

/// Users and their passwords. Memory holds only HMACs of the passwords, with a key of this process.
///
/// **Invariant:** a check takes the same steps whether the user exists or not.
#[derive(Clone)]
pub struct Passwords {
    key: hmac::Key,
    by_user: BTreeMap<String, hmac::Tag>,
    /// An HMAC that no password has.
    decoy: hmac::Tag,
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords")
            .field("users", &self.by_user.len())
            .finish_non_exhaustive()
    }
}

impl Passwords {
    /// Creates the table from users' passwords. `secret` is random.
    #[must_use]
    pub fn new<'a>(secret: &[u8; 32], users: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let by_user = users.map(|(user, password)| {
            let tag = hmac::sign(&key, password.as_bytes());
            (String::from(user), tag)
        });
        let by_user = by_user.collect();
        // No client can send such a long password.
        let decoy = hmac::sign(&key, &[0xff; PLAIN_MESSAGE_BYTES_MAX + 1]);
        Self {
            key,
            by_user,
            decoy,
        }
    }

    /// Returns the number of users.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_user.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_user.is_empty()
    }

    fn check(&self, user: &str, password: &str) -> bool {
        let known = self.by_user.get(user);
        let tag = known.unwrap_or(&self.decoy);
        // Compares in constant time.
        let is_right = hmac::verify(&self.key, password.as_bytes(), tag.as_ref()).is_ok();
        is_right && known.is_some()
    }
}

/// An exchange of PLAIN.
#[derive(Debug)]
pub struct Plain<P> {
    passwords: P,
}

impl<P: AsRef<Passwords> + fmt::Debug + Send> Plain<P> {
    #[must_use]
    pub const fn new(passwords: P) -> Self {
        Self { passwords }
    }
}

impl AsRef<Self> for Passwords {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl<P: AsRef<Passwords> + fmt::Debug + Send> Exchange for Plain<P> {
    fn step(&mut self, message: &[u8]) -> Step {
        if message.len() > PLAIN_MESSAGE_BYTES_MAX {
            return Refused::because(None, "a message of PLAIN is too long");
        }
        let Ok(message) = core::str::from_utf8(message) else {
            return Refused::because(None, "a message of PLAIN is not UTF-8");
        };
        let parts: Vec<&str> = message.splitn(4, '\0').collect();
        let [identity, user, password] = *parts else {
            return Refused::because(None, "a message of PLAIN has not three parts");
        };
        if user.is_empty() || password.is_empty() {
            return Refused::because(None, "a message of PLAIN has no user or no password");
        }
        let is_right = self.passwords.as_ref().check(user, password);
        if !is_right {
            let why = "the user does not exist, or the password is wrong";
            return Refused::because(Some(user), why);
        }
        if !identity.is_empty() && identity != user {
            let why = "the authorization id is not the user name";
            return Refused::because(Some(user), why);
        }
        Step::Done(Done {
            bytes: Vec::new(),
            principal: Principal::user(user),
            is_token: false,
            expires_at_ms: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    fn passwords() -> Passwords {
        let users = [("alice", "alice-secret"), ("bob", "b\u{e9}=;\"")];
        Passwords::new(&[7; 32], users.into_iter())
    }

    #[test]
    fn a_user_gets_in_by_its_own_password_only() {
        let check = |message: &str, expected: Result<&str, &str>| {
            let step = Plain::new(passwords()).step(message.as_bytes());
            match (step, expected) {
                (Step::Done(done), Ok(user)) => {
                    assert_eq!(done.principal, Principal::user(user));
                    assert_eq!((done.bytes.len(), done.expires_at_ms), (0, None));
                }
                (Step::Refused(refused), Err(part)) => {
                    assert!(refused.why.contains(part), "{message}: {}", refused.why);
                    assert!(!refused.why.contains("secret"), "{}", refused.why);
                    assert_eq!(refused.message, None);
                }
                (step, _) => panic!("{message}: {step:?}"),
            }
        };
        check("\0alice\0alice-secret", Ok("alice"));
        check("alice\0alice\0alice-secret", Ok("alice"));
        check("\0bob\0b\u{e9}=;\"", Ok("bob"));
        check("bob\0alice\0alice-secret", Err("authorization id"));
        check("\0alice\0other", Err("user \"alice\""));
        check("\0alice\0alice-secre", Err("password is wrong"));
        check("\0bob\0alice-secret", Err("password is wrong"));
        check("\0carol\0alice-secret", Err("password is wrong"));
        check("\0a\nb\0x", Err("user \"a\\nb\""));
        check("\0alice\0", Err("no user or no password"));
        check("\0\0alice-secret", Err("no user or no password"));
        check("alice\0alice-secret", Err("three parts"));
        check("\0alice\0alice-secret\0", Err("three parts"));
        check("", Err("three parts"));
    }

    #[test]
    fn a_message_that_is_no_text_or_too_long_is_refused() {
        let mut plain = Plain::new(passwords());
        assert!(matches!(plain.step(b"\0alice\0\xff"), Step::Refused(_)));
        let long = [b'a'; PLAIN_MESSAGE_BYTES_MAX + 1];
        assert!(matches!(plain.step(&long), Step::Refused(_)));
    }

    #[test]
    fn a_password_is_not_shown() {
        let shown = format!("{:?}", Plain::new(passwords()));
        assert_eq!(shown, "Plain { passwords: Passwords { users: 2, .. } }");
    }
}

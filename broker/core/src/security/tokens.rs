//! Delegation tokens (KIP-48): a client that has logged in asks the broker for a token and gives it
//! to other clients, which log in with it as the token's owner.
//!
//! A token's id is public. Its secret is the HMAC of the id with `delegation.token.secret.key`, and
//! no record contains it: reading the metadata is not enough to log in.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Principal;
use super::limits::TOKEN_BYTES;

/// A delegation token, without its secret. Times are in milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub id: String,
    /// The principal of a client that logs in with the token.
    pub owner: Principal,
    /// The principal that asked for the token.
    pub requester: Principal,
    /// Principals that may renew and expire the token, besides the owner.
    pub renewers: Vec<Principal>,
    pub issued_ms: i64,
    /// The time beyond which the token cannot be renewed.
    pub latest_ms: i64,
    /// The time at which the token expires unless it is renewed.
    pub expires_ms: i64,
}

impl Token {
    #[must_use]
    pub const fn has_expired(&self, now_ms: i64) -> bool {
        self.latest_ms < now_ms || self.expires_ms < now_ms
    }

    /// Returns whether `principal` may renew and expire the token.
    #[must_use]
    pub fn may_be_renewed_by(&self, principal: &Principal) -> bool {
        self.owner == *principal || self.renewers.contains(principal)
    }

    /// Returns whether `principal` may see the token without any further right.
    #[must_use]
    pub fn is_of(&self, principal: &Principal) -> bool {
        self.requester == *principal || self.may_be_renewed_by(principal)
    }

    /// Returns the memory that it takes up.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let principals = [&self.owner, &self.requester];
        let principals = principals.into_iter().chain(&self.renewers);
        let texts: usize = principals
            .map(|of| size_of::<Principal>() + of.as_str().len())
            .sum();
        TOKEN_BYTES + self.id.len() + texts
    }
}

/// All tokens, by their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    by_id: BTreeMap<String, Arc<Token>>,
    bytes: usize,
}

impl Tokens {
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Arc<Token>> {
        self.by_id.get(id)
    }

    /// Returns the tokens, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Token>> {
        self.by_id.values()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Returns the memory that they take up.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a token, in place of one with its id.
    pub(crate) fn set(&mut self, token: Token) {
        self.remove(&token.id);
        self.bytes += token.bytes();
        self.by_id.insert(token.id.clone(), Arc::new(token));
    }

    pub(crate) fn remove(&mut self, id: &str) {
        if let Some(token) = self.by_id.remove(id) {
            self.bytes -= token.bytes();
        }
    }
}

/// How long tokens may live: `delegation.token.*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenLifetimes {
    /// `max.lifetime.ms`.
    pub max_ms: i64,
    /// `expiry.time.ms`: until it has to be renewed.
    pub renewed_ms: i64,
}

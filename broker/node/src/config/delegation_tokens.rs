//! The `delegation.token.*` keys: the secret and the lifetimes of delegation tokens.

use std::fmt;
use std::time::Duration;

use ring::hmac;
use sedge_core::base64;
use sedge_core::security::limits::SCRAM_ITERATIONS_MIN;
use sedge_core::security::scram::{Credential, Mechanism};
use sedge_core::security::{Token, TokenLifetimes, Tokens};
use zeroize::Zeroizing;

/// Length of the salt of a token's credential, in bytes; Kafka's users have salts of this length.
const SALT_BYTES: usize = 25;

/// Derives the secrets of delegation tokens.
#[derive(Clone)]
pub struct DelegationTokens {
    secret: hmac::Key,
    pub lifetimes: TokenLifetimes,
    /// Interval at which expired tokens are removed.
    pub check_every: Duration,
}

impl fmt::Debug for DelegationTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DelegationTokens")
            .field("lifetimes", &self.lifetimes)
            .finish_non_exhaustive()
    }
}

impl DelegationTokens {
    /// Reads the keys, which were checked before. `None` if there is no secret.
    pub(super) fn read<'a>(text: impl Fn(&str) -> &'a str) -> Option<Self> {
        let secret = Some(text("delegation.token.secret.key")).filter(|of| !of.is_empty())?;
        let ms = |key: &str| text(key).parse::<i64>().unwrap_or_default();
        let check_ms = ms("delegation.token.expiry.check.interval.ms");
        Some(Self {
            secret: hmac::Key::new(hmac::HMAC_SHA512, secret.as_bytes()),
            lifetimes: TokenLifetimes {
                max_ms: ms("delegation.token.max.lifetime.ms"),
                renewed_ms: ms("delegation.token.expiry.time.ms"),
            },
            check_every: Duration::from_millis(check_ms.unsigned_abs()),
        })
    }

    /// Returns the secret of the token of this id. As Kafka's, so that it stays the same when a
    /// cluster moves.
    pub fn hmac(&self, id: &str) -> hmac::Tag {
        hmac::sign(&self.secret, id.as_bytes())
    }

    /// Returns what a client with the token of this id shows by SCRAM: its HMAC in base64 is the
    /// password. Blocks for as long as the iterations take.
    pub fn credential(&self, id: &str, mechanism: Mechanism) -> Option<Credential> {
        let password = Zeroizing::new(base64::encode(self.hmac(id).as_ref()));
        // The same at each login: a stranger must not learn whether the token exists.
        let salt = hmac::sign(&self.secret, format!("salt of {id}").as_bytes());
        let salt = salt.as_ref().iter().take(SALT_BYTES).copied().collect();
        Credential::of_password(mechanism, &password, salt, SCRAM_ITERATIONS_MIN).ok()
    }

    /// Finds a token by its secret. Takes some microseconds for each token.
    pub fn find<'a>(&self, tokens: &'a Tokens, hmac: &[u8]) -> Option<&'a Token> {
        let is_of = |token: &&Token| hmac::verify(&self.secret, token.id.as_bytes(), hmac).is_ok();
        tokens.iter().map(AsRef::as_ref).find(is_of)
    }
}

//! OAUTHBEARER on a listener: the `sasl.oauthbearer.*` keys, the public keys of the issuers of
//! tokens, and the verification of tokens, for which `sedge_core` has the rules.
//!
//! | module | contents |
//! | --- | --- |
//! | `settings` | the keys of the configuration, with Kafka's names |
//! | `jwks` | the document of the public keys, reloaded in intervals and for unknown keys |
//! | `fetch` | a document from an HTTP server |
//! | `signature` | the arithmetic of signatures |
//!
//! **Invariant:** if a document cannot be loaded, or has no usable key, the previous keys remain in
//! use (`jwks`).

mod fetch;
mod jwks;
pub mod settings;
mod signature;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use sedge_core::security::oauth::{Expected, Identity, Refusal, verify};

pub use jwks::Jwks;
pub use settings::KEYS;

/// The verifier of a listener's tokens.
#[derive(Debug)]
pub struct Validator {
    expected: Expected,
    jwks: Arc<Jwks>,
}

impl Validator {
    /// Returns the identity of the bearer of `token` at this moment.
    ///
    /// # Errors
    /// The reason why the token is refused. If no key fits it, the keys are reloaded for the next
    /// login.
    pub fn identify(&self, token: &str) -> Result<Identity, Refusal> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_s = now.unwrap_or_default().as_secs();
        let keys = self.jwks.current();
        let found = verify(token, &keys, &self.expected, now_s, signature::is_right);
        if found == Err(Refusal::UnknownKey) {
            self.jwks.ask();
        }
        found
    }

    /// Returns the keys, for the task that reloads them.
    #[must_use]
    pub const fn jwks(&self) -> &Arc<Jwks> {
        &self.jwks
    }
}

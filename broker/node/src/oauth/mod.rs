//! OAUTHBEARER on a listener: what the `sasl.oauthbearer.*` keys say, the keys of those that sign
//! tokens, and who the bearer of a token is. What a token has to be is `sedge_core`'s to say.
//!
//! | module | what |
//! | --- | --- |
//! | `settings` | the keys of the configuration, by Kafka's names |
//! | `jwks` | the document of the public keys: loaded again as time goes by, or when a token asks |
//! | `fetch` | a document from an HTTP server |
//! | `signature` | the arithmetic |
//!
//! **Invariant:** a document that cannot be loaded, or has no key that can be used, changes
//! nothing: the keys that were loaded before stay (`jwks`).

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

/// What verifies the tokens of a listener.
#[derive(Debug)]
pub struct Validator {
    expected: Expected,
    jwks: Arc<Jwks>,
}

impl Validator {
    /// Returns who the bearer of `token` is, now.
    ///
    /// # Errors
    /// Why the token is not accepted. If no key suits it, the keys are loaded again, for the next
    /// time.
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

    /// Returns the keys, for the task that loads them again.
    #[must_use]
    pub const fn jwks(&self) -> &Arc<Jwks> {
        &self.jwks
    }
}

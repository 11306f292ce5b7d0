//! Signatures of deployments: if `plugin.trusted.keys` names keys, a plugin is deployed and run
//! only if one of them signed its name and its content.
//!
//! **Invariant:** an unsigned component is never loaded then, whichever way its record came into
//! `__sedge_plugins`: by a client, a mirror, or before the keys were set (`Plugins::settle`).

use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, UnparsedPublicKey};
use sedge_core::log::AppendError;
use sedge_protocol::ErrorCode;
use sedge_protocol::batch::Batch;
use sedge_protocol::plugin_records::{Subject, each_change};

use super::Plugins;
use crate::config::PublicKey;

/// Begins what is signed, so that a signature is good for nothing else.
const PURPOSE: &[u8] = b"sedge plugin\0";

/// Returns what is signed. A name has no zero byte.
#[must_use]
pub fn message(name: &str, content: &[u8]) -> Vec<u8> {
    let content = digest(&SHA256, content);
    [PURPOSE, name.as_bytes(), b"\0", content.as_ref()].concat()
}

/// Checks the signature of a plugin, if there are keys.
///
/// # Errors
/// The reason why the plugin is not trusted.
pub fn check(
    keys: &[PublicKey],
    name: &str,
    content: &[u8],
    signature: Option<&[u8]>,
) -> Result<(), String> {
    if keys.is_empty() {
        return Ok(());
    }
    let Some(signature) = signature else {
        return Err(format!(
            "it is not signed, and plugin.trusted.keys asks for that; sign it with `sedge plugin \
             sign {name} FILE --key KEY`, and deploy it again"
        ));
    };
    let message = message(name, content);
    let is_good = |key: &PublicKey| {
        let key = UnparsedPublicKey::new(&ED25519, key);
        key.verify(&message, signature).is_ok()
    };
    if keys.iter().any(is_good) {
        return Ok(());
    }
    Err(
        "no key of plugin.trusted.keys has signed this name and this content; sign it with one of \
         them, and deploy it again"
            .to_owned(),
    )
}

impl Plugins {
    /// Checks the signatures of what a batch deploys. Blocks.
    ///
    /// # Errors
    /// POLICY_VIOLATION
    pub fn check_signed(&self, batch: &Batch) -> Result<(), AppendError> {
        if self.trusted_keys.is_empty() {
            return Ok(());
        }
        let mut checked = Ok(());
        let read = each_change(batch, |change| {
            let deployed = change
                .content
                .filter(|_| change.subject == Subject::Deployed);
            if let Some(content) = deployed
                && checked.is_ok()
            {
                let (name, signature) = (change.name, change.signature);
                let verdict = check(&self.trusted_keys, name, content, signature);
                checked = verdict.map_err(|why| format!("The plugin {name} is refused: {why}."));
            }
        });
        read.map_err(|error| {
            let why = format!("The records cannot be read: {error}.");
            AppendError::new(ErrorCode::InvalidRecord, why)
        })?;
        checked.map_err(|why| AppendError::new(ErrorCode::PolicyViolation, why))
    }
}

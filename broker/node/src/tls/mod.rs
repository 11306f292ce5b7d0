//! TLS for the broker's listeners and for sedge's own clients: the `ssl.*` keys, the certificate
//! and key files that they name, and the rustls configurations built from them.
//!
//! | module | contents |
//! | --- | --- |
//! | `settings` | the `ssl.*` keys, under Kafka's names |
//! | `files` | bounded reads of certificate and key files, and detection of changes |
//! | `store` | certificates, private keys and revocation lists from PEM and PKCS#12 |
//! | `encrypted`, `pkcs12` | decryption of private keys and PKCS#12 files |
//! | `server` | a listener's certificate, its trusted CAs, and a client's principal |
//! | `client` | a client's trusted CAs and certificate |
//! | `authority` | a local certificate authority, which signs certificates |
//! | `words` | explanations of handshake errors, with advice |
//!
//! This module opens no connections; sockets and deadlines belong to the caller.
//!
//! **Invariant:** a key file is refused if users other than its owner and group have access
//! (`files_that_cannot_be_used_are_refused_at_the_start`).
//! **Invariant:** if changed files cannot be loaded or do not match, the previously loaded ones
//! remain in use (`files_that_change_are_loaded_and_what_is_broken_is_not`).

pub mod authority;
pub mod client;
mod encrypted;
mod files;
mod pkcs12;
pub mod server;
pub mod settings;
mod store;
pub mod words;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use client::ClientTls;
pub use server::ServerTls;
pub use settings::KeyError;

/// Returns the cryptography provider, ring.
fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

/// Returns the provider with the cipher suites of `settings`.
fn provider_of(settings: &settings::Handshake) -> Arc<CryptoProvider> {
    let mut provider = provider();
    if let Some(suites) = &settings.cipher_suites {
        provider.cipher_suites.clone_from(suites);
    }
    Arc::new(provider)
}

//! TLS, for the broker's listeners and for its own clients alike: what the `ssl.*` keys say, the
//! certificates and keys that they name, and the sessions that rustls makes of them.
//!
//! | module | what |
//! | --- | --- |
//! | `settings` | the `ssl.*` keys, by Kafka's names |
//! | `files` | the files that they name: read, bounded, and seen to change |
//! | `store` | certificates, a key and revocation lists out of PEM and PKCS#12 |
//! | `encrypted`, `pkcs12` | what a password opens |
//! | `server` | a listener's certificate, whom it trusts, and the principal of a client |
//! | `client` | whom a client trusts, and what it shows |
//! | `authority` | a CA of one's own, and the certificates that it signs |
//! | `words` | what went wrong in a handshake, and what to do |
//!
//! It opens no connection: a socket and its deadlines are the caller's.
//!
//! **Invariant:** a key file that others than its owner and its group may read is refused.
//! **Invariant:** files that cannot be read again, or do not fit each other, change nothing: what
//! was loaded before stays (`server`, `client`).

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

/// The cryptography: ring's.
fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

/// `provider()` with the cipher suites of `settings`.
fn provider_of(settings: &settings::Handshake) -> Arc<CryptoProvider> {
    let mut provider = provider();
    if let Some(suites) = &settings.cipher_suites {
        provider.cipher_suites.clone_from(suites);
    }
    Arc::new(provider)
}

//! The listener side of TLS: its certificate, the CAs that it trusts, and the mapping of a client
//! certificate to a principal. Changed files are reloaded; open connections are not affected.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use regex_lite::Regex;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::SingleCertAndKey;
use sedge_core::principal_mapping::{MappingRules, Pattern};
use sedge_core::x509::Certificate;

use super::files::Stamp;
use super::provider_of;
use super::settings::{self, ClientAuth, Get, KeyError, TlsSettings};
use super::store::{self, Found};

/// A regular expression of `ssl.principal.mapping.rules`.
#[derive(Clone, Debug)]
struct WholeMatch(Regex);

impl Pattern for WholeMatch {
    fn compile(text: &str) -> Result<Self, String> {
        let whole = Regex::new(&format!("^(?:{text})$"));
        whole.map(Self).map_err(|error| error.to_string())
    }

    fn groups<'t>(&self, text: &'t str) -> Option<Vec<Option<&'t str>>> {
        let captures = self.0.captures(text)?;
        let groups = captures.iter().map(|group| group.map(|of| of.as_str()));
        Some(groups.collect())
    }
}

/// The TLS settings of a listener, with the most recently loaded files.
pub struct ServerTls {
    settings: TlsSettings,
    client_auth: ClientAuth,
    mapping: MappingRules<WholeMatch>,
    loaded: Mutex<Loaded>,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("settings", &self.settings)
            .field("client_auth", &self.client_auth)
            .finish_non_exhaustive()
    }
}

struct Loaded {
    config: Arc<ServerConfig>,
    certificate: Certificate,
    /// The stamp of the files at the last attempt to load them, successful or not.
    stamp: Stamp,
}

/// Result of a reload.
#[derive(Debug)]
pub enum Reload {
    /// The files have not changed.
    Unchanged,
    Loaded,
    /// The files cannot be loaded; the previous ones remain in use.
    Failed(KeyError),
}

/// Reason why a client with a trusted certificate is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoPrincipal {
    /// No rule of `ssl.principal.mapping.rules` matches this subject.
    Unmapped(String),
    /// The certificate with this subject expired after the session was first established.
    Expired(String),
    Unreadable,
}

impl fmt::Display for NoPrincipal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unmapped(name) => write!(
                f,
                "no rule of ssl.principal.mapping.rules matches the client's certificate {name:?}; \
                 add one, or DEFAULT at the end"
            ),
            Self::Expired(name) => {
                write!(f, "the client's certificate {name:?} has expired; renew it")
            }
            Self::Unreadable => f.write_str("the client's certificate cannot be parsed"),
        }
    }
}

impl ServerTls {
    /// Reads the keys of a listener, and the files that they name.
    ///
    /// # Errors
    /// The first key with an invalid value, or whose file cannot be loaded.
    pub fn load(get: Get<'_>) -> Result<Self, KeyError> {
        const RULES: &str = "ssl.principal.mapping.rules";
        let settings = TlsSettings::read(get)?;
        let client_auth = settings::client_auth(get)?;
        let rules = get(RULES).unwrap_or_else(|| "DEFAULT".to_owned());
        let mapping = MappingRules::parse(&rules).map_err(|why| KeyError::new(RULES, why))?;
        let loaded = load(&settings, client_auth)?;
        Ok(Self {
            settings,
            client_auth,
            mapping,
            loaded: Mutex::new(loaded),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Loaded> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the configuration for new connections.
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.lock().config)
    }

    /// Returns the listener's own certificate.
    pub fn certificate(&self) -> Certificate {
        self.lock().certificate.clone()
    }

    pub const fn client_auth(&self) -> ClientAuth {
        self.client_auth
    }

    /// Reloads the files if they have changed, or unconditionally if `anyway` is true. Blocks while
    /// it reads files.
    pub fn reload(&self, anyway: bool) -> Reload {
        let stamp = self.settings.stamp();
        if !anyway && stamp == self.lock().stamp {
            return Reload::Unchanged;
        }
        match load(&self.settings, self.client_auth) {
            Ok(loaded) => {
                *self.lock() = loaded;
                Reload::Loaded
            }
            Err(error) => {
                // Neither retry nor report again until the files change again.
                self.lock().stamp = stamp;
                Reload::Failed(error)
            }
        }
    }

    /// Maps a client's certificate chain to the name of its principal. Returns `None` if the client
    /// sent no certificate. `now_s` is the current time in seconds since 1970.
    ///
    /// # Errors
    /// The certificate has expired, cannot be parsed, or no mapping rule matches; the client must
    /// be refused.
    pub fn principal(
        &self,
        chain: Option<&[CertificateDer<'_>]>,
        now_s: i64,
    ) -> Result<Option<String>, NoPrincipal> {
        let Some(der) = chain.and_then(<[_]>::first) else {
            return Ok(None);
        };
        let certificate = Certificate::parse(der).ok_or(NoPrincipal::Unreadable)?;
        if certificate.not_after_s < now_s {
            return Err(NoPrincipal::Expired(certificate.subject));
        }
        let name = self.mapping.apply(&certificate.subject);
        name.map(Some)
            .ok_or(NoPrincipal::Unmapped(certificate.subject))
    }
}

fn load(settings: &TlsSettings, client_auth: ClientAuth) -> Result<Loaded, KeyError> {
    const KEYSTORE: &str = "ssl.keystore.location";
    // Take the stamp before reading, so that the next check notices changes made meanwhile.
    let stamp = settings.stamp();
    let keystore = settings.keystore.as_ref().ok_or_else(|| {
        KeyError::new(
            KEYSTORE,
            "required for a TLS listener; set it to a PEM or PKCS12 file with the listener's \
             certificate and private key (`sedge security init` creates one)",
        )
    })?;
    let identity = store::identity(keystore)?;
    let provider = provider_of(&settings.handshake);
    let key = keystore.key;
    let failed = |error: rustls::Error| KeyError::new(key, error.to_string());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&settings.handshake.versions)
        .map_err(|error| KeyError::new("ssl.cipher.suites", error.to_string()))?;
    let builder = match verifier(settings, client_auth, provider)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let resolver = Arc::new(SingleCertAndKey::from(identity.certified));
    let mut config = builder.with_cert_resolver(resolver);
    // Clients resume sessions by tickets. Each load creates new ticket keys, so that a client that
    // is no longer trusted cannot resume a session.
    config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(failed)?;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(Loaded {
        config: Arc::new(config),
        certificate: identity.certificate,
        stamp,
    })
}

fn verifier(
    settings: &TlsSettings,
    client_auth: ClientAuth,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, KeyError> {
    if client_auth == ClientAuth::None {
        return Ok(None);
    }
    let truststore = settings.truststore.as_ref().ok_or_else(|| {
        KeyError::new(
            "ssl.truststore.location",
            "required if ssl.client.auth is set; set it to the CA of the clients' certificates",
        )
    })?;
    let failed = |why: String| KeyError::new(truststore.key, why);
    let Found {
        certificates,
        revocations,
        ..
    } = store::trusted(truststore)?;
    let roots = roots(certificates).map_err(failed)?;
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    if !revocations.is_empty() {
        builder = builder
            .with_crls(revocations)
            .only_check_end_entity_revocation()
            .allow_unknown_revocation_status();
    }
    if client_auth == ClientAuth::Requested {
        builder = builder.allow_unauthenticated();
    }
    let verifier = builder.build().map_err(|error| {
        failed(format!(
            "{error} (certificate revocation lists must be version 2 and have a CRL number)"
        ))
    })?;
    Ok(Some(verifier))
}

/// Builds a root store from trusted certificates.
///
/// # Errors
/// A certificate is not accepted by rustls.
pub(super) fn roots(certificates: Vec<CertificateDer<'static>>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots
            .add(certificate)
            .map_err(|error| format!("a certificate in the truststore cannot be used: {error}"))?;
    }
    Ok(roots)
}

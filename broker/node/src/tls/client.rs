//! The client side of TLS: its trusted CAs, its certificate, and verification of the broker's host
//! name. Each new connection checks the files and reloads them if they have changed.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use log::warn;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use sedge_core::x509::pem;

use super::files::{self, Stamp};
use super::provider_of;
use super::server::roots;
use super::settings::{Get, KeyError, TlsSettings, checks_host};
use super::store::{self, Found};

/// Paths of the CA bundles of common operating systems.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The TLS settings of a client, with the most recently loaded files.
pub struct ClientTls {
    settings: TlsSettings,
    checks_host: bool,
    loaded: Mutex<Option<Loaded>>,
}

struct Loaded {
    config: Arc<ClientConfig>,
    stamp: Stamp,
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls")
            .field("settings", &self.settings)
            .field("checks_host", &self.checks_host)
            .finish_non_exhaustive()
    }
}

impl ClientTls {
    /// Reads a client's keys. `get` must return `Some("")` for an empty
    /// `ssl.endpoint.identification.algorithm`.
    ///
    /// # Errors
    /// The first key with an invalid value.
    pub fn read(get: Get<'_>) -> Result<Self, KeyError> {
        let set = |key: &str| get(key).filter(|value| !value.is_empty());
        Ok(Self {
            settings: TlsSettings::read(&set)?,
            checks_host: checks_host(get("ssl.endpoint.identification.algorithm").as_deref())?,
            loaded: Mutex::new(None),
        })
    }

    /// Returns the configuration for a new connection. Blocks while it reads files.
    ///
    /// # Errors
    /// The first key whose file cannot be loaded. If an earlier load succeeded, its configuration
    /// is returned instead.
    pub fn current(&self) -> Result<Arc<ClientConfig>, KeyError> {
        let stamp = self.settings.stamp();
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = &*loaded
            && loaded.stamp == stamp
        {
            return Ok(Arc::clone(&loaded.config));
        }
        match (load(&self.settings, self.checks_host), &mut *loaded) {
            (Ok(config), loaded) => {
                let config = Arc::new(config);
                *loaded = Some(Loaded {
                    config: Arc::clone(&config),
                    stamp,
                });
                Ok(config)
            }
            (Err(error), Some(loaded)) => {
                warn!(
                    target: "sedge::tls",
                    "changed certificate files not loaded: {error}; new connections still use the \
                     previous ones; correct the files"
                );
                loaded.stamp = stamp;
                Ok(Arc::clone(&loaded.config))
            }
            (Err(error), None) => Err(error),
        }
    }
}

fn load(settings: &TlsSettings, checks_host: bool) -> Result<ClientConfig, KeyError> {
    const TRUSTSTORE: &str = "ssl.truststore.location";
    let key = settings.truststore.as_ref().map_or(TRUSTSTORE, |of| of.key);
    let failed = |why: String| KeyError::new(key, why);
    let (roots, revocations) = match &settings.truststore {
        Some(store) => {
            let Found {
                certificates,
                revocations,
                ..
            } = store::trusted(store)?;
            (roots(certificates).map_err(failed)?, revocations)
        }
        None => (system_roots().map_err(failed)?, Vec::new()),
    };
    let provider = provider_of(&settings.handshake);
    let mut verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    if !revocations.is_empty() {
        verifier = verifier
            .with_crls(revocations)
            .only_check_end_entity_revocation()
            .allow_unknown_revocation_status();
    }
    let verifier = verifier
        .build()
        .map_err(|error| failed(error.to_string()))?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&settings.handshake.versions)
        .map_err(|error| KeyError::new("ssl.cipher.suites", error.to_string()))?;
    let builder = if checks_host {
        builder.with_webpki_verifier(verifier)
    } else {
        let any_host = Arc::new(AnyHost(verifier));
        builder
            .dangerous()
            .with_custom_certificate_verifier(any_host)
    };
    Ok(match &settings.keystore {
        None => builder.with_no_client_auth(),
        Some(store) => {
            let identity = store::identity(store)?;
            let resolver = SingleCertAndKey::from(identity.certified);
            builder.with_client_cert_resolver(Arc::new(resolver))
        }
    })
}

/// Returns the CAs that the operating system trusts. (Java's clients use Java's own list instead.)
fn system_roots() -> Result<RootCertStore, String> {
    let set = std::env::var("SSL_CERT_FILE").ok();
    let paths = set.iter().map(String::as_str).chain(SYSTEM_BUNDLES);
    let path = paths.map(Path::new).find(|path| path.is_file()).ok_or(
        "required, because this machine has no CA bundle; set it to the CA of the broker's \
         certificate",
    )?;
    let mut roots = RootCertStore::empty();
    for file in files::read(path)? {
        let text = String::from_utf8_lossy(&file.bytes);
        for block in pem::blocks(&text)? {
            // System bundles contain a few certificates that rustls does not accept; skip them.
            let _ = roots.add(block.der.into());
        }
    }
    Ok(roots)
}

/// Verifies certificates without the host name, for an empty
/// `ssl.endpoint.identification.algorithm`.
#[derive(Debug)]
struct AnyHost(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyHost {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified =
            self.0
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // The name is verified last, so everything else is valid.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

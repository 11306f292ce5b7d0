//! Reads keystores and truststores: certificates, private keys and revocation lists, in PEM or
//! PKCS#12, from a file, a directory or the configuration.

use std::sync::Arc;

use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, PrivatePkcs1KeyDer,
    PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use sedge_core::x509::{Certificate, pem};
use zeroize::Zeroizing;

use super::settings::{Content, FROM_JKS, KeyError, Kind, Secret, Store};
use super::{encrypted, files, pkcs12};

/// The contents of a store.
#[derive(Default)]
pub struct Found {
    pub certificates: Vec<CertificateDer<'static>>,
    pub revocations: Vec<CertificateRevocationListDer<'static>>,
    keys: Vec<PrivateKeyDer<'static>>,
}

/// A certificate chain with its private key, and the parsed leaf certificate.
pub struct Identity {
    pub certified: Arc<CertifiedKey>,
    pub certificate: Certificate,
}

/// Reads a keystore: a certificate chain and its private key.
///
/// # Errors
/// The reason, with the configuration key that names the store.
pub fn identity(store: &Store) -> Result<Identity, KeyError> {
    let found = find(store)?;
    identity_of(found).map_err(|why| KeyError::new(store.key, why))
}

/// Reads a truststore: trusted certificates and revocation lists.
///
/// # Errors
/// The reason, with the configuration key that names the store.
pub fn trusted(store: &Store) -> Result<Found, KeyError> {
    let found = find(store)?;
    if found.certificates.is_empty() {
        return Err(KeyError::new(
            store.key,
            "the truststore has no certificate",
        ));
    }
    Ok(found)
}

fn find(store: &Store) -> Result<Found, KeyError> {
    find_in(store).map_err(|why| KeyError::new(store.key, why))
}

fn find_in(store: &Store) -> Result<Found, String> {
    let mut found = Found::default();
    let path = match &store.content {
        Content::Inline(text) => {
            found.take_pem(text.text(), store.key_password.as_ref())?;
            return Ok(found);
        }
        Content::Path(path) => path,
    };
    for file in files::read(path)? {
        let keys_before = found.keys.len();
        let at = |why: String| format!("{}: {why}", file.path.display());
        found.take_file(&file.bytes, store).map_err(at)?;
        if found.keys.len() > keys_before {
            file.check_private()?;
        }
    }
    Ok(found)
}

impl Found {
    fn take_file(&mut self, bytes: &[u8], store: &Store) -> Result<(), String> {
        const JKS: [u8; 4] = [0xfe, 0xed, 0xfe, 0xed];
        if bytes.starts_with(&JKS) {
            return Err(format!(
                "this is a JKS key store, which is not supported; {FROM_JKS}"
            ));
        }
        // PKCS#12 is a DER sequence.
        let looks_like = if bytes.first() == Some(&0x30) {
            Kind::Pkcs12
        } else {
            Kind::Pem
        };
        match (store.kind.unwrap_or(looks_like), looks_like) {
            (Kind::Pem, Kind::Pem) => {
                let text =
                    std::str::from_utf8(bytes).map_err(|_| "this is not a PEM file".to_owned())?;
                self.take_pem(text, store.key_password.as_ref())
            }
            (Kind::Pkcs12, Kind::Pkcs12) => self.take_pkcs12(bytes, store),
            (Kind::Pem, Kind::Pkcs12) => Err(
                "this is not a PEM file; if it is PKCS12, set the store's type to PKCS12"
                    .to_owned(),
            ),
            (Kind::Pkcs12, Kind::Pem) => Err(
                "this is not a PKCS12 file; if it is PEM, set the store's type to PEM".to_owned(),
            ),
        }
    }

    fn take_pkcs12(&mut self, bytes: &[u8], store: &Store) -> Result<(), String> {
        let password = store.password.as_ref().map_or("", Secret::text);
        let key_password = store.key_password.as_ref().map_or(password, Secret::text);
        let contents = pkcs12::read(bytes, password, key_password)?;
        let certificates = contents.certificates.into_iter();
        self.certificates
            .extend(certificates.map(CertificateDer::from));
        let keys = contents.keys.iter();
        self.keys.extend(keys.map(pkcs8));
        Ok(())
    }

    fn take_pem(&mut self, text: &str, password: Option<&Secret>) -> Result<(), String> {
        for block in pem::blocks(text)? {
            match block.label.as_str() {
                "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => {
                    self.certificates.push(block.der.into());
                }
                "X509 CRL" => self.revocations.push(block.der.into()),
                "PRIVATE KEY" => self.keys.push(PrivatePkcs8KeyDer::from(block.der).into()),
                "RSA PRIVATE KEY" => self.keys.push(PrivatePkcs1KeyDer::from(block.der).into()),
                "EC PRIVATE KEY" => self.keys.push(PrivateSec1KeyDer::from(block.der).into()),
                "ENCRYPTED PRIVATE KEY" => {
                    let password =
                        password.ok_or("the private key is encrypted; set ssl.key.password")?;
                    let key = encrypted::private_key(&block.der, password.text())?;
                    self.keys.push(pkcs8(&key));
                }
                // Ignore curve parameters and other blocks that OpenSSL writes.
                _ => {}
            }
        }
        Ok(())
    }
}

fn pkcs8(key: &Zeroizing<Vec<u8>>) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(key.to_vec()).into()
}

fn identity_of(found: Found) -> Result<Identity, String> {
    let Found {
        certificates, keys, ..
    } = found;
    let mut keys = keys.into_iter();
    let key = match (keys.next(), keys.next()) {
        (Some(key), None) => key,
        (None, _) => return Err("the keystore has no private key".to_owned()),
        (Some(_), Some(_)) => {
            return Err("the keystore has more than one private key; leave only one".to_owned());
        }
    };
    let unreadable = |_| {
        "the private key is not supported; use RSA with at least 2048 bits, ECDSA (P-256 or \
             P-384) or Ed25519"
            .to_owned()
    };
    let key = rustls::crypto::ring::sign::any_supported_type(&key).map_err(unreadable)?;
    if certificates.is_empty() {
        return Err("the keystore has no certificate".to_owned());
    }
    let matches = |certificate: &CertificateDer<'static>| {
        let alone = CertifiedKey::new(vec![certificate.clone()], Arc::clone(&key));
        alone.keys_match()
    };
    let of_other = Error::InconsistentKeys(InconsistentKeys::KeyMismatch);
    let mut leaf = Err(of_other.clone());
    for (at, certificate) in certificates.iter().enumerate() {
        match matches(certificate) {
            Ok(()) => leaf = Ok(at),
            // A certificate that cannot be parsed may be the one that belongs to the key.
            Err(error) if leaf.is_err() && error != of_other => leaf = Err(error),
            Err(_) => {}
        }
    }
    let leaf = leaf.map_err(|error| {
        if error == of_other {
            "the private key does not belong to any certificate in the keystore; add the \
             certificate that was issued for this key"
                .to_owned()
        } else {
            format!("a certificate in the keystore cannot be used: {error}; use X.509 version 3")
        }
    })?;
    let (chain, certificate) = chain(certificates, leaf)?;
    Ok(Identity {
        certified: Arc::new(CertifiedKey::new(chain, key)),
        certificate,
    })
}

/// Sorts the certificates into a chain: the leaf first, then each issuer. Also returns the parsed
/// leaf.
fn chain(
    certificates: Vec<CertificateDer<'static>>,
    leaf: usize,
) -> Result<(Vec<CertificateDer<'static>>, Certificate), String> {
    let read = |der: &CertificateDer<'static>| {
        Certificate::parse(der)
            .ok_or_else(|| "a certificate in the keystore cannot be parsed".to_owned())
    };
    let mut left = certificates;
    let mut chain = vec![left.remove(leaf)];
    let certificate = read(&chain[0])?;
    let mut last = certificate.clone();
    while last.issuer != last.subject {
        let mut issuer = None;
        for (at, der) in left.iter().enumerate() {
            let candidate = read(der)?;
            if candidate.subject == last.issuer {
                issuer = Some((at, candidate));
                break;
            }
        }
        let Some((at, next)) = issuer else { break };
        chain.push(left.remove(at));
        last = next;
    }
    Ok((chain, certificate))
}

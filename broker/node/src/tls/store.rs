//! Certificates, private keys and revocation lists, out of PEM and PKCS#12, from a file, a
//! directory or the configuration.

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

/// All that a store has.
#[derive(Default)]
pub struct Found {
    pub certificates: Vec<CertificateDer<'static>>,
    pub revocations: Vec<CertificateRevocationListDer<'static>>,
    keys: Vec<PrivateKeyDer<'static>>,
}

/// A certificate with its key, and whom it is for.
pub struct Identity {
    pub certified: Arc<CertifiedKey>,
    pub certificate: Certificate,
}

/// Reads a store with a certificate and its key.
///
/// # Errors
/// What is wrong, by the key that names the store.
pub fn identity(store: &Store) -> Result<Identity, KeyError> {
    let found = find(store)?;
    identity_of(found).map_err(|why| KeyError::new(store.key, why))
}

/// Reads a store with certificates that are trusted.
///
/// # Errors
/// What is wrong, by the key that names the store.
pub fn trusted(store: &Store) -> Result<Found, KeyError> {
    let found = find(store)?;
    if found.certificates.is_empty() {
        return Err(KeyError::new(store.key, "there is no certificate in it"));
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
            return Err(format!("this is a JKS key store; {FROM_JKS}"));
        }
        // DER begins with a sequence.
        let looks_like = if bytes.first() == Some(&0x30) {
            Kind::Pkcs12
        } else {
            Kind::Pem
        };
        match (store.kind.unwrap_or(looks_like), looks_like) {
            (Kind::Pem, Kind::Pem) => {
                let text = std::str::from_utf8(bytes).map_err(|_| "this is not PEM".to_owned())?;
                self.take_pem(text, store.key_password.as_ref())
            }
            (Kind::Pkcs12, Kind::Pkcs12) => self.take_pkcs12(bytes, store),
            (Kind::Pem, Kind::Pkcs12) => Err("this is not PEM; is it PKCS12?".to_owned()),
            (Kind::Pkcs12, Kind::Pem) => Err("this is not PKCS12; is it PEM?".to_owned()),
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
                        password.ok_or("its private key is encrypted; set ssl.key.password")?;
                    let key = encrypted::private_key(&block.der, password.text())?;
                    self.keys.push(pkcs8(&key));
                }
                // Parameters of curves, and what else OpenSSL puts beside.
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
        (None, _) => return Err("there is no private key in it".to_owned()),
        (Some(_), Some(_)) => return Err("there is more than one private key in it".to_owned()),
    };
    let unreadable = |_| {
        "its private key is none that is read: RSA of 2048 bits and more, ECDSA (P-256, \
             P-384), Ed25519"
            .to_owned()
    };
    let key = rustls::crypto::ring::sign::any_supported_type(&key).map_err(unreadable)?;
    if certificates.is_empty() {
        return Err("there is no certificate in it".to_owned());
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
            // One that cannot be read may be the one that was made for the key.
            Err(error) if leaf.is_err() && error != of_other => leaf = Err(error),
            Err(_) => {}
        }
    }
    let leaf = leaf.map_err(|error| {
        if error == of_other {
            "its private key does not belong to its certificate; put the certificate that was made \
             for the key beside it"
                .to_owned()
        } else {
            format!("a certificate in it cannot be used: {error}; X.509 of version 3 can")
        }
    })?;
    let (chain, certificate) = chain(certificates, leaf)?;
    Ok(Identity {
        certified: Arc::new(CertifiedKey::new(chain, key)),
        certificate,
    })
}

/// The leaf and those that signed it, in order, whatever the order of the file.
fn chain(
    certificates: Vec<CertificateDer<'static>>,
    leaf: usize,
) -> Result<(Vec<CertificateDer<'static>>, Certificate), String> {
    let read = |der: &CertificateDer<'static>| {
        Certificate::parse(der).ok_or_else(|| "a certificate in it cannot be read".to_owned())
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

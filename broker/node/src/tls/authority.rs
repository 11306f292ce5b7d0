//! A local certificate authority (CA) for a laptop or a fleet, and the certificates that it signs.
//! Keys are ECDSA P-256, which every client supports.

use std::fmt;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use sedge_core::x509::{Certificate, pem};
use zeroize::Zeroizing;

/// Validity of the CA certificate: ten years. After that, every client needs a new CA certificate.
const CA_DAYS: u64 = 3_650;

/// Certificates are valid from one day before they are issued, for devices whose clocks are slow.
const BEFORE: Duration = Duration::from_hours(24);

/// Random hex digits in the name of a CA, which tell CAs apart.
const NAME_DIGITS: usize = 8;

/// The subject of a certificate.
#[derive(Debug)]
pub enum Subject<'a> {
    /// A broker, with its host names and IP addresses.
    Broker { hosts: &'a [String] },
    /// A client, whose principal is `User:CN=NAME`.
    Client { name: &'a str },
}

/// A CA with its private key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
}

/// A certificate and its private key, in PEM.
pub struct Signed {
    pub certificate_pem: String,
    pub key_pem: Zeroizing<String>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed").finish_non_exhaustive()
    }
}

impl Authority {
    /// Creates a CA. `now_s` is the current time in seconds since 1970. Returns the CA and its
    /// private key in PEM.
    ///
    /// # Errors
    /// The cryptography library fails.
    pub fn make(now_s: u64) -> Result<(Self, Zeroizing<String>), String> {
        let number: String = (0..NAME_DIGITS)
            .map(|_| char::from_digit(fastrand::u32(..16), 16).unwrap_or('0'))
            .collect();
        let key = KeyPair::generate().map_err(failed)?;
        let params = ca(&format!("sedge CA {number}"), now_s)?;
        let certificate_pem = params.self_signed(&key).map_err(failed)?.pem();
        let key_pem = Zeroizing::new(key.serialize_pem());
        let issuer = Issuer::new(params, key);
        let authority = Self {
            issuer,
            certificate_pem,
        };
        Ok((authority, key_pem))
    }

    /// Loads a CA that was created by [`Authority::make`].
    ///
    /// # Errors
    /// The certificate or the key cannot be read, or was not created by `sedge security init`.
    pub fn read(certificate_pem: &str, key_pem: &str) -> Result<Self, String> {
        let blocks = pem::blocks(certificate_pem)?;
        let der = blocks.first().ok_or("the file has no certificate")?;
        let certificate = Certificate::parse(&der.der).ok_or("the certificate cannot be parsed")?;
        let name = certificate.subject.strip_prefix("CN=").filter(|name| {
            let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == ' ';
            name.chars().all(plain)
        });
        let name = name.ok_or("the CA was not created by `sedge security init`")?;
        let key = KeyPair::from_pem(key_pem).map_err(failed)?;
        // A signature uses only the issuer's name and key identifier from these parameters.
        let params = ca(name, 0)?;
        let issuer = Issuer::new(params, key);
        Ok(Self {
            issuer,
            certificate_pem: certificate_pem.to_owned(),
        })
    }

    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Creates a key and a certificate that is valid for `days`.
    ///
    /// # Errors
    /// A host name is not valid in a certificate, or the cryptography library fails.
    pub fn sign(&self, subject: &Subject<'_>, now_s: u64, days: u64) -> Result<Signed, String> {
        let hosts = match subject {
            Subject::Broker { hosts } => hosts.to_vec(),
            Subject::Client { .. } => Vec::new(),
        };
        let name = match subject {
            Subject::Broker { hosts } => hosts.first().map_or("sedge", String::as_str),
            Subject::Client { name } => name,
        };
        let mut params = named(CertificateParams::new(hosts).map_err(failed)?, name);
        hold(&mut params, now_s, days);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if matches!(subject, Subject::Broker { .. }) {
            params.insert_extended_key_usage(ExtendedKeyUsagePurpose::ServerAuth);
        }
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok(Signed {
            certificate_pem: certificate.pem(),
            key_pem: Zeroizing::new(key.serialize_pem()),
        })
    }
}

fn ca(name: &str, now_s: u64) -> Result<CertificateParams, String> {
    let mut params = named(CertificateParams::new(Vec::new()).map_err(failed)?, name);
    hold(&mut params, now_s, CA_DAYS);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn named(mut params: CertificateParams, name: &str) -> CertificateParams {
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// Sets the validity of a certificate.
fn hold(params: &mut CertificateParams, now_s: u64, days: u64) {
    let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(now_s);
    params.not_before = now - BEFORE;
    params.not_after = now + Duration::from_secs(days * 86_400);
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "`map_err` passes the error by value"
)]
fn failed(error: rcgen::Error) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: u64 = 1_795_717_200;

    fn certificate(pem: &str) -> Certificate {
        let der = pem::blocks(pem).unwrap().remove(0).der;
        Certificate::parse(&der).unwrap()
    }

    #[test]
    fn a_ca_signs_again_after_it_was_put_away() {
        let (made, key) = Authority::make(NOW_S).unwrap();
        let read = Authority::read(made.certificate_pem(), &key).unwrap();
        let ca = certificate(made.certificate_pem());
        assert!(ca.subject.starts_with("CN=sedge CA ") && ca.subject == ca.issuer);
        assert_eq!(ca.not_after_s - NOW_S as i64, 3_650 * 86_400);
        let hosts = ["edge.example".to_owned(), "192.0.2.1".to_owned()];
        for authority in [&made, &read] {
            let broker = Subject::Broker { hosts: &hosts };
            let broker = authority.sign(&broker, NOW_S, 30).unwrap();
            let broker = certificate(&broker.certificate_pem);
            assert_eq!(
                (&*broker.subject, &broker.issuer),
                ("CN=edge.example", &ca.subject)
            );
            assert_eq!(broker.not_after_s - NOW_S as i64, 30 * 86_400);
            let client = Subject::Client { name: "truck-7" };
            let client = authority.sign(&client, NOW_S, 30).unwrap();
            assert_eq!(certificate(&client.certificate_pem).subject, "CN=truck-7");
        }
    }

    #[test]
    fn another_ca_is_not_taken_up() {
        let (ca, key) = Authority::make(NOW_S).unwrap();
        let client = Subject::Client { name: "a.b" };
        let other = ca.sign(&client, NOW_S, 30).unwrap();
        let taken = |certificate: &str, key: &str| Authority::read(certificate, key).is_ok();
        assert!(!taken(&other.certificate_pem, &key));
        assert!(!taken(ca.certificate_pem(), "no key"));
        assert!(!taken("no certificate", &key));
    }
}

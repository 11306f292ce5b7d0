//! PKCS#12 files (RFC 7292), as written by `openssl pkcs12` and keytool: certificates and a private
//! key, encrypted with a password, and a MAC keyed with the same password.

use ring::{digest, hmac};
use sedge_core::x509::der::{Reader, tag};
use zeroize::Zeroizing;

use super::encrypted::{self, NOT_WHOLE, WRONG_PASSWORD};

const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
const ENCRYPTED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 6];
const KEY_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 10, 1, 1];
const SHROUDED_KEY_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 10, 1, 2];
const CERTIFICATE_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 10, 1, 3];
const X509: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 22, 1];
const SHA1: &[u8] = &[0x2b, 0x0e, 3, 2, 0x1a];
const SHA256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
const SHA384: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2];
const SHA512: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3];

/// The contents of a file.
#[derive(Default)]
pub struct Contents {
    /// X.509 certificates in DER, in file order.
    pub certificates: Vec<Vec<u8>>,
    /// Private keys in PKCS#8.
    pub keys: Vec<Zeroizing<Vec<u8>>>,
}

/// Reads a file. `password` is the password of the file, and `key_password` that of the private
/// key.
///
/// # Errors
/// The file is damaged or not supported, or a password is wrong.
pub fn read(der: &[u8], password: &str, key_password: &str) -> Result<Contents, String> {
    let mut file = Reader::new(Reader::whole(der, tag::SEQUENCE).ok_or(NOT_WHOLE)?);
    if file.number() != Some(3) {
        return Err("the file is not PKCS#12 version 3".to_owned());
    }
    let safe = file.take(tag::SEQUENCE).and_then(plain).ok_or(NOT_WHOLE)?;
    let checksum = file
        .take(tag::SEQUENCE)
        .ok_or("the file has no MAC, so it cannot be verified; export it with a password")?;
    check(checksum, safe, password)?;
    let mut contents = Contents::default();
    let mut parts = Reader::new(Reader::whole(safe, tag::SEQUENCE).ok_or(NOT_WHOLE)?);
    while !parts.is_empty() {
        let part = parts.take(tag::SEQUENCE).ok_or(NOT_WHOLE)?;
        if let Some(bags) = plain(part) {
            contents.take_bags(bags, key_password)?;
        } else {
            let (algorithm, encrypted) = encrypted_part(part).ok_or(NOT_WHOLE)?;
            let bags = encrypted::decrypt(algorithm, encrypted, password)?;
            contents.take_bags(&bags, key_password)?;
        }
    }
    Ok(contents)
}

/// Returns the content of a `ContentInfo` of type data.
fn plain(content: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(content);
    if reader.take(tag::OID)? != DATA {
        return None;
    }
    Reader::whole(reader.take(tag::context(0))?, tag::OCTET_STRING)
}

/// Returns the algorithm and the ciphertext of a `ContentInfo` of type encryptedData.
fn encrypted_part(content: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut reader = Reader::new(content);
    if reader.take(tag::OID)? != ENCRYPTED_DATA {
        return None;
    }
    let data = Reader::whole(reader.take(tag::context(0))?, tag::SEQUENCE)?;
    let mut data = Reader::new(data);
    let _version = data.number()?;
    let mut info = Reader::new(data.take(tag::SEQUENCE)?);
    let _kind = info.take(tag::OID)?;
    Some((info.take(tag::SEQUENCE)?, info.take(tag::implicit(0))?))
}

impl Contents {
    fn take_bags(&mut self, bags: &[u8], key_password: &str) -> Result<(), String> {
        let mut bags = Reader::new(Reader::whole(bags, tag::SEQUENCE).ok_or(NOT_WHOLE)?);
        while !bags.is_empty() {
            let bag = bags.take(tag::SEQUENCE).ok_or(NOT_WHOLE)?;
            let mut bag = Reader::new(bag);
            let kind = bag.take(tag::OID).ok_or(NOT_WHOLE)?;
            let value = bag.take(tag::context(0)).ok_or(NOT_WHOLE)?;
            match kind {
                KEY_BAG => self.keys.push(Zeroizing::new(value.to_vec())),
                SHROUDED_KEY_BAG => {
                    self.keys.push(encrypted::private_key(value, key_password)?);
                }
                CERTIFICATE_BAG => {
                    let certificate = certificate(value).ok_or(NOT_WHOLE)?;
                    self.certificates.push(certificate.to_vec());
                }
                // Ignore secret bags, CRL bags and nested bags.
                _ => {}
            }
        }
        Ok(())
    }
}

fn certificate(value: &[u8]) -> Option<&[u8]> {
    let mut bag = Reader::new(Reader::whole(value, tag::SEQUENCE)?);
    if bag.take(tag::OID)? != X509 {
        return None;
    }
    Reader::whole(bag.take(tag::context(0))?, tag::OCTET_STRING)
}

/// Verifies the MAC (`MacData`) of `safe`.
fn check(checksum: &[u8], safe: &[u8], password: &str) -> Result<(), String> {
    let parts = || {
        let mut checksum = Reader::new(checksum);
        let mut info = Reader::new(checksum.take(tag::SEQUENCE)?);
        let hash = Reader::new(info.take(tag::SEQUENCE)?).take(tag::OID)?;
        let sum = info.take(tag::OCTET_STRING)?;
        let salt = checksum.take(tag::OCTET_STRING)?;
        let rounds = if checksum.is_empty() {
            1
        } else {
            checksum.number()?
        };
        Some((hash, sum, salt, rounds))
    };
    let (hash, sum, salt, rounds) = parts().ok_or(NOT_WHOLE)?;
    let (hash, keyed) = match hash {
        SHA1 => (
            &digest::SHA1_FOR_LEGACY_USE_ONLY,
            hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        ),
        SHA256 => (&digest::SHA256, hmac::HMAC_SHA256),
        SHA384 => (&digest::SHA384, hmac::HMAC_SHA384),
        SHA512 => (&digest::SHA512, hmac::HMAC_SHA512),
        _ => {
            return Err(
                "the hash of the MAC is not supported; export the file with SHA-256".to_owned(),
            );
        }
    };
    let rounds = encrypted::rounds(rounds)?.get();
    let key = checksum_key(hash, salt, rounds, password);
    hmac::verify(&hmac::Key::new(keyed, &key), safe, sum).map_err(|_| WRONG_PASSWORD.to_owned())
}

/// Derives the key of the MAC (RFC 7292, B.2). It has the size of the hash, so one block is enough.
fn checksum_key(
    hash: &'static digest::Algorithm,
    salt: &[u8],
    rounds: u32,
    password: &str,
) -> Zeroizing<Vec<u8>> {
    /// RFC 7292, B.3: the purpose of the key is a MAC.
    const CHECKSUM: u8 = 3;
    let block = hash.block_len();
    let mut bytes = Zeroizing::new(vec![CHECKSUM; block]);
    let utf16 = password.encode_utf16().chain([0]);
    let password: Zeroizing<Vec<u8>> = Zeroizing::new(utf16.flat_map(u16::to_be_bytes).collect());
    for part in [salt, &password] {
        let filled = part.len().div_ceil(block) * block;
        bytes.extend(part.iter().cycle().take(filled));
    }
    let mut key = Zeroizing::new(digest::digest(hash, &bytes).as_ref().to_vec());
    for _ in 1..rounds {
        let next = digest::digest(hash, &key);
        key.copy_from_slice(next.as_ref());
    }
    key
}

//! Decryption of PBES2 (RFC 8018), the password encryption of PKCS#8 private keys and PKCS#12
//! files. PBKDF2 with AES-CBC is supported, which OpenSSL 3 and Java 17 write. Older schemes are
//! insecure; the error tells how to convert the file.

use std::num::NonZeroU32;

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt, KeyIvInit};
use ring::pbkdf2;
use sedge_core::x509::der::{Reader, tag};
use zeroize::Zeroizing;

use crate::limits::TLS_PASSWORD_ROUNDS_MAX;

const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 13];
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 12];
const HMAC_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2, 7];
const HMAC_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2, 9];
const HMAC_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2, 10];
const HMAC_SHA512: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2, 11];
const AES_128_CBC: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1, 2];
const AES_192_CBC: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1, 22];
const AES_256_CBC: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1, 42];

const UNKNOWN: &str = "the encryption scheme is not supported, or is insecure; convert the file to \
                       PBES2 with PBKDF2 and AES-CBC, by OpenSSL 3 (`openssl pkcs8 -topk8 -v2 \
                       aes-256-cbc`, `openssl pkcs12 -export`) or keytool of Java 17";
pub const WRONG_PASSWORD: &str = "the password is wrong, or the file is damaged";
pub const NOT_WHOLE: &str = "the file is damaged: the DER encoding is incomplete or invalid";

/// Decrypts a PKCS#8 `EncryptedPrivateKeyInfo`.
///
/// # Errors
/// The encoding is invalid, the scheme is not supported, or the password is wrong.
pub fn private_key(der: &[u8], password: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    let parts = || {
        let mut info = Reader::new(Reader::whole(der, tag::SEQUENCE)?);
        Some((info.take(tag::SEQUENCE)?, info.take(tag::OCTET_STRING)?))
    };
    let (algorithm, encrypted) = parts().ok_or(NOT_WHOLE)?;
    decrypt(algorithm, encrypted, password)
}

/// Decrypts `encrypted`. `algorithm` is the content of its `AlgorithmIdentifier`.
///
/// # Errors
/// The encoding is invalid, the scheme is not supported, or the password is wrong.
pub fn decrypt(
    algorithm: &[u8],
    encrypted: &[u8],
    password: &str,
) -> Result<Zeroizing<Vec<u8>>, String> {
    let mut algorithm = Reader::new(algorithm);
    if algorithm.take(tag::OID) != Some(PBES2) {
        return Err(UNKNOWN.to_owned());
    }
    let parts = |algorithm: &mut Reader<'_>| {
        let mut parameters = Reader::new(algorithm.take(tag::SEQUENCE)?);
        let derivation = Derivation::read(parameters.take(tag::SEQUENCE)?)?;
        let mut scheme = Reader::new(parameters.take(tag::SEQUENCE)?);
        let (cipher, iv) = (scheme.take(tag::OID)?, scheme.take(tag::OCTET_STRING)?);
        Some((derivation, cipher.to_vec(), iv.to_vec()))
    };
    let (derivation, cipher, iv) = parts(&mut algorithm).ok_or(UNKNOWN)?;
    let mut bytes = Zeroizing::new(encrypted.to_vec());
    let decrypted = match cipher.as_slice() {
        AES_128_CBC => cbc::<aes::Aes128>(&derivation.key(password, 16)?, &iv, &mut bytes),
        AES_192_CBC => cbc::<aes::Aes192>(&derivation.key(password, 24)?, &iv, &mut bytes),
        AES_256_CBC => cbc::<aes::Aes256>(&derivation.key(password, 32)?, &iv, &mut bytes),
        _ => return Err(UNKNOWN.to_owned()),
    };
    let length = decrypted.ok_or(WRONG_PASSWORD)?;
    bytes.truncate(length);
    Ok(bytes)
}

/// Decrypts in place. Returns how many bytes are left without the padding.
fn cbc<C>(key: &[u8], iv: &[u8], bytes: &mut [u8]) -> Option<usize>
where
    C: aes::cipher::BlockCipherDecrypt + aes::cipher::KeyInit,
    cbc::Decryptor<C>: KeyIvInit + BlockModeDecrypt,
{
    let decryptor = cbc::Decryptor::<C>::new_from_slices(key, iv).ok()?;
    let plain = decryptor.decrypt_padded::<Pkcs7>(bytes).ok()?;
    Some(plain.len())
}

/// The parameters of PBKDF2.
struct Derivation {
    algorithm: pbkdf2::Algorithm,
    salt: Vec<u8>,
    rounds: u32,
}

impl Derivation {
    fn read(content: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(content);
        if reader.take(tag::OID)? != PBKDF2 {
            return None;
        }
        let mut parameters = Reader::new(reader.take(tag::SEQUENCE)?);
        let salt = parameters.take(tag::OCTET_STRING)?.to_vec();
        let rounds = parameters.number()?;
        let _key_length = parameters.take_if(tag::INTEGER);
        let hash = match parameters.take_if(tag::SEQUENCE) {
            None => HMAC_SHA1,
            Some(hash) => Reader::new(hash).take(tag::OID)?,
        };
        let algorithm = match hash {
            HMAC_SHA1 => pbkdf2::PBKDF2_HMAC_SHA1,
            HMAC_SHA256 => pbkdf2::PBKDF2_HMAC_SHA256,
            HMAC_SHA384 => pbkdf2::PBKDF2_HMAC_SHA384,
            HMAC_SHA512 => pbkdf2::PBKDF2_HMAC_SHA512,
            _ => return None,
        };
        Some(Self {
            algorithm,
            salt,
            rounds,
        })
    }

    fn key(&self, password: &str, bytes: usize) -> Result<Zeroizing<Vec<u8>>, String> {
        let rounds = rounds(self.rounds)?;
        let mut key = Zeroizing::new(vec![0; bytes]);
        pbkdf2::derive(
            self.algorithm,
            rounds,
            &self.salt,
            password.as_bytes(),
            &mut key,
        );
        Ok(key)
    }
}

/// Checks the iteration count: a damaged file may ask for hours of work.
///
/// # Errors
/// The count is zero or over [`TLS_PASSWORD_ROUNDS_MAX`].
pub fn rounds(rounds: u32) -> Result<NonZeroU32, String> {
    let bounded = NonZeroU32::new(rounds).filter(|rounds| rounds.get() <= TLS_PASSWORD_ROUNDS_MAX);
    bounded.ok_or_else(|| {
        format!(
            "the password is hashed with {rounds} iterations; allowed are 1 to \
             {TLS_PASSWORD_ROUNDS_MAX}; write the file again with fewer"
        )
    })
}

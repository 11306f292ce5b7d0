//! SCRAM (RFC 5802, RFC 7677): a client proves that it knows a password, of which the broker stores
//! only a verifier.
//!
//! **Invariant:** the keys of a [`Credential`] are never shown: its `Debug` prints only the
//! mechanism and the iterations.

mod client;
mod messages;
mod server;
#[cfg(test)]
mod tests;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::num::NonZeroU32;

use ring::{digest, hmac, pbkdf2};
use zeroize::Zeroizing;

pub use client::Client;
pub use messages::{ClientFirst, ScramError};
pub use server::Server;

use super::limits::{SCRAM_ITERATIONS_MAX, SCRAM_ITERATIONS_MIN};

/// Kafka's `ScramMechanism`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mechanism {
    Sha256 = 1,
    Sha512 = 2,
}

impl Mechanism {
    pub const EACH: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// Returns the mechanism of this number. `None` if Kafka has none.
    #[must_use]
    pub fn from_number(number: i8) -> Option<Self> {
        Self::EACH.into_iter().find(|one| one.number() == number)
    }

    #[must_use]
    pub const fn number(self) -> i8 {
        self as i8
    }

    /// Returns the mechanism with this SASL name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::EACH.into_iter().find(|one| one.name() == name)
    }

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }

    /// Returns the length of a hash, which is also the length of each key, in bytes.
    #[must_use]
    pub fn key_bytes(self) -> usize {
        self.hash().output_len()
    }

    fn hash(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        }
    }

    fn hmac(self, key: &[u8], message: &[u8]) -> hmac::Tag {
        let algorithm = match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        };
        hmac::sign(&hmac::Key::new(algorithm, key), message)
    }

    /// `SaltedPassword := Hi(Normalize(password), salt, i)`. Like Kafka, it does not normalize.
    fn salted_password(
        self,
        password: &str,
        salt: &[u8],
        iterations: NonZeroU32,
    ) -> Zeroizing<Vec<u8>> {
        let algorithm = match self {
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        };
        let mut salted = Zeroizing::new(alloc::vec![0; self.key_bytes()]);
        pbkdf2::derive(
            algorithm,
            iterations,
            salt,
            password.as_bytes(),
            &mut salted,
        );
        salted
    }

    fn client_key(self, salted_password: &[u8]) -> hmac::Tag {
        self.hmac(salted_password, b"Client Key")
    }

    fn stored_key(self, client_key: &[u8]) -> digest::Digest {
        digest::digest(self.hash(), client_key)
    }

    fn server_key(self, salted_password: &[u8]) -> hmac::Tag {
        self.hmac(salted_password, b"Server Key")
    }
}

/// The verifier of a user's password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    pub mechanism: Mechanism,
    pub salt: Vec<u8>,
    pub stored_key: Vec<u8>,
    pub server_key: Vec<u8>,
    pub iterations: i32,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("mechanism", &self.mechanism)
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}

impl Credential {
    /// Returns the credential of a password. Blocks for some milliseconds.
    ///
    /// # Errors
    /// See [`check_iterations`].
    pub fn of_password(
        mechanism: Mechanism,
        password: &str,
        salt: Vec<u8>,
        iterations: i32,
    ) -> Result<Self, &'static str> {
        check_iterations(iterations)?;
        let count = u32::try_from(iterations).ok().and_then(NonZeroU32::new);
        let salted = mechanism.salted_password(password, &salt, count.ok_or(TOO_FEW)?);
        Ok(Self::of_salted_password(
            mechanism, &salted, salt, iterations,
        ))
    }

    /// Returns the credential for a salted password, which a client computed.
    #[must_use]
    pub fn of_salted_password(
        mechanism: Mechanism,
        salted_password: &[u8],
        salt: Vec<u8>,
        iterations: i32,
    ) -> Self {
        let client_key = mechanism.client_key(salted_password);
        let stored_key = mechanism.stored_key(client_key.as_ref());
        let server_key = mechanism.server_key(salted_password);
        Self {
            mechanism,
            salt,
            stored_key: stored_key.as_ref().to_vec(),
            server_key: server_key.as_ref().to_vec(),
            iterations,
        }
    }

    /// Returns a credential for a user that does not exist. No password matches it. The same user
    /// gets the same one each time, so that a stranger cannot tell it from a real one.
    #[must_use]
    pub fn decoy(mechanism: Mechanism, secret: &[u8], user: &str, iterations: i32) -> Self {
        let key = |what: &str| mechanism.hmac(secret, format!("{what},{user}").as_bytes());
        Self {
            mechanism,
            salt: salt_text(key("salt").as_ref()).into_bytes(),
            stored_key: key("stored").as_ref().to_vec(),
            server_key: key("server").as_ref().to_vec(),
            iterations,
        }
    }
}

/// Returns a salt of letters and digits, as Kafka's clients make them.
/// `random` has at least 25 bytes.
#[must_use]
pub fn salt_text(random: &[u8]) -> String {
    let digits = random.iter().take(SALT_LETTERS);
    let digits = digits.filter_map(|byte| char::from_digit(u32::from(byte % 36), 36));
    digits.collect()
}

/// Characters of a salt. Kafka's have 130 bits in base 36.
const SALT_LETTERS: usize = 25;

const TOO_FEW: &str = "Too few iterations";

/// Checks the iterations of a new credential.
///
/// # Errors
/// There are fewer than [`SCRAM_ITERATIONS_MIN`] or more than [`SCRAM_ITERATIONS_MAX`].
pub fn check_iterations(iterations: i32) -> Result<(), &'static str> {
    match iterations {
        iterations if iterations < SCRAM_ITERATIONS_MIN => Err(TOO_FEW),
        iterations if iterations > SCRAM_ITERATIONS_MAX => Err("Too many iterations"),
        _ => Ok(()),
    }
}

/// Compares in constant time: the time does not depend on where the two differ.
fn is_equal(one: &[u8], other: &[u8]) -> bool {
    let pairs = one.iter().zip(other);
    let difference = pairs.fold(0, |difference, (a, b)| {
        core::hint::black_box(difference | (a ^ b))
    });
    one.len() == other.len() && difference == 0
}

fn xor(one: &[u8], other: &[u8]) -> Vec<u8> {
    one.iter().zip(other).map(|(a, b)| a ^ b).collect()
}

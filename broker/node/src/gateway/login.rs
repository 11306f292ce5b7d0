//! Who a device is: its identity, and the proof that it has the secret.

use ring::hmac;
use sedge_link::limits::{CHALLENGE_BYTES, PROOF_BYTES};

use super::limits::IDENTITY_BYTES_MAX;
use crate::process::secret::Secret;

/// A device's greeting.
#[derive(Clone, Debug)]
pub struct Hello {
    pub identity: String,
    pub instance: u32,
    pub attempt: u32,
    pub first: u32,
}

/// Returns whether a device may have this name. It becomes part of principals, keys and topics.
pub fn is_identity(name: &str) -> bool {
    let is_of_a_name =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (1..=IDENTITY_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_of_a_name)
}

/// Returns whether `mac` proves that the device has the secret.
pub fn is_proven(
    secret: &Secret,
    hello: &Hello,
    nonce: &[u8; CHALLENGE_BYTES],
    mac: &[u8; PROOF_BYTES],
) -> bool {
    let mut signed = hello.identity.as_bytes().to_vec();
    signed.extend_from_slice(&hello.instance.to_le_bytes());
    signed.extend_from_slice(&hello.attempt.to_le_bytes());
    signed.extend_from_slice(nonce);
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.text().as_bytes());
    hmac::verify(&key, &signed, mac).is_ok()
}

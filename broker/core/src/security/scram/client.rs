//! The client's side of an exchange.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::num::NonZeroU32;

use super::messages::{ScramError, ServerFirst, escape, text};
use super::{Mechanism, is_equal, xor};
use crate::base64;
use crate::security::limits::{SCRAM_ITERATIONS_MIN, SCRAM_SERVER_ITERATIONS_MAX};

/// `n,,`: without channel binding, and as the user itself.
const GS2_HEADER: &str = "n,,";

/// An exchange after the client's first message.
#[derive(Debug)]
pub struct Client {
    mechanism: Mechanism,
    nonce: String,
    bare: String,
    /// The signature that proves that the server knows the password.
    expected: Option<String>,
}

impl Client {
    /// Begins an exchange and returns the first message. `nonce` is random, printable and without
    /// commas. If `is_token`, the user is the id of a delegation token, and the password its HMAC.
    #[must_use]
    pub fn begin(mechanism: Mechanism, user: &str, is_token: bool, nonce: &str) -> (Self, Vec<u8>) {
        let token = if is_token { ",tokenauth=true" } else { "" };
        let bare = format!("n={},r={nonce}{token}", escape(user));
        let first = format!("{GS2_HEADER}{bare}").into_bytes();
        let client = Self {
            mechanism,
            nonce: nonce.to_owned(),
            bare,
            expected: None,
        };
        (client, first)
    }

    /// Reads the server's first message and returns the client's final one. Blocks for some
    /// milliseconds, depending on the iterations that the server asks for.
    ///
    /// # Errors
    /// The message is malformed or of another exchange, or asks for too few or too many iterations.
    pub fn answer(&mut self, message: &[u8], password: &str) -> Result<Vec<u8>, ScramError> {
        let server_first = text(message)?;
        let first = ServerFirst::read(server_first)?;
        let is_ours = first.nonce.strip_prefix(&*self.nonce);
        if is_ours.is_none_or(str::is_empty) {
            return Err(ScramError::Malformed("nonce"));
        }
        let allowed = SCRAM_ITERATIONS_MIN..=SCRAM_SERVER_ITERATIONS_MAX;
        let iterations = Some(first.iterations).filter(|count| allowed.contains(count));
        let iterations = iterations.and_then(|count| NonZeroU32::new(count.cast_unsigned()));
        let iterations = iterations.ok_or(ScramError::Iterations(first.iterations))?;
        let mechanism = self.mechanism;
        let salted = mechanism.salted_password(password, &first.salt, iterations);
        let client_key = mechanism.client_key(&salted);
        let stored_key = mechanism.stored_key(client_key.as_ref());
        let binding = base64::encode(GS2_HEADER.as_bytes());
        let without_proof = format!("c={binding},r={}", first.nonce);
        let signed = format!("{},{server_first},{without_proof}", self.bare);
        let signature = mechanism.hmac(stored_key.as_ref(), signed.as_bytes());
        let proof = base64::encode(&xor(client_key.as_ref(), signature.as_ref()));
        let server_key = mechanism.server_key(&salted);
        let expected = mechanism.hmac(server_key.as_ref(), signed.as_bytes());
        self.expected = Some(format!("v={}", base64::encode(expected.as_ref())));
        Ok(format!("{without_proof},p={proof}").into_bytes())
    }

    /// Checks in the server's final message that the server knows the password too.
    ///
    /// # Errors
    /// The server does not know it, or has not sent its first message yet.
    pub fn finish(&self, message: &[u8]) -> Result<(), ScramError> {
        let message = text(message)?;
        // Extensions may follow the signature.
        let verifier = message.split(',').next().unwrap_or_default();
        match &self.expected {
            Some(expected) if is_equal(verifier.as_bytes(), expected.as_bytes()) => Ok(()),
            _ => Err(ScramError::ServerUnverified),
        }
    }
}

//! The broker's side of an exchange: it receives two messages and sends two.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::messages::{ClientFinal, ClientFirst, ScramError};
use super::{Credential, is_equal, xor};
use crate::base64;

/// An exchange between the client's first and final message.
#[derive(Debug)]
pub struct Server {
    first: ClientFirst,
    credential: Credential,
    is_known: bool,
    nonce: String,
    said: String,
}

impl Server {
    /// Begins with the client's first message and returns the answer. `nonce` is random, printable
    /// and without commas.
    ///
    /// For a user that does not exist, the exchange uses `decoy` and fails at the end, so that a
    /// stranger cannot find out which users exist.
    #[must_use]
    pub fn begin(
        first: ClientFirst,
        known: Option<Credential>,
        decoy: Credential,
        nonce: &str,
    ) -> (Self, Vec<u8>) {
        let is_known = known.is_some();
        let credential = known.unwrap_or(decoy);
        let nonce = format!("{}{nonce}", first.nonce);
        let salt = base64::encode(&credential.salt);
        let said = format!("r={nonce},s={salt},i={}", credential.iterations);
        let answer = said.clone().into_bytes();
        let server = Self {
            first,
            credential,
            is_known,
            nonce,
            said,
        };
        (server, answer)
    }

    /// Ends with the client's final message and returns the answer.
    ///
    /// # Errors
    /// The message is of another exchange, or the client does not know the password.
    pub fn finish(self, message: &[u8]) -> Result<Vec<u8>, ScramError> {
        let last = ClientFinal::read(message)?;
        if last.channel_binding != self.first.gs2_header.as_bytes() {
            return Err(ScramError::Malformed("channel binding"));
        }
        // As in Kafka: librdkafka before 2.2 puts its own nonce in front once more. The proof
        // covers the nonce as the client sent it.
        if !last.nonce.ends_with(&self.nonce) {
            return Err(ScramError::Malformed("nonce"));
        }
        let Credential {
            mechanism,
            stored_key,
            server_key,
            ..
        } = &self.credential;
        let signed = format!("{},{},{}", self.first.bare, self.said, last.without_proof);
        let signature = mechanism.hmac(stored_key, signed.as_bytes());
        if last.proof.len() != mechanism.key_bytes() {
            return Err(ScramError::Malformed("proof"));
        }
        let shown = mechanism.stored_key(&xor(&last.proof, signature.as_ref()));
        let is_right = is_equal(shown.as_ref(), stored_key);
        if !(is_right && self.is_known) {
            return Err(ScramError::Refused);
        }
        let signature = mechanism.hmac(server_key, signed.as_bytes());
        let answer = format!("v={}", base64::encode(signature.as_ref()));
        Ok(answer.into_bytes())
    }
}

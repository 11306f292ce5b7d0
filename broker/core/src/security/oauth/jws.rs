//! The parts of a token: `HEADER.PAYLOAD.SIGNATURE`, each in base64url.

use alloc::string::String;
use alloc::vec::Vec;

use serde_json::Value;

use super::base64url;
use super::limits::TOKEN_BYTES_MAX;
use super::refusal::Refusal;

/// The accepted signature algorithms (RFC 7518), all with a private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Es256,
    Es384,
}

impl Algorithm {
    /// Returns the algorithm with this name, which is in capitals.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            _ => return None,
        })
    }
}

/// A token that was not verified yet.
#[derive(Debug)]
pub struct Jws<'a> {
    pub algorithm: Algorithm,
    pub key_id: Option<String>,
    /// The signed bytes.
    pub signed: &'a str,
    pub payload: Vec<u8>,
    pub signature: Vec<u8>,
}

impl<'a> Jws<'a> {
    pub fn parse(token: &'a str) -> Result<Self, Refusal> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::Malformed("too long"));
        }
        let parts = token
            .rsplit_once('.')
            .and_then(|(signed, signature)| Some((signed, signed.split_once('.')?, signature)));
        let (signed, (header, payload), signature) =
            parts.ok_or(Refusal::Malformed("not three parts"))?;
        // A further dot would make a part invalid base64.
        let decode = |part: &str| {
            base64url::decode(part).ok_or(Refusal::Malformed("a part is not base64url"))
        };
        let header = object(&decode(header)?)
            .ok_or(Refusal::Malformed("the header is not a JSON object"))?;
        let named = header.get("alg").and_then(Value::as_str);
        let algorithm = named.and_then(Algorithm::parse).ok_or(Refusal::Algorithm)?;
        // RFC 7515, 4.1.11: extensions that the reader must understand. This module has none.
        if header.contains_key("crit") {
            return Err(Refusal::Malformed(
                "crit names an extension that is not supported",
            ));
        }
        let key_id = match header.get("kid") {
            None => None,
            Some(Value::String(id)) => Some(id.clone()),
            Some(_) => return Err(Refusal::Malformed("kid is not a text")),
        };
        Ok(Self {
            algorithm,
            key_id,
            signed,
            payload: decode(payload)?,
            signature: decode(signature)?,
        })
    }
}

/// Reads a JSON object. Its depth is bounded by `serde_json`.
pub fn object(bytes: &[u8]) -> Option<serde_json::Map<String, Value>> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(object)) => Some(object),
        _ => None,
    }
}

//! OAUTHBEARER: a client shows a signed token (JWT, RFC 7519), and is whom the token names.
//!
//! | module | what |
//! | --- | --- |
//! | `message` | the client's message with the token (RFC 7628) |
//! | `jws` | a token in its parts (RFC 7515) |
//! | `jwks` | the keys of those that sign tokens (RFC 7517) |
//! | `claims` | whether a token is for this broker and for now |
//!
//! Nothing here does the arithmetic of signatures: [`verify`] is given it.
//!
//! **Invariant:** a claim is looked at only if the token's signature is right (`verify`).
//! **Invariant:** a token says nothing about how it is verified but the name of a public-key
//! algorithm and of a key, and both have to suit the key: neither `none` nor an algorithm with a
//! shared secret is an [`Algorithm`].

mod base64url;
mod claims;
mod jwks;
mod jws;
mod limits;
mod message;
mod refusal;
#[cfg(test)]
mod tests;

pub use claims::{Expected, Identity};
pub use jwks::{Curve, Key, Keys, Material};
pub use jws::Algorithm;
pub use limits::JWKS_BYTES_MAX;
pub use message::{ClientMessage, INVALID_TOKEN};
pub use refusal::Refusal;

use jws::Jws;

/// A signature to check: by the key, what is signed, and the signature.
pub type Signature<'a> = (Algorithm, &'a Material, &'a [u8], &'a [u8]);

/// Returns who the bearer of `token` is.
///
/// `is_signed` says whether a signature is right. `now_s` is the time since 1970.
///
/// # Errors
/// Why the token is not accepted.
pub fn verify(
    token: &str,
    keys: &Keys,
    expected: &Expected,
    now_s: u64,
    is_signed: impl Fn(Signature<'_>) -> bool,
) -> Result<Identity, Refusal> {
    let jws = Jws::parse(token)?;
    let mut suitable = keys
        .suitable(jws.algorithm, jws.key_id.as_deref())
        .peekable();
    if suitable.peek().is_none() {
        return Err(Refusal::UnknownKey);
    }
    let mut suitable = suitable.take(limits::KEYS_TRIED_MAX);
    let signed = jws.signed.as_bytes();
    if !suitable.any(|key| is_signed((jws.algorithm, &key.material, signed, &jws.signature))) {
        return Err(Refusal::Signature);
    }
    expected.check(&jws.payload, now_s)
}

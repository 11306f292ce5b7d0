//! OAUTHBEARER: a client presents a signed token (JWT, RFC 7519), which names its principal.
//!
//! | module | contents |
//! | --- | --- |
//! | `message` | the client's message with the token (RFC 7628) |
//! | `jws` | the parts of a token (RFC 7515) |
//! | `jwks` | the public keys of the issuers (RFC 7517) |
//! | `claims` | the check that a token is for this broker, and valid now |
//!
//! The caller of [`verify`] brings the arithmetic of signatures.
//!
//! **Invariant:** claims are read only after the token's signature was verified (`verify`).
//! **Invariant:** a token chooses only the name of a public-key algorithm and of a key, and both
//! must fit the key that verifies it. Neither `none` nor an algorithm with a shared secret is an
//! [`Algorithm`].

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

/// A signature to check: the key, the signed bytes, and the signature.
pub type Signature<'a> = (Algorithm, &'a Material, &'a [u8], &'a [u8]);

/// Returns the identity of the bearer of `token`.
///
/// `is_signed` checks a signature. `now_s` is the time since 1970.
///
/// # Errors
/// The reason why the token is refused.
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

//! The messages of an exchange (RFC 5802, section 7).

use alloc::borrow::ToOwned as _;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::base64;
use crate::security::limits::SCRAM_MESSAGE_BYTES_MAX;

/// The reason why an exchange fails. The client is told only that it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScramError {
    /// Longer than [`SCRAM_MESSAGE_BYTES_MAX`].
    TooLong,
    /// This part of the message is invalid.
    Malformed(&'static str),
    /// The client requires channel binding, or a mandatory extension.
    Unsupported(&'static str),
    /// The authorization id is not the user whose password the client knows.
    OtherUser,
    /// The user does not exist, or the password is wrong.
    Refused,
    /// The server did not prove that it knows the password.
    ServerUnverified,
    /// The server asks for this number of iterations, which is out of bounds.
    Iterations(i32),
}

impl fmt::Display for ScramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(
                f,
                "a SCRAM message is longer than {SCRAM_MESSAGE_BYTES_MAX} bytes"
            ),
            Self::Malformed(what) => write!(f, "a SCRAM message has no valid {what}"),
            Self::Unsupported(what) => write!(f, "SCRAM with {what} is not supported"),
            Self::OtherUser => f.write_str("the authorization id is not the user name"),
            Self::Refused => f.write_str("the user does not exist, or the password is wrong"),
            Self::ServerUnverified => {
                f.write_str("the server did not show that it knows the password")
            }
            Self::Iterations(iterations) => {
                write!(
                    f,
                    "the server asks for {iterations} iterations of SCRAM, too few or too many"
                )
            }
        }
    }
}

impl core::error::Error for ScramError {}

/// `client-first-message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFirst {
    /// The user, or the id of a delegation token.
    pub user: String,
    /// Whether `user` is the id of a delegation token (Kafka's extension `tokenauth`).
    pub is_token: bool,
    pub(super) nonce: String,
    /// The GS2 header, which the final message repeats as its channel binding.
    pub(super) gs2_header: String,
    /// The message without the header, byte for byte.
    pub(super) bare: String,
}

/// `server-first-message`.
pub(super) struct ServerFirst<'a> {
    pub nonce: &'a str,
    pub salt: Vec<u8>,
    pub iterations: i32,
}

/// `client-final-message`.
pub(super) struct ClientFinal<'a> {
    pub channel_binding: Vec<u8>,
    pub nonce: &'a str,
    pub proof: Vec<u8>,
    pub without_proof: &'a str,
}

pub(super) fn text(message: &[u8]) -> Result<&str, ScramError> {
    if message.len() > SCRAM_MESSAGE_BYTES_MAX {
        return Err(ScramError::TooLong);
    }
    core::str::from_utf8(message).map_err(|_| ScramError::Malformed("text"))
}

/// Splits `name=` and its value off the front.
fn attribute<'a>(rest: &mut &'a str, name: &'static str) -> Result<&'a str, ScramError> {
    let malformed = ScramError::Malformed(name);
    let value = rest.strip_prefix(name).ok_or(malformed)?;
    let value = value.strip_prefix('=').ok_or(malformed)?;
    let (value, behind) = value.split_once(',').unwrap_or((value, ""));
    *rest = behind;
    Ok(value)
}

fn is_nonce(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_graphic() && byte != b',';
    !text.is_empty() && text.bytes().all(is_letter)
}

/// Returns a name as a `saslname`: a comma is `=2C`, an equals sign `=3D`.
pub(super) fn escape(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

fn unescape(name: &str) -> Option<String> {
    let mut parts = name.split('=');
    let mut user = parts.next()?.to_owned();
    for part in parts {
        let (escaped, behind) = part.split_at_checked(2)?;
        user.push(match escaped {
            "2C" => ',',
            "3D" => '=',
            _ => return None,
        });
        user.push_str(behind);
    }
    let is_allowed = !user.is_empty() && !user.contains('\0');
    is_allowed.then_some(user)
}

impl ClientFirst {
    /// Reads the first message of a client.
    ///
    /// # Errors
    /// The message is malformed, or requires an unsupported feature.
    pub fn read(message: &[u8]) -> Result<Self, ScramError> {
        let message = text(message)?;
        let malformed = ScramError::Malformed;
        let (flag, behind) = message.split_once(',').ok_or(malformed("header"))?;
        match flag {
            // `y`: the client supports channel binding and believes that the broker does not.
            "n" | "y" => {}
            flag if flag.starts_with("p=") => {
                return Err(ScramError::Unsupported("channel binding"));
            }
            _ => return Err(malformed("header")),
        }
        let (identity, bare) = behind.split_once(',').ok_or(malformed("header"))?;
        let mut rest = bare;
        if rest.starts_with("m=") {
            return Err(ScramError::Unsupported("a mandatory extension"));
        }
        let user = attribute(&mut rest, "n")?;
        let user = unescape(user).ok_or(malformed("user name"))?;
        let nonce = attribute(&mut rest, "r")?;
        if !is_nonce(nonce) {
            return Err(malformed("nonce"));
        }
        let is_token = rest.split(',').any(|of| of == "tokenauth=true");
        if !identity.is_empty() {
            let name = identity.strip_prefix("a=").ok_or(malformed("header"))?;
            if unescape(name).ok_or(malformed("authorization id"))? != user {
                return Err(ScramError::OtherUser);
            }
        }
        let header_bytes = message.len() - bare.len();
        let (gs2_header, _) = message.split_at(header_bytes);
        Ok(Self {
            user,
            is_token,
            nonce: nonce.to_owned(),
            gs2_header: gs2_header.to_owned(),
            bare: bare.to_owned(),
        })
    }
}

impl<'a> ServerFirst<'a> {
    pub fn read(message: &'a str) -> Result<Self, ScramError> {
        let malformed = ScramError::Malformed;
        let mut rest = message;
        if rest.starts_with("m=") {
            return Err(ScramError::Unsupported("a mandatory extension"));
        }
        let nonce = attribute(&mut rest, "r")?;
        if !is_nonce(nonce) {
            return Err(malformed("nonce"));
        }
        let salt = attribute(&mut rest, "s")?;
        let salt = base64::decode(salt).filter(|salt| !salt.is_empty());
        let iterations = attribute(&mut rest, "i")?;
        Ok(Self {
            nonce,
            salt: salt.ok_or(malformed("salt"))?,
            iterations: iterations.parse().map_err(|_| malformed("iterations"))?,
        })
    }
}

impl<'a> ClientFinal<'a> {
    pub fn read(message: &'a [u8]) -> Result<Self, ScramError> {
        let message = text(message)?;
        let malformed = ScramError::Malformed;
        let (without_proof, proof) = message.rsplit_once(",p=").ok_or(malformed("proof"))?;
        let proof = base64::decode(proof).ok_or(malformed("proof"))?;
        let mut rest = without_proof;
        let channel_binding = attribute(&mut rest, "c")?;
        let channel_binding =
            base64::decode(channel_binding).ok_or(malformed("channel binding"))?;
        let nonce = attribute(&mut rest, "r")?;
        Ok(Self {
            channel_binding,
            nonce,
            proof,
            without_proof,
        })
    }
}

//! The client's first message (RFC 7628, 3.1), as Kafka reads it:
//! `n,[a=AUTHZID],\x01` and pairs `NAME=VALUE\x01`, of which `auth` has the token, then `\x01`.

use alloc::string::String;
use core::{fmt, str};

use super::refusal::Refusal;

/// The broker's answer to a refused token. The client acknowledges it with `\x01`, and then the
/// login fails.
pub const INVALID_TOKEN: &str = "{\"status\":\"invalid_token\"}";

/// The parts of the client's message.
#[derive(PartialEq, Eq)]
pub struct ClientMessage<'a> {
    /// The identity that the client asks for, which must be the token's subject.
    pub authorization_id: Option<String>,
    pub token: &'a str,
}

impl fmt::Debug for ClientMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientMessage")
    }
}

impl<'a> ClientMessage<'a> {
    /// Parses the message. Extensions (KIP-342) are checked, but have no effect.
    ///
    /// # Errors
    /// The message is malformed.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let broken = Refusal::Message;
        let text = str::from_utf8(bytes).map_err(|_| broken("bytes that are not UTF-8"))?;
        let text = text
            .strip_prefix("n,")
            .ok_or(broken("no header `n,`: channel binding is not supported"))?;
        let (authorization_id, pairs) = text
            .split_once(",\x01")
            .ok_or(broken("no end of its header"))?;
        let authorization_id = match authorization_id {
            "" => None,
            other => {
                Some(name(other).ok_or(broken("an authorization identity that cannot be read"))?)
            }
        };
        let pairs = pairs
            .strip_suffix("\x01\x01")
            .ok_or(broken("no end, or no pair"))?;
        let mut auth = None;
        for pair in pairs.split('\x01') {
            let (name, value) = pair.split_once('=').ok_or(broken("a pair without `=`"))?;
            if !is_name(name) || !is_value(value) {
                return Err(broken("a pair with letters that are not allowed"));
            }
            if name == "auth" && auth.replace(value).is_some() {
                return Err(broken("two tokens"));
            }
        }
        let auth = auth.ok_or(broken("no token"))?;
        let (scheme, token) = auth.split_once(' ').ok_or(broken("no token"))?;
        let token = token.trim_start_matches(' ');
        if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
            return Err(broken("another scheme than Bearer"));
        }
        Ok(Self {
            authorization_id,
            token,
        })
    }
}

/// Parses `a=NAME`, in which `=2C` is a comma and `=3D` an equals sign.
fn name(part: &str) -> Option<String> {
    let coded = part.strip_prefix("a=").filter(|name| !name.is_empty())?;
    let mut pieces = coded.split('=');
    let mut name: String = pieces.next()?.into();
    for piece in pieces {
        let (sign, rest) = match (piece.strip_prefix("2C"), piece.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            (None, None) => return None,
        };
        name.push(sign);
        name.push_str(rest);
    }
    Some(name)
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|of| of.is_ascii_alphabetic())
}

fn is_value(value: &str) -> bool {
    let is_of_value = |of: u8| matches!(of, b'!'..=b'~' | b' ' | b'\t' | b'\r' | b'\n');
    !value.is_empty() && value.bytes().all(is_of_value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_found() {
        let check = |bytes: &[u8], authorization_id: Option<&str>, token: &str| {
            let message = ClientMessage::parse(bytes).ok().unwrap();
            assert_eq!(message.authorization_id.as_deref(), authorization_id);
            assert_eq!(message.token, token);
        };
        check(b"n,,\x01auth=Bearer a.b.c\x01\x01", None, "a.b.c");
        check(b"n,,\x01auth=bearer  a.b.c\x01\x01", None, "a.b.c");
        check(b"n,a=alice,\x01auth=Bearer t\x01\x01", Some("alice"), "t");
        check(b"n,a=a=2Cb=3D,\x01auth=Bearer t\x01\x01", Some("a,b="), "t");
        check(
            b"n,,\x01host=h\x01auth=Bearer t\x01port=1 2\x01\x01",
            None,
            "t",
        );
    }

    #[test]
    fn what_is_none_is_refused() {
        let check = |bytes: &[u8], part: &str| match ClientMessage::parse(bytes) {
            Err(Refusal::Message(why)) => assert!(why.contains(part), "{bytes:?}: {why}"),
            _ => panic!("{bytes:?}"),
        };
        check(b"", "header");
        check(b"\xff", "UTF-8");
        check(b"y,,\x01auth=Bearer t\x01\x01", "channel");
        check(b"p=tls-unique,,\x01auth=Bearer t\x01\x01", "channel");
        check(b"n,,auth=Bearer t\x01\x01", "header");
        check(b"n,a=,\x01auth=Bearer t\x01\x01", "identity");
        check(b"n,b=x,\x01auth=Bearer t\x01\x01", "identity");
        check(b"n,a=x=41,\x01auth=Bearer t\x01\x01", "identity");
        check(b"n,,\x01auth=Bearer t\x01", "end");
        check(b"n,,\x01\x01", "end");
        check(b"n,,\x01auth=Bearer t\x01x\x01", "end");
        check(b"n,,\x01host=h\x01\x01", "no token");
        check(
            b"n,,\x01auth=Bearer t\x01auth=Bearer u\x01\x01",
            "two tokens",
        );
        check(b"n,,\x01auth=Basic t\x01\x01", "scheme");
        check(b"n,,\x01auth=Bearer \x01\x01", "scheme");
        check(b"n,,\x01auth=Bearer\x01\x01", "no token");
        check(b"n,,\x01auth=Bearer t\x01a1=x\x01\x01", "letters");
        check(b"n,,\x01auth=Bearer t\x01a=\x02\x01\x01", "letters");
        check(b"n,,\x01auth=Bearer t\x01a\x01\x01", "without `=`");
    }
}

//! Who may see what: each request shows a token, unless none is set.
//!
//! A token comes as `Authorization: Bearer TOKEN`, or as the password of `Authorization: Basic`,
//! which browsers ask their user for. It is never in an address, since addresses are logged and
//! kept.

use hyper::header::{AUTHORIZATION, HeaderMap};
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use sedge_core::base64;
use zeroize::Zeroizing;

use crate::config::ConsoleTokens;
use crate::process::secret::Secret;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// What a supervisor and a load balancer ask, without details.
    Alive,
    Metrics,
    Everything,
    /// The device that the broker runs on: its log, an update, a restart.
    Device,
}

/// What a request may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    /// It shows no token, or an unknown one.
    Unknown,
    /// Its token is for something else.
    Denied,
}

/// Tokens are compared by their digests, which takes as long for wrong ones as for right ones.
type Digest = [u8; SHA256_OUTPUT_LEN];

/// The tokens.
#[derive(Debug)]
pub struct Access {
    viewer: Option<Digest>,
    metrics: Option<Digest>,
    device: Option<Digest>,
}

impl Access {
    pub fn new(tokens: &ConsoleTokens) -> Self {
        let digest_of = |token: &Option<Secret>| token.as_ref().map(|of| sha256(of.text()));
        Self {
            viewer: digest_of(&tokens.viewer),
            metrics: digest_of(&tokens.metrics),
            device: digest_of(&tokens.device),
        }
    }

    /// Decides by a request's headers.
    pub fn check(&self, headers: &HeaderMap, wanted: Wanted) -> Verdict {
        let is_open = self.viewer.is_none() && self.metrics.is_none();
        if wanted == Wanted::Alive || (is_open && wanted != Wanted::Device) {
            return Verdict::Allowed;
        }
        let Some(shown) = token(headers).map(|token| sha256(&token)) else {
            return Verdict::Unknown;
        };
        match wanted {
            _ if self.device == Some(shown) => Verdict::Allowed,
            Wanted::Device if self.viewer == Some(shown) => Verdict::Denied,
            _ if self.viewer == Some(shown) => Verdict::Allowed,
            Wanted::Metrics if self.metrics == Some(shown) => Verdict::Allowed,
            _ if self.metrics == Some(shown) => Verdict::Denied,
            _ => Verdict::Unknown,
        }
    }
}

fn sha256(text: &str) -> Digest {
    let mut bytes = [0; SHA256_OUTPUT_LEN];
    bytes.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    bytes
}

/// The token that a request shows.
fn token(headers: &HeaderMap) -> Option<Zeroizing<String>> {
    let (scheme, rest) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Zeroizing::new(rest.to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let both = Zeroizing::new(base64::decode_lines(rest)?);
    // Any user will do: the token says who it is.
    let (_, password) = std::str::from_utf8(&both).ok()?.split_once(':')?;
    Some(Zeroizing::new(password.to_owned()))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn a_token_opens_what_it_is_for() {
        use Verdict::{Allowed, Denied, Unknown};
        use Wanted::{Alive, Device, Everything, Metrics};
        let access = Access::new(&ConsoleTokens {
            viewer: Some(secret("0123456789abcdef")),
            metrics: Some(secret("metrics-metrics-")),
            device: Some(secret("device-device-de")),
        });
        let check = |header: &str, wanted, expected| {
            let mut headers = HeaderMap::new();
            if !header.is_empty() {
                headers.insert(AUTHORIZATION, HeaderValue::from_str(header).unwrap());
            }
            assert_eq!(access.check(&headers, wanted), expected, "{header}");
        };
        check("", Alive, Allowed);
        check("", Metrics, Unknown);
        check("", Everything, Unknown);
        check("Bearer 0123456789abcdef", Everything, Allowed);
        check("bearer 0123456789abcdef", Metrics, Allowed);
        check("Bearer metrics-metrics-", Metrics, Allowed);
        check("Bearer metrics-metrics-", Everything, Denied);
        check("Bearer 0123456789abcdeg", Everything, Unknown);
        check("Bearer 0123456789abcde", Everything, Unknown);
        check("Bearer ", Metrics, Unknown);
        // any:0123456789abcdef, and :metrics-metrics-
        check("Basic YW55OjAxMjM0NTY3ODlhYmNkZWY=", Everything, Allowed);
        check("Basic Om1ldHJpY3MtbWV0cmljcy0=", Metrics, Allowed);
        check("Basic MDEyMzQ1Njc4OWFiY2RlZg==", Everything, Unknown);
        check("Basic ?", Everything, Unknown);
        check("Digest 0123456789abcdef", Everything, Unknown);
        check("Bearer device-device-de", Device, Allowed);
        check("Bearer device-device-de", Everything, Allowed);
        check("Bearer 0123456789abcdef", Device, Denied);
        check("Bearer metrics-metrics-", Device, Denied);
        check("", Device, Unknown);
    }

    #[test]
    fn without_tokens_all_is_open_and_with_one_nothing_else_is() {
        let none = HeaderMap::new();
        let open = Access::new(&ConsoleTokens::default());
        assert_eq!(open.check(&none, Wanted::Everything), Verdict::Allowed);
        assert_eq!(open.check(&none, Wanted::Device), Verdict::Unknown);
        let tokens = ConsoleTokens {
            metrics: Some(secret("metrics-metrics-")),
            ..ConsoleTokens::default()
        };
        let verdict = Access::new(&tokens).check(&none, Wanted::Everything);
        assert_eq!(verdict, Verdict::Unknown);
    }
}

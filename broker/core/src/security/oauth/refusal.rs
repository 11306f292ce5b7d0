//! The reasons why a token is refused. The client is told only that it is refused.

use core::fmt;

/// The reason for the log, with no more of a token than a log may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The client's message does not follow RFC 7628.
    Message(&'static str),
    /// The token is not a JWT.
    Malformed(&'static str),
    /// The token's algorithm is not accepted.
    Algorithm,
    /// There is no key with the token's key id and for its algorithm.
    UnknownKey,
    Signature,
    /// A required claim is missing, or has the wrong type.
    Claim(&'static str),
    Expired,
    /// `nbf` or `iat` is in the future.
    NotYet(&'static str),
    Audience,
    Issuer,
    /// The client asks for an identity other than the token's subject.
    AuthorizationId,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(what) => write!(f, "the client's message has {what}"),
            Self::Malformed(what) => write!(f, "the token is not a signed JWT: {what}"),
            Self::Algorithm => f.write_str(
                "the token's alg is none of RS256, RS384, RS512, PS256, ES256 and ES384",
            ),
            Self::UnknownKey => f.write_str(
                "sasl.oauthbearer.jwks.endpoint.url has no key with the token's kid and for its alg",
            ),
            Self::Signature => f.write_str("the token's signature is wrong"),
            Self::Claim(what) => write!(f, "the token has {what}"),
            Self::Expired => f.write_str("the token has expired (exp)"),
            Self::NotYet(claim) => write!(
                f,
                "the token is not valid yet ({claim}): look at the clocks, or at \
                 sasl.oauthbearer.clock.skew.seconds"
            ),
            Self::Audience => f.write_str(
                "the token is for others: its aud has none of sasl.oauthbearer.expected.audience",
            ),
            Self::Issuer => f.write_str(
                "the token's iss is not sasl.oauthbearer.expected.issuer",
            ),
            Self::AuthorizationId => {
                f.write_str("the client asks to be a principal other than the token's subject")
            }
        }
    }
}

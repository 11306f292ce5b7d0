//! Checks the claims of a token whose signature is valid.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use serde_json::{Map, Value};

use super::jws::object;
use super::limits::NAME_BYTES_MAX;
use super::refusal::Refusal;

/// The claims that a token must have: the `sasl.oauthbearer.*` keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// `clock.skew.seconds`.
    pub clock_skew_s: u64,
    /// `expected.audience`: `aud` must contain one of them; empty: any audience.
    pub audience: Vec<String>,
    /// `expected.issuer`.
    pub issuer: Option<String>,
    /// `scope.claim.name`.
    pub scope_claim: String,
    /// `sub.claim.name`.
    pub subject_claim: String,
}

/// The identity that a token gives to its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The principal's name.
    pub name: String,
    /// The time from which on the token is not accepted, in seconds since 1970.
    pub expires_s: u64,
}

impl Default for Expected {
    fn default() -> Self {
        Self {
            clock_skew_s: 30,
            audience: Vec::new(),
            issuer: None,
            scope_claim: "scope".into(),
            subject_claim: "sub".into(),
        }
    }
}

impl Expected {
    /// Checks the claims of a payload.
    pub(super) fn check(&self, payload: &[u8], now_s: u64) -> Result<Identity, Refusal> {
        let claims =
            object(payload).ok_or(Refusal::Malformed("the payload is not a JSON object"))?;
        let skew_s = self.clock_skew_s;
        let expires_s = time(&claims, "exp")?.ok_or(Refusal::Claim("no exp"))?;
        if expires_s.saturating_add(skew_s) <= now_s {
            return Err(Refusal::Expired);
        }
        // As in Kafka, the claim is required.
        let issued_s = time(&claims, "iat")?.ok_or(Refusal::Claim("no iat"))?;
        let latest_s = now_s.saturating_add(skew_s);
        if issued_s > latest_s {
            return Err(Refusal::NotYet("iat"));
        }
        if time(&claims, "nbf")?.is_some_and(|begins_s| begins_s > latest_s) {
            return Err(Refusal::NotYet("nbf"));
        }
        self.check_parties(&claims)?;
        if !is_scope(claims.get(&self.scope_claim)) {
            return Err(Refusal::Claim(
                "a scope that is neither a text nor a list of texts",
            ));
        }
        let name = claims.get(&self.subject_claim).and_then(Value::as_str);
        let name = name.filter(|name| {
            let is_sized = (1..=NAME_BYTES_MAX).contains(&name.len());
            is_sized && !name.chars().any(char::is_control)
        });
        Ok(Identity {
            name: name
                .ok_or(Refusal::Claim(
                    "no subject (sub) that can be the name of a principal",
                ))?
                .to_string(),
            // The session ends when the token is no longer accepted.
            expires_s: expires_s.saturating_add(skew_s),
        })
    }

    fn check_parties(&self, claims: &Map<String, Value>) -> Result<(), Refusal> {
        if let Some(issuer) = &self.issuer
            && claims.get("iss").and_then(Value::as_str) != Some(issuer)
        {
            return Err(Refusal::Issuer);
        }
        let is_one = |of: &Value| {
            let of = of.as_str();
            of.is_some_and(|of| self.audience.iter().any(|one| one == of))
        };
        let is_for_us = match claims.get("aud") {
            _ if self.audience.is_empty() => true,
            Some(Value::Array(all)) => all.iter().any(is_one),
            Some(one) => is_one(one),
            None => false,
        };
        if is_for_us {
            Ok(())
        } else {
            Err(Refusal::Audience)
        }
    }
}

/// A `NumericDate` of RFC 7519: seconds since 1970, which may have a fraction.
fn time(claims: &Map<String, Value>, name: &'static str) -> Result<Option<u64>, Refusal> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let seconds = value.as_u64().or_else(|| {
        let seconds = value.as_f64()?;
        (0.0..1e15).contains(&seconds).then_some(seconds as u64)
    });
    match seconds {
        Some(seconds) => Ok(Some(seconds)),
        None => Err(Refusal::Claim(
            "a time (exp, nbf or iat) that is not a number",
        )),
    }
}

fn is_scope(scope: Option<&Value>) -> bool {
    match scope {
        None | Some(Value::Null | Value::String(_)) => true,
        Some(Value::Array(all)) => all.iter().all(Value::is_string),
        Some(_) => false,
    }
}

//! The `sasl.oauthbearer.*` keys of a listener, by Kafka's names.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sedge_core::security::oauth::Expected;

use super::Validator;
use super::fetch::HttpUrl;
use super::jwks::{Document, Jwks, Pace};
use crate::tls::settings::Get;
use crate::tls::{ClientTls, KeyError};

const URL: &str = "sasl.oauthbearer.jwks.endpoint.url";
const REFRESH: &str = "sasl.oauthbearer.jwks.endpoint.refresh.ms";
const BACKOFF: &str = "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms";
const BACKOFF_MAX: &str = "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms";
const SKEW: &str = "sasl.oauthbearer.clock.skew.seconds";
const AUDIENCE: &str = "sasl.oauthbearer.expected.audience";
const ISSUER: &str = "sasl.oauthbearer.expected.issuer";
const SCOPE: &str = "sasl.oauthbearer.scope.claim.name";
const SUBJECT: &str = "sasl.oauthbearer.sub.claim.name";

/// The keys that a listener may have.
pub const KEYS: &[&str] = &[
    SKEW,
    AUDIENCE,
    ISSUER,
    REFRESH,
    BACKOFF_MAX,
    BACKOFF,
    URL,
    SCOPE,
    SUBJECT,
];

impl Validator {
    /// Reads the keys. `get_tls` gives the `ssl.*` keys with which a document is fetched by https.
    /// A file is read at once.
    ///
    /// # Errors
    /// The first key that cannot be used.
    pub fn read(get: Get<'_>, get_tls: Get<'_>) -> Result<Self, KeyError> {
        let expected = Expected {
            clock_skew_s: number(get, SKEW, 30, 0..=86_400)?,
            audience: list(get(AUDIENCE)),
            issuer: get(ISSUER),
            scope_claim: get(SCOPE).unwrap_or_else(|| "scope".to_owned()),
            subject_claim: get(SUBJECT).unwrap_or_else(|| "sub".to_owned()),
        };
        let pace = Pace {
            refresh: millis(get, REFRESH, 3_600_000)?,
            backoff: millis(get, BACKOFF, 100)?,
            backoff_max: millis(get, BACKOFF_MAX, 10_000)?,
        };
        let document = document(get, get_tls)?;
        let jwks = Jwks::new(document, pace).map_err(|why| KeyError::new(URL, why))?;
        Ok(Self {
            expected,
            jwks: Arc::new(jwks),
        })
    }
}

fn document(get: Get<'_>, get_tls: Get<'_>) -> Result<Document, KeyError> {
    let url = get(URL).ok_or_else(|| {
        KeyError::new(
            URL,
            "this key is required with OAUTHBEARER; set file:///PATH or https://HOST/PATH of the \
             public keys (JSON Web Key Set) of those that sign tokens",
        )
    })?;
    if let Some(path) = url.strip_prefix("file:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        if !path.starts_with('/') {
            let why = "a file's URL is file:///PATH, with the whole path";
            return Err(KeyError::new(URL, why));
        }
        return Ok(Document::File(PathBuf::from(path)));
    }
    let url = HttpUrl::parse(&url).map_err(|why| KeyError::new(URL, why))?;
    let mut tls = None;
    if url.is_secure {
        tls = Some(Arc::new(ClientTls::read(get_tls)?));
    }
    Ok(Document::Http { url, tls })
}

fn list(value: Option<String>) -> Vec<String> {
    let value = value.unwrap_or_default();
    let items = value.split(',').map(str::trim);
    let items = items.filter(|item| !item.is_empty());
    items.map(str::to_owned).collect()
}

fn millis(get: Get<'_>, key: &'static str, default: u64) -> Result<Duration, KeyError> {
    number(get, key, default, 1..=31_536_000_000).map(Duration::from_millis)
}

fn number(
    get: Get<'_>,
    key: &'static str,
    default: u64,
    range: std::ops::RangeInclusive<u64>,
) -> Result<u64, KeyError> {
    let Some(text) = get(key) else {
        return Ok(default);
    };
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| {
        let (least, most) = (range.start(), range.end());
        KeyError::new(
            key,
            format!("{text:?} is not a number from {least} to {most}"),
        )
    })
}

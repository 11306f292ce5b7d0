//! Requests that are refused because of their API or its version.

use std::fmt;

use sedge_protocol::api;
use sedge_protocol::kafka::generated::ApiKey;

use crate::limits::TOLD_NAME_CHARS;

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    pub api_key: i16,
    pub api_version: i16,
    pub client_id: String,
    /// The client's name and version from ApiVersions (KIP-511).
    pub software: Option<String>,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match ApiKey::from_i16(self.api_key) {
            Some(key) => write!(f, "{key:?}")?,
            None => write!(f, "API {}", self.api_key)?,
        }
        write!(f, " v{} of client {:?}", self.api_version, self.client_id)?;
        if let Some(software) = &self.software {
            write!(f, " ({software})")?;
        }
        let Some(versions) = api::supported(self.api_key).map(api::Api::answered) else {
            return f.write_str(" is not supported, nor is any other version of it");
        };
        let (first, last) = (versions.start(), versions.end());
        write!(f, " is not supported: versions {first} to {last} are; ")?;
        if self.api_version < *first {
            return f.write_str(
                "the client is older than Apache Kafka 2.1, or is configured to behave so: see \
                 KIP-896",
            );
        }
        f.write_str("the client ignores the versions in the ApiVersions response")
    }
}

/// Returns a client's name, short enough for the log.
pub fn shortened(name: &str) -> String {
    name.chars()
        .filter(|char| !char.is_control())
        .take(TOLD_NAME_CHARS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(api_key: i16, api_version: i16, software: Option<&str>) -> Unsupported {
        Unsupported {
            api_key,
            api_version,
            client_id: "Telegraf".to_owned(),
            software: software.map(str::to_owned),
        }
    }

    #[test]
    fn it_says_what_is_supported_and_why_the_client_asks_for_something_else() {
        let check = |request: Unsupported, said: &str| assert_eq!(request.to_string(), said);
        check(
            request(1, 3, Some("sarama 1.38")),
            "Fetch v3 of client \"Telegraf\" (sarama 1.38) is not supported: versions 4 to 18 are; \
             the client is older than Apache Kafka 2.1, or is configured to behave so: see KIP-896",
        );
        check(
            request(0, 2, None),
            "Produce v2 of client \"Telegraf\" is not supported: versions 3 to 13 are; the client \
             is older than Apache Kafka 2.1, or is configured to behave so: see KIP-896",
        );
        check(
            request(3, 99, None),
            "Metadata v99 of client \"Telegraf\" is not supported: versions 0 to 13 are; the \
             client ignores the versions in the ApiVersions response",
        );
        check(
            request(999, 0, None),
            "API 999 v0 of client \"Telegraf\" is not supported, nor is any other version of it",
        );
    }

    #[test]
    fn names_are_cut_and_have_no_line_ends() {
        let name = format!("a\nb{}", "c".repeat(1000));
        let short = shortened(&name);
        assert_eq!(short.len(), TOLD_NAME_CHARS);
        assert!(short.starts_with("abc"));
    }
}

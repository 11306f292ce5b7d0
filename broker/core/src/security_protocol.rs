//! The security protocols of listeners and clients, by Kafka's names, and
//! `listener.security.protocol.map`.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// `security.protocol`: whether a connection is encrypted, and whether the client logs in by SASL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecurityProtocol {
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

impl SecurityProtocol {
    const ALL: [Self; 4] = [
        Self::Plaintext,
        Self::Ssl,
        Self::SaslPlaintext,
        Self::SaslSsl,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        }
    }

    /// Parses a name in any case.
    ///
    /// # Errors
    /// The name is not one of the four protocols.
    pub fn parse(text: &str) -> Result<Self, String> {
        let found = Self::ALL
            .into_iter()
            .find(|protocol| protocol.name().eq_ignore_ascii_case(text));
        found.ok_or_else(|| {
            format!(
                "`{text}` is not a security protocol; use PLAINTEXT, SSL, SASL_PLAINTEXT or \
                 SASL_SSL"
            )
        })
    }

    /// Returns whether connections are encrypted.
    #[must_use]
    pub const fn has_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    /// Returns whether clients log in by SASL.
    #[must_use]
    pub const fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

impl fmt::Display for SecurityProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Parses a `listener.security.protocol.map`: `NAME:PROTOCOL,…`. The returned names are in
/// capitals.
///
/// # Errors
/// The reason why the first invalid entry is refused.
pub fn parse_map(text: &str) -> Result<Vec<(String, SecurityProtocol)>, String> {
    let mut map: Vec<(String, SecurityProtocol)> = Vec::new();
    let entries = text.split(',').map(str::trim);
    for entry in entries.filter(|entry| !entry.is_empty()) {
        let (name, protocol) = entry
            .split_once(':')
            .ok_or_else(|| format!("`{entry}` is not NAME:PROTOCOL"))?;
        let name = name.trim().to_uppercase();
        let protocol = SecurityProtocol::parse(protocol.trim())?;
        if map.iter().any(|(other, _)| *other == name) {
            return Err(format!("{name} is listed twice; remove one entry"));
        }
        map.push((name, protocol));
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::SecurityProtocol::{Plaintext, Ssl};
    use super::*;

    #[test]
    fn names_are_kafka_s() {
        for protocol in SecurityProtocol::ALL {
            let name = protocol.to_string();
            assert_eq!(SecurityProtocol::parse(&name), Ok(protocol));
            assert_eq!(SecurityProtocol::parse(&name.to_lowercase()), Ok(protocol));
            assert_eq!(name.contains("SSL"), protocol.has_tls());
            assert_eq!(name.contains("SASL"), protocol.has_sasl());
        }
        assert!(SecurityProtocol::parse("TLS").is_err());
    }

    #[test]
    fn a_map_names_the_protocol_of_each_listener() {
        let check = |text: &str, expected: Result<&[(&str, SecurityProtocol)], &str>| match (
            parse_map(text),
            expected,
        ) {
            (Ok(map), Ok(expected)) => {
                let map: Vec<_> = map.iter().map(|(name, of)| (name.as_str(), *of)).collect();
                assert_eq!(map, expected, "{text}");
            }
            (Err(why), Err(part)) => assert!(why.contains(part), "{text}: {why}"),
            (found, expected) => panic!("{text}: {found:?}, not {expected:?}"),
        };
        check("", Ok(&[]));
        check("lan:ssl", Ok(&[("LAN", Ssl)]));
        check(
            "INTERNAL:PLAINTEXT, LAN:SSL,",
            Ok(&[("INTERNAL", Plaintext), ("LAN", Ssl)]),
        );
        check("LAN", Err("not NAME:PROTOCOL"));
        check("LAN:TLS", Err("not a security protocol"));
        check("LAN:SSL,lan:PLAINTEXT", Err("twice"));
    }
}

//! The limits of connections: from each address, `max.connections.per.ip` and its overrides, and
//! that of a listener.

use std::collections::BTreeMap;
use std::net::{IpAddr, ToSocketAddrs};

use super::keys;
use super::listeners::MAX_CONNECTIONS;
use super::values::parse_number;

/// The limits of addresses. An IPv4 address and its IPv6-mapped form share one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressLimits {
    max: usize,
    overrides: BTreeMap<IpAddr, usize>,
}

impl AddressLimits {
    pub fn new(max: usize, overrides: BTreeMap<IpAddr, usize>) -> Self {
        Self { max, overrides }
    }

    /// Returns the most connections of an address in its canonical form.
    pub fn of(&self, address: IpAddr) -> usize {
        self.overrides.get(&address).copied().unwrap_or(self.max)
    }
}

/// Parses a listener's own limit, `listener.name.NAME.max.connections`.
///
/// # Errors
/// The key does not allow the value, with the reason.
pub fn parse_of_listener(text: &str) -> Result<usize, String> {
    match keys::find(MAX_CONNECTIONS).map(|known| known.check(text)) {
        Some(Err(error)) => Err(error.message),
        _ => parse_number(text),
    }
}

/// Parses `HOST:NUMBER,HOST:NUMBER`. A host is an address, or a name, which stands for all of its
/// addresses.
///
/// # Errors
/// The first entry that cannot be used, with the reason.
pub fn parse_overrides(text: &str) -> Result<BTreeMap<IpAddr, usize>, String> {
    let mut overrides = BTreeMap::new();
    let entries = text.split(',').map(str::trim);
    for entry in entries.filter(|entry| !entry.is_empty()) {
        let parts = entry.rsplit_once(':');
        let (host, max) = parts
            .and_then(|(host, max)| Some((host, max.trim().parse().ok()?)))
            .ok_or_else(|| format!("`{entry}` is not HOST:NUMBER, like 192.0.2.7:100"))?;
        let bare = host.strip_prefix('[').and_then(|of| of.strip_suffix(']'));
        let host = bare.unwrap_or(host).trim();
        let addresses = addresses(host).map_err(|error| format!("`{host}`: {error}"))?;
        overrides.extend(addresses.into_iter().map(|address| (address, max)));
    }
    Ok(overrides)
}

fn addresses(host: &str) -> std::io::Result<Vec<IpAddr>> {
    let found = (host, 0).to_socket_addrs()?;
    Ok(found.map(|found| found.ip().to_canonical()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_overrides() {
        let check = |text: &str, expected: Option<&[(&str, usize)]>| {
            let expected = expected.map(|entries| {
                let entry = |(address, max): &(&str, usize)| (address.parse().unwrap(), *max);
                entries
                    .iter()
                    .map(entry)
                    .collect::<BTreeMap<IpAddr, usize>>()
            });
            assert_eq!(parse_overrides(text).ok(), expected, "{text}");
        };
        check("", Some(&[]));
        check("192.0.2.7:5", Some(&[("192.0.2.7", 5)]));
        check("::1:7, 192.0.2.7:0", Some(&[("::1", 7), ("192.0.2.7", 0)]));
        check("[2001:db8::1]:9", Some(&[("2001:db8::1", 9)]));
        check("::ffff:192.0.2.7:5", Some(&[("192.0.2.7", 5)]));
        check("192.0.2.7", None);
        check("192.0.2.7:many", None);
        check("192.0.2.7:-1", None);
        check("no host:5", None);
    }

    #[test]
    fn an_override_counts_before_the_limit_for_all() {
        let limits = AddressLimits::new(3, parse_overrides("127.0.0.1:100").unwrap());
        assert_eq!(limits.of("127.0.0.1".parse().unwrap()), 100);
        assert_eq!(limits.of("192.0.2.7".parse().unwrap()), 3);
    }
}

//! Structured values: addresses, identities, the data directory.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use sedge_core::security::Principal;

/// A host, by name or address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// A name, an address, or empty for every address of this machine. Without brackets.
    pub host: String,
    /// 0 lets the operating system choose.
    pub port: u16,
}

impl HostPort {
    /// Parses `HOST:PORT`, `[IPV6]:PORT` or `:PORT`.
    ///
    /// # Errors
    /// The reason why the text is invalid.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (host, port) = text
            .rsplit_once(':')
            .ok_or("the address has no port; write HOST:PORT, like 127.0.0.1:9092")?;
        let port = port
            .parse()
            .map_err(|_| format!("`{port}` is not a port (0 to 65535)"))?;
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        if bare.is_none() && host.contains(':') {
            return Err(format!(
                "write an IPv6 address in brackets: [{host}]:{port}"
            ));
        }
        let host = bare.unwrap_or(host);
        if host
            .chars()
            .any(|c| c.is_whitespace() || matches!(c, '/' | '[' | ']' | '@'))
        {
            return Err(format!("`{host}` is not a host name"));
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }

    /// Returns the addresses to bind or to connect to. An empty host is every IPv4 address.
    ///
    /// # Errors
    /// The name does not resolve.
    pub fn resolve(&self) -> std::io::Result<Vec<SocketAddr>> {
        let host = if self.host.is_empty() {
            "0.0.0.0"
        } else {
            &self.host
        };
        Ok((host, self.port).to_socket_addrs()?.collect())
    }

    /// Returns whether the host stands for every address of the machine, to which no client can
    /// connect.
    pub fn is_wildcard(&self) -> bool {
        matches!(self.host.as_str(), "" | "0.0.0.0" | "::")
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Checks the id of a cluster.
///
/// # Errors
/// What an id looks like.
pub fn parse_cluster_id(text: &str) -> Result<String, String> {
    // Kafka's ids are 16 bytes in base64; other systems' are words. Both are sent as a string.
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() || text.len() > 64 || !text.chars().all(fine) {
        return Err("a cluster id is 1 to 64 letters, digits, `-`, `_` and `.`".to_owned());
    }
    Ok(text.to_owned())
}

pub(super) fn parse_number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "not a number".to_owned())
}

pub(super) fn parse_data(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("the data directory has no name".to_owned()),
        text if text.contains(',') => {
            Err("sedge keeps its data in one directory; name only one".to_owned())
        }
        text => Ok(PathBuf::from(text)),
    }
}

/// Kafka separates principals by semicolons, since names of certificates have commas.
pub(super) fn parse_super_users(text: &str) -> Result<BTreeSet<Principal>, String> {
    let users = text.split(';').map(str::trim);
    let users = users.filter(|user| !user.is_empty());
    users
        .map(|user| {
            Principal::parse(user).ok_or_else(|| {
                format!("`{user}` is not a principal; write User:NAME, and separate several by `;`")
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_hosts_and_ports() {
        let check = |text: &str, expected: Option<(&str, u16)>| {
            let read = HostPort::parse(text).ok();
            let expected = expected.map(|(host, port)| HostPort {
                host: host.to_owned(),
                port,
            });
            assert_eq!(read, expected, "{text}");
        };
        check("127.0.0.1:9092", Some(("127.0.0.1", 9092)));
        check("broker.example:0", Some(("broker.example", 0)));
        check(":9092", Some(("", 9092)));
        check("[::1]:9092", Some(("::1", 9092)));
        check("::1:9092", None);
        check("9092", None);
        check("host:port", None);
        check("host:70000", None);
        check("http://host:80", None);
        check("a b:1", None);
    }
}

//! Structured values: addresses and listeners.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};

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
    /// What is wrong with the text.
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

/// A Kafka listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerConfig {
    /// Its name, `PLAINTEXT` unless it says otherwise.
    pub name: String,
    /// Where it binds.
    pub address: HostPort,
    /// What clients are told; none: the address by which the client came.
    pub advertised: Option<HostPort>,
}

/// Reads a list of `[NAME://]HOST:PORT`.
///
/// # Errors
/// What is wrong with the first bad one.
pub fn parse_endpoints(text: &str) -> Result<Vec<(String, HostPort)>, String> {
    let mut endpoints: Vec<(String, HostPort)> = Vec::new();
    for item in text
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
    {
        let (name, address) = item.split_once("://").unwrap_or(("PLAINTEXT", item));
        let name = name.to_uppercase();
        match name.as_str() {
            "SSL" | "SASL_SSL" | "SASL_PLAINTEXT" => {
                return Err(format!(
                    "{name} is not supported yet; use PLAINTEXT://{address}"
                ));
            }
            "CONTROLLER" => {
                let why = "sedge has its controller inside and needs no CONTROLLER listener";
                return Err(format!("{why}; remove it"));
            }
            _ => {}
        }
        if endpoints.iter().any(|(other, _)| *other == name) {
            return Err(format!(
                "two listeners are named {name}; give each its own name: A://…,B://…"
            ));
        }
        endpoints.push((name, HostPort::parse(address)?));
    }
    Ok(endpoints)
}

/// Puts what clients are told beside where the broker listens, by the listeners' names.
///
/// # Errors
/// A name that no listener has, or an address that nobody can connect to.
pub fn join_advertised(
    listeners: Vec<(String, HostPort)>,
    advertised: &[(String, HostPort)],
) -> Result<Vec<ListenerConfig>, String> {
    for (name, address) in advertised {
        if !listeners.iter().any(|(listener, _)| listener == name) {
            return Err(format!("there is no listener named {name}"));
        }
        if address.is_wildcard() {
            return Err(format!("clients cannot connect to {address}; name a host"));
        }
    }
    let find = |name: &str| advertised.iter().find(|(other, _)| other == name);
    let join = |(name, address): (String, HostPort)| {
        let advertised = find(&name).map(|(_, address)| address.clone());
        ListenerConfig {
            name,
            address,
            advertised,
        }
    };
    Ok(listeners.into_iter().map(join).collect())
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

    #[test]
    fn reads_listeners() {
        let check = |listeners: &str, advertised: &str, expected: Result<&[&str], &str>| {
            let result = parse_endpoints(listeners)
                .and_then(|listeners| join_advertised(listeners, &parse_endpoints(advertised)?));
            let shown = result.map(|listeners| {
                let show = |l: &ListenerConfig| match &l.advertised {
                    Some(advertised) => format!("{} {} {advertised}", l.name, l.address),
                    None => format!("{} {}", l.name, l.address),
                };
                listeners.iter().map(show).collect::<Vec<_>>()
            });
            match (shown, expected) {
                (Ok(shown), Ok(expected)) => assert_eq!(shown, expected),
                (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
                (shown, expected) => panic!("{listeners}: {shown:?}, not {expected:?}"),
            }
        };
        check("127.0.0.1:1", "", Ok(&["PLAINTEXT 127.0.0.1:1"]));
        check("PLAINTEXT://:1", "h:2", Ok(&["PLAINTEXT :1 h:2"]));
        check("A://x:1, B://y:2", "B://z:3", Ok(&["A x:1", "B y:2 z:3"]));
        check("SSL://x:1", "", Err("not supported yet"));
        check("CONTROLLER://x:1", "", Err("controller inside"));
        check("x:1,y:2", "", Err("two listeners"));
        check("x:1", "C://y:2", Err("no listener"));
        check("x:1", "0.0.0.0:1", Err("cannot connect"));
    }
}

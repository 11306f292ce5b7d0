//! The Kafka listeners: `listeners`, their security protocols, `advertised.listeners`, and the
//! check that a listener without authentication is allowed (`sedge.insecure.listeners.allowed`).

use std::net::IpAddr;
use std::sync::Arc;

use sedge_core::security::sasl::Mechanism;
use sedge_core::security_protocol::{SecurityProtocol, parse_map};

use super::sasl::{self, ListenerSasl};
use super::values::HostPort;
use crate::oauth;
use crate::tls::ServerTls;
use crate::tls::settings::{self as tls, ClientAuth};

/// The key that allows listeners without authentication.
pub const INSECURE_ALLOWED: &str = "sedge.insecure.listeners.allowed";

/// Connections accepted in a second, by all listeners or by one.
pub const CREATION_RATE: &str = "max.connection.creation.rate";

/// The limit of connections, of all listeners or of one.
pub const MAX_CONNECTIONS: &str = "max.connections";

/// The console's name among the listeners, which is that of its own TLS keys:
/// `listener.name.console.ssl.keystore.location`.
pub const CONSOLE: &str = "CONSOLE";

/// Splits `listener.name.NAME.KEY`, a key of one listener, into (NAME, KEY).
pub fn split_override(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix("listener.name.")?.split_once('.')
}

/// Returns whether this key can be set for a single listener.
pub fn is_listener_key(key: &str) -> bool {
    listener_keys().any(|known| known == key)
}

/// Returns all keys that can be set for a single listener.
pub fn listener_keys() -> impl Iterator<Item = &'static str> {
    let tls = tls::KEYS.iter().chain(tls::LISTENER_KEYS);
    let sasl = sasl::LISTENER_KEYS.iter().chain(oauth::KEYS);
    tls.chain(sasl)
        .copied()
        .chain([CREATION_RATE, MAX_CONNECTIONS])
}

/// A Kafka listener.
#[derive(Debug, Clone)]
pub struct ListenerConfig {
    /// The name in upper case; the default is `PLAINTEXT`.
    pub name: String,
    pub protocol: SecurityProtocol,
    /// The TLS settings and certificates, if the protocol uses TLS.
    pub tls: Option<Arc<ServerTls>>,
    /// The SASL settings, if the protocol uses SASL.
    pub sasl: Option<Arc<ListenerSasl>>,
    /// The address to bind.
    pub address: HostPort,
    /// The address that clients are given. `None` means the address that the client connected to.
    pub advertised: Option<HostPort>,
    /// Open connections at once, if it has a limit of its own.
    pub max_connections: Option<usize>,
}

impl ListenerConfig {
    /// Returns whether clients must authenticate.
    pub fn authenticates(&self) -> bool {
        let tls = self.tls.as_ref();
        self.protocol.has_sasl() || tls.is_some_and(|of| of.client_auth() == ClientAuth::Required)
    }

    /// Returns why binding to `address` is insecure, with advice. Returns `None` for a loopback
    /// address, or if clients must authenticate.
    pub fn insecurity(&self, address: IpAddr) -> Option<String> {
        if address.is_loopback() || self.authenticates() {
            return None;
        }
        let Self { name, protocol, .. } = self;
        Some(format!(
            "listener {name} ({protocol}) on {address} can be reached from other machines and does \
             not authenticate clients: anyone who connects can read, write and delete everything; \
             use the protocol SSL with ssl.client.auth=required (`sedge security init` creates the \
             certificates) or SASL_SSL (`sedge security user add` creates users), listen on \
             127.0.0.1, or set {INSECURE_ALLOWED}=true to allow it"
        ))
    }

    /// Returns a warning if clients on other machines send passwords to `address` unencrypted.
    pub fn shows_passwords(&self, address: IpAddr) -> Option<String> {
        let sasl = self.sasl.as_ref()?;
        let is_clear = !self.protocol.has_tls() && sasl.mechanisms.contains(&Mechanism::Plain);
        if !is_clear || address.is_loopback() {
            return None;
        }
        let Self { name, protocol, .. } = self;
        Some(format!(
            "listener {name} ({protocol}) on {address} allows PLAIN without TLS, so passwords \
             cross the network unencrypted; use the protocol SASL_SSL, or replace PLAIN by SCRAM in \
             sasl.enabled.mechanisms"
        ))
    }

    /// Returns the same for the configured address, if the host is an IP address. Other hosts are
    /// checked after they are resolved.
    pub(super) fn insecurity_as_written(&self) -> Option<String> {
        let host = match self.address.host.as_str() {
            "" => "0.0.0.0",
            host => host,
        };
        self.insecurity(host.parse().ok()?)
    }
}

/// Parses a list of `[NAME://]HOST:PORT`.
///
/// # Errors
/// The reason why the first invalid entry is refused.
pub fn parse_endpoints(text: &str) -> Result<Vec<(String, HostPort)>, String> {
    let mut endpoints: Vec<(String, HostPort)> = Vec::new();
    let items = text.split(',').map(str::trim);
    for item in items.filter(|item| !item.is_empty()) {
        let (name, address) = item.split_once("://").unwrap_or(("PLAINTEXT", item));
        let (name, address) = (name.to_uppercase(), HostPort::parse(address)?);
        if endpoints.iter().any(|(other, _)| *other == name) {
            return Err(format!(
                "two listeners are named {name}; give each its own name (A://…,B://…), and each \
                 name a protocol (listener.security.protocol.map=A:PLAINTEXT,B:PLAINTEXT)"
            ));
        }
        endpoints.push((name, address));
    }
    Ok(endpoints)
}

/// Parses `listeners`. `map` has the protocol of each listener name.
///
/// # Errors
/// The reason why the first invalid listener is refused.
pub fn parse_listeners(
    text: &str,
    map: &[(String, SecurityProtocol)],
) -> Result<Vec<ListenerConfig>, String> {
    let endpoints = parse_endpoints(text)?;
    if endpoints.is_empty() {
        return Err("no address is given; write HOST:PORT, like 127.0.0.1:9092".to_owned());
    }
    let mut listeners: Vec<ListenerConfig> = Vec::new();
    for (name, address) in endpoints {
        let same = listeners
            .iter()
            .find(|other| address.port != 0 && other.address == address);
        if let Some(other) = same {
            return Err(format!(
                "{} and {name} both listen on {address}; give each its own port",
                other.name
            ));
        }
        listeners.push(ListenerConfig {
            protocol: protocol_of(&name, map)?,
            name,
            tls: None,
            sasl: None,
            address,
            advertised: None,
            max_connections: None,
        });
    }
    Ok(listeners)
}

fn protocol_of(name: &str, map: &[(String, SecurityProtocol)]) -> Result<SecurityProtocol, String> {
    if name == "CONTROLLER" {
        let why = "sedge runs its controller inside the process and needs no CONTROLLER listener";
        return Err(format!("{why}; remove it"));
    }
    if name == CONSOLE {
        let why = "this is the name of the console (sedge.console)";
        return Err(format!("{why}; give the listener another one"));
    }
    if let Some((_, protocol)) = map.iter().find(|(other, _)| other == name) {
        return Ok(*protocol);
    }
    Err(format!(
        "listener {name} has no security protocol; add {name}:PLAINTEXT or another protocol to \
         listener.security.protocol.map"
    ))
}

/// Sets the advertised addresses of `listeners` from the value of `advertised.listeners`.
///
/// # Errors
/// No listener has the name, or clients cannot connect to the address.
pub fn advertise(
    mut listeners: Vec<ListenerConfig>,
    advertised: &str,
) -> Result<Vec<ListenerConfig>, String> {
    for (name, address) in parse_endpoints(advertised)? {
        if address.is_wildcard() || address.port == 0 {
            return Err(format!(
                "clients cannot connect to {address}; set a host name or IP address, and a port"
            ));
        }
        let listener = listeners.iter_mut().find(|listener| listener.name == name);
        let listener = listener.ok_or_else(|| format!("there is no listener named {name}"))?;
        listener.advertised = Some(address);
    }
    Ok(listeners)
}

/// Parses `listener.security.protocol.map`.
///
/// # Errors
/// The reason why the first invalid entry is refused.
pub fn parse_protocols(text: &str) -> Result<Vec<(String, SecurityProtocol)>, String> {
    parse_map(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROTOCOLS: &str = "PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,
                             SASL_PLAINTEXT:SASL_PLAINTEXT,A:PLAINTEXT,B:PLAINTEXT,
                             CONTROLLER:PLAINTEXT";

    fn listeners(listeners: &str, advertised: &str) -> Result<Vec<ListenerConfig>, String> {
        let map = parse_protocols(PROTOCOLS).unwrap();
        advertise(parse_listeners(listeners, &map)?, advertised)
    }

    #[test]
    fn reads_listeners() {
        let check = |text: &str, advertised: &str, expected: Result<&[&str], &str>| {
            let shown = listeners(text, advertised).map(|listeners| {
                let show = |l: &ListenerConfig| match &l.advertised {
                    Some(advertised) => format!("{} {} {advertised}", l.name, l.address),
                    None => format!("{} {}", l.name, l.address),
                };
                listeners.iter().map(show).collect::<Vec<_>>()
            });
            match (shown, expected) {
                (Ok(shown), Ok(expected)) => assert_eq!(shown, expected),
                (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
                (shown, expected) => panic!("{text}: {shown:?}, not {expected:?}"),
            }
        };
        check("127.0.0.1:1", "", Ok(&["PLAINTEXT 127.0.0.1:1"]));
        check("PLAINTEXT://:1", "h:2", Ok(&["PLAINTEXT :1 h:2"]));
        check("A://x:1, B://y:2", "B://z:3", Ok(&["A x:1", "B y:2 z:3"]));
        check("a://x:0,b://x:0", "", Ok(&["A x:0", "B x:0"]));
        check("SASL_SSL://x:1", "", Ok(&["SASL_SSL x:1"]));
        check("CONTROLLER://x:1", "", Err("controller inside the process"));
        check("x:1,y:2", "", Err("two listeners"));
        check("A://x:1,B://x:1", "", Err("A and B both listen on x:1"));
        check("C://x:1", "", Err("add C:PLAINTEXT"));
        check("x:1", "C://y:2", Err("no listener"));
        check("x:1", "0.0.0.0:1", Err("cannot connect"));
        check("x:1", "y:0", Err("cannot connect"));
        check("", "", Err("no address is given"));
    }

    #[test]
    fn a_listener_that_others_reach_says_what_makes_it_safe() {
        let check = |text: &str, insecure: bool| {
            let listener = listeners(text, "").unwrap().remove(0);
            let why = listener.insecurity_as_written();
            assert_eq!(why.is_some(), insecure, "{text}");
            if let Some(why) = why {
                assert!(
                    why.contains("listen on 127.0.0.1") && why.contains(INSECURE_ALLOWED),
                    "{why}"
                );
            }
        };
        check("127.0.0.1:1", false);
        check("127.9.9.9:1", false);
        check("[::1]:1", false);
        // A host name is checked after it is resolved.
        check("localhost:1", false);
        check(":1", true);
        check("0.0.0.0:1", true);
        check("[::]:1", true);
        check("192.0.2.1:1", true);
        check("SASL_SSL://192.0.2.1:1", false);
    }

    #[test]
    fn plain_without_tls_is_warned_of_where_others_listen() {
        let check = |protocol: &str, mechanisms: &str, address: &str, expected: bool| {
            let get = |key: &str| match key {
                "sasl.enabled.mechanisms" => Some(mechanisms.to_owned()),
                "plain.sasl.jaas.config" => Some("PlainLoginModule required user_a=b;".to_owned()),
                _ => None,
            };
            let mut listener = listeners(&format!("{protocol}://x:1"), "")
                .unwrap()
                .remove(0);
            listener.sasl = Some(Arc::new(ListenerSasl::read(&get).unwrap()));
            let warned = listener.shows_passwords(address.parse().unwrap());
            assert_eq!(
                warned.is_some(),
                expected,
                "{protocol} {mechanisms} {address}"
            );
        };
        check("SASL_PLAINTEXT", "PLAIN", "192.0.2.1", true);
        check("SASL_PLAINTEXT", "SCRAM-SHA-512,PLAIN", "192.0.2.1", true);
        check("SASL_PLAINTEXT", "PLAIN", "127.0.0.1", false);
        check("SASL_PLAINTEXT", "SCRAM-SHA-512", "192.0.2.1", false);
        check("SASL_SSL", "PLAIN", "192.0.2.1", false);
    }
}

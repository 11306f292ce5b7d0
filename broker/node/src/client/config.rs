//! The client's configuration, under the names of Kafka's own clients.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sedge_core::security_protocol::SecurityProtocol;

pub use super::address::split_address;
use super::http_proxy::HttpProxy;
use super::limits;
use super::sasl::{self, Login};
use crate::tls::settings as tls;
use crate::tls::{ClientTls, KeyError};

/// The supported client keys; [`ClientConfig::from_properties`] refuses any other.
pub const KEYS: &[&str] = &[
    "bootstrap.servers",
    "client.id",
    "default.api.timeout.ms",
    "max.in.flight.requests.per.connection",
    "proxy",
    "receive.message.max.bytes",
    "request.timeout.ms",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "sasl.jaas.config",
    "sasl.mechanism",
    "sasl.oauthbearer.token.endpoint.url",
    "security.protocol",
    "socket.connection.setup.timeout.ms",
];

/// Returns whether `key` is a client key, or has the prefix of a security key. Unsupported security
/// keys are refused later, with the reason.
pub fn is_key(key: &str) -> bool {
    key.starts_with("ssl.") || key.starts_with("sasl.") || KEYS.contains(&key)
}

/// The bootstrap servers, time limits, retry delays, TLS and login of a [`super::Client`].
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// `HOST:PORT`, tried in random order.
    pub bootstrap_servers: Vec<String>,
    pub client_id: String,
    /// Time limit of one request.
    pub request_timeout: Duration,
    /// Time limit of one call with all its retries.
    pub api_timeout: Duration,
    pub connect_timeout: Duration,
    pub retry_backoff: Duration,
    pub retry_backoff_max: Duration,
    pub in_flight_max: usize,
    pub response_bytes_max: usize,
    /// The HTTP proxy to connect through.
    pub proxy: Option<HttpProxy>,
    /// The TLS settings, if `security.protocol` uses TLS.
    pub tls: Option<Arc<ClientTls>>,
    /// The credentials, if `security.protocol` uses SASL.
    pub login: Option<Arc<Login>>,
}

/// A client key that cannot be used, and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub key: String,
    pub reason: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.reason)
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    pub fn new(key: &str, reason: impl Into<String>) -> Self {
        Self {
            key: key.to_owned(),
            reason: reason.into(),
        }
    }
}

impl From<KeyError> for ConfigError {
    fn from(error: KeyError) -> Self {
        Self::new(error.key, error.why)
    }
}

impl ClientConfig {
    /// Returns Kafka's defaults, with these servers.
    #[must_use]
    pub fn new(bootstrap_servers: Vec<String>) -> Self {
        Self {
            bootstrap_servers,
            client_id: "sedge".to_owned(),
            request_timeout: limits::REQUEST_TIMEOUT,
            api_timeout: limits::API_TIMEOUT,
            connect_timeout: limits::CONNECT_TIMEOUT,
            retry_backoff: limits::RETRY_BACKOFF,
            retry_backoff_max: limits::RETRY_BACKOFF_MAX,
            in_flight_max: limits::IN_FLIGHT_MAX,
            response_bytes_max: limits::RESPONSE_BYTES_MAX,
            proxy: None,
            tls: None,
            login: None,
        }
    }

    /// Reads Kafka's client keys.
    pub fn from_properties(properties: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let servers = properties.get("bootstrap.servers").ok_or_else(|| {
            ConfigError::new(
                "bootstrap.servers",
                "this key is required; set HOST:PORT[,HOST:PORT]",
            )
        })?;
        let mut config = Self::new(servers_from(servers)?);
        config.apply(properties)?;
        Ok(config)
    }

    /// Applies `properties`, which have Kafka's client keys.
    pub fn apply(&mut self, properties: &BTreeMap<String, String>) -> Result<(), ConfigError> {
        for (key, value) in properties {
            self.set(key, value.trim())?;
        }
        let get = |key: &str| properties.get(key).map(|value| value.trim().to_owned());
        let protocol =
            get("security.protocol").map_or(Ok(SecurityProtocol::Plaintext), |text| {
                SecurityProtocol::parse(&text)
                    .map_err(|why| ConfigError::new("security.protocol", why))
            })?;
        self.tls = None;
        if protocol.has_tls() {
            self.tls = Some(Arc::new(ClientTls::read(&get)?));
        }
        let set = |key: &str| get(key).filter(|value| !value.is_empty());
        self.login = None;
        if protocol.has_sasl() {
            self.login = Some(Arc::new(Login::read(&set)?));
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), ConfigError> {
        match key {
            "client.id" => value.clone_into(&mut self.client_id),
            "request.timeout.ms" => self.request_timeout = millis(key, value)?,
            "default.api.timeout.ms" => self.api_timeout = millis(key, value)?,
            "socket.connection.setup.timeout.ms" => self.connect_timeout = millis(key, value)?,
            "retry.backoff.ms" => self.retry_backoff = millis(key, value)?,
            "retry.backoff.max.ms" => self.retry_backoff_max = millis(key, value)?,
            "max.in.flight.requests.per.connection" => {
                self.in_flight_max = within(key, value, 1, limits::IN_FLIGHT_MAX)?;
            }
            "proxy" => {
                let read = HttpProxy::read(value);
                self.proxy = Some(read.map_err(|why| ConfigError::new(key, why))?);
            }
            "receive.message.max.bytes" => {
                self.response_bytes_max = within(key, value, 1 << 10, i32::MAX as usize)?;
            }
            // Read separately.
            "bootstrap.servers" | "security.protocol" => {}
            _ if tls::KEYS.contains(&key) || tls::CLIENT_KEYS.contains(&key) => {}
            _ if key.starts_with("sasl.") => {
                sasl::check_key(key, value).map_err(|why| ConfigError::new(key, why))?;
            }
            _ => {
                return Err(ConfigError::new(
                    key,
                    "it is not a client key that sedge knows",
                ));
            }
        }
        Ok(())
    }
}

/// Splits and checks `HOST:PORT[,HOST:PORT]`.
pub fn servers_from(text: &str) -> Result<Vec<String>, ConfigError> {
    let servers: Vec<String> = text
        .split(',')
        .map(str::trim)
        .filter(|s| !s.is_empty())
        .map(str::to_owned)
        .collect();
    let key = "bootstrap.servers";
    if servers.is_empty() || servers.len() > limits::BOOTSTRAP_SERVERS_MAX {
        let most = limits::BOOTSTRAP_SERVERS_MAX;
        return Err(ConfigError::new(
            key,
            format!("give 1 to {most} addresses, each HOST:PORT"),
        ));
    }
    for server in &servers {
        if split_address(server).is_none() {
            return Err(ConfigError::new(
                key,
                format!("{server:?} is not HOST:PORT"),
            ));
        }
    }
    Ok(servers)
}

fn millis(key: &str, value: &str) -> Result<Duration, ConfigError> {
    within(key, value, 1, i32::MAX as usize).map(|ms| Duration::from_millis(ms as u64))
}

fn within(key: &str, value: &str, least: usize, most: usize) -> Result<usize, ConfigError> {
    match value.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(ConfigError::new(
            key,
            format!("{value:?} is not a number from {least} to {most}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn properties_by_kafkas_names() {
        let config = ClientConfig::from_properties(&properties(&[
            ("bootstrap.servers", "a:1, b:2"),
            ("request.timeout.ms", "1500"),
            ("security.protocol", "plaintext"),
        ]))
        .unwrap();
        assert_eq!(config.bootstrap_servers, ["a:1", "b:2"]);
        assert_eq!(config.request_timeout, Duration::from_millis(1500));
    }

    #[test]
    fn what_does_not_work_is_refused() {
        let check = |key: &str, value: &str| {
            let error = ClientConfig::from_properties(&properties(&[
                ("bootstrap.servers", "a:1"),
                (key, value),
            ]))
            .unwrap_err();
            assert_eq!(error.key, key, "{error}");
        };
        check("sasl.mechanisms", "PLAIN");
        check("ssl.truststore.place", "/x");
        check("security.protocol", "TLS");
        check("request.timeout.ms", "soon");
        check("max.in.flight.requests.per.connection", "6");
        check("proxy", "proxy:3128");
        check("no.such.key", "1");
        assert!(ClientConfig::from_properties(&BTreeMap::new()).is_err());
    }

    #[test]
    fn tls_has_kafka_s_keys() {
        let read = |pairs: &[(&str, &str)]| {
            let servers = [("bootstrap.servers", "a:1"), ("security.protocol", "SSL")];
            ClientConfig::from_properties(&properties(&[&servers, pairs].concat()))
        };
        assert!(read(&[]).unwrap().tls.is_some());
        assert!(read(&[("ssl.endpoint.identification.algorithm", "")]).is_ok());
        let refused = read(&[("ssl.endpoint.identification.algorithm", "ldap")]).unwrap_err();
        assert_eq!(refused.key, "ssl.endpoint.identification.algorithm");
        let refused = read(&[("ssl.keystore.type", "JKS")]).unwrap_err();
        assert_eq!(refused.key, "ssl.keystore.type");
        // As in Kafka's clients, files are ignored unless the protocol uses TLS.
        let plain = [
            ("bootstrap.servers", "a:1"),
            ("ssl.truststore.location", "x"),
        ];
        let plain = ClientConfig::from_properties(&properties(&plain)).unwrap();
        assert!(plain.tls.is_none());
    }

    #[test]
    fn sasl_has_kafka_s_keys() {
        let jaas = "org.apache.kafka.common.security.plain.PlainLoginModule required \
                    username=\"alice\" password=\"s3cret\";";
        let read = |protocol: &str, pairs: &[(&str, &str)]| {
            let keys = [
                ("bootstrap.servers", "a:1"),
                ("security.protocol", protocol),
            ];
            ClientConfig::from_properties(&properties(&[&keys, pairs].concat()))
        };
        let login = [("sasl.mechanism", "PLAIN"), ("sasl.jaas.config", jaas)];
        let config = read("SASL_SSL", &login).unwrap();
        assert!(config.tls.is_some() && config.login.is_some());
        assert!(!format!("{config:?}").contains("s3cret"));
        let config = read("SASL_PLAINTEXT", &login).unwrap();
        assert!(config.tls.is_none() && config.login.is_some());
        assert!(read("PLAINTEXT", &login).unwrap().login.is_none());
        let check = |pairs: &[(&str, &str)], key: &str| {
            assert_eq!(read("SASL_SSL", pairs).unwrap_err().key, key);
        };
        check(&[], "sasl.mechanism");
        check(&login[..1], "sasl.jaas.config");
    }

    #[test]
    fn every_listed_key_is_understood() {
        for key in KEYS.iter().filter(|key| **key != "bootstrap.servers") {
            let value = match *key {
                "security.protocol" => "PLAINTEXT",
                "proxy" => "http://proxy:3128",
                "max.in.flight.requests.per.connection" => "5",
                _ => "1024",
            };
            ClientConfig::new(vec!["a:1".to_owned()])
                .set(key, value)
                .unwrap();
        }
    }
}

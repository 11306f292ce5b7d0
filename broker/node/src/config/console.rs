//! The console's keys: its address, whether it has TLS, and the tokens that open its pages.

use std::net::IpAddr;
use std::sync::Arc;

use super::listeners::INSECURE_ALLOWED;
use super::values::HostPort;
use crate::process::secret::Secret;
use crate::tls::ServerTls;

/// The key of the token for all pages.
pub const TOKEN: &str = "sedge.console.token";
/// The key of the token for `/device`.
pub const DEVICE_TOKEN: &str = "sedge.console.device.token";
/// The key of the token for `/metrics` alone.
pub const METRICS_TOKEN: &str = "sedge.console.metrics.token";

/// Letters of the shortest token: too many to guess if they are random.
const TOKEN_BYTES_MIN: usize = 16;

/// The console's configuration.
#[derive(Clone, Debug)]
pub struct ConsoleConfig {
    /// The address to bind.
    pub address: HostPort,
    pub tokens: ConsoleTokens,
    /// The TLS settings and certificates, if the console has TLS.
    pub tls: Option<Arc<ServerTls>>,
}

/// The tokens of the console. If none is set, the console is open to everyone who can connect.
#[derive(Clone, Debug, Default)]
pub struct ConsoleTokens {
    /// Opens all pages.
    pub viewer: Option<Secret>,
    /// Opens `/metrics` alone, for the program that collects them.
    pub metrics: Option<Secret>,
    /// Opens all pages, and lets an operator update and restart the device. Without it, nobody may.
    pub device: Option<Secret>,
}

impl ConsoleTokens {
    /// Whether a token is set.
    pub fn are_set(&self) -> bool {
        self.viewer.is_some() || self.metrics.is_some()
    }

    /// Returns an error if other machines can reach the console at `address` and no token is set.
    /// The error names the keys that help.
    pub fn insecurity(&self, address: IpAddr) -> Option<String> {
        if address.is_loopback() || self.are_set() {
            return None;
        }
        Some(format!(
            "other machines can reach the console on {address}, which has no token: everyone who \
             can connect sees topics, groups and metrics; set {TOKEN}, set sedge.console to an \
             address of 127.0.0.1 or to off, or set {INSECURE_ALLOWED}=true to allow this"
        ))
    }

    /// Returns a warning if tokens for a console without TLS at `address` cross the network.
    pub fn are_shown(&self, address: IpAddr) -> Option<String> {
        if address.is_loopback() || !(self.are_set() || self.device.is_some()) {
            return None;
        }
        Some(format!(
            "the console on {address} has no TLS, so its tokens cross the network unencrypted; set \
             sedge.console=https://HOST:PORT"
        ))
    }

    /// Like [`Self::insecurity`], but before the host is resolved.
    pub(super) fn insecurity_as_written(&self, address: &HostPort) -> Option<String> {
        let host = match address.host.as_str() {
            "" => "0.0.0.0",
            host => host,
        };
        self.insecurity(host.parse().ok()?)
    }
}

/// Reads the console's address and whether it has TLS; `None` for `off`.
///
/// # Errors
/// The address is invalid.
pub fn parse_address(text: &str) -> Result<Option<(HostPort, bool)>, String> {
    if text == "off" {
        return Ok(None);
    }
    let (scheme, address) = text.split_once("://").unwrap_or(("http", text));
    let has_tls = match scheme {
        "http" => false,
        "https" => true,
        other => return Err(format!("`{other}` is not supported; write http or https")),
    };
    match HostPort::parse(address) {
        Ok(address) => Ok(Some((address, has_tls))),
        Err(why) => Err(format!("{why}; write `off` for no console")),
    }
}

/// Reads a token.
///
/// # Errors
/// The token is too short, or has characters that an HTTP header cannot have.
pub fn parse_token(text: &str) -> Result<Secret, String> {
    if text.len() < TOKEN_BYTES_MIN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!(
            "a token is {TOKEN_BYTES_MIN} or more letters, digits and signs without spaces; \
             `openssl rand -hex 16` makes a good one"
        ));
    }
    Ok(Secret::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_cannot_be_guessed() {
        assert!(parse_token("0123456789abcdef").is_ok());
        for bad in ["", "short", "0123456789 abcdef", "0123456789abcdeü"] {
            let why = parse_token(bad).unwrap_err();
            assert!(why.contains("openssl rand"), "{why}");
        }
    }

    #[test]
    fn the_address_says_whether_there_is_tls() {
        let parse = |text| {
            let read = parse_address(text).unwrap();
            read.map(|(address, has_tls)| (address.to_string(), has_tls))
        };
        let address = |has_tls| Some(("[::1]:9644".to_owned(), has_tls));
        assert_eq!(parse("off"), None);
        assert_eq!(parse("[::1]:9644"), address(false));
        assert_eq!(parse("http://[::1]:9644"), address(false));
        assert_eq!(parse("https://[::1]:9644"), address(true));
        for bad in ["https://", "ssl://h:1", "https://h:1/x"] {
            assert!(parse_address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tokens_are_not_sent_in_the_open_without_a_warning() {
        let check = |address: &str, token: Option<&str>, expected: bool| {
            let tokens = ConsoleTokens {
                viewer: token.and_then(|token| parse_token(token).ok()),
                ..ConsoleTokens::default()
            };
            let said = tokens.are_shown(address.parse().unwrap());
            assert_eq!(said.is_some(), expected, "{address}: {said:?}");
        };
        check("192.0.2.1", Some("0123456789abcdef"), true);
        check("127.0.0.1", Some("0123456789abcdef"), false);
        check("192.0.2.1", None, false);
    }

    #[test]
    fn strangers_see_the_console_only_with_a_token() {
        let check = |address: &str, tokens: &ConsoleTokens, expected: bool| {
            let said = tokens.insecurity_as_written(&HostPort::parse(address).unwrap());
            assert_eq!(said.is_some(), expected, "{address}: {said:?}");
        };
        let none = ConsoleTokens::default();
        check("127.0.0.1:9644", &none, false);
        check("[::1]:9644", &none, false);
        check("0.0.0.0:9644", &none, true);
        check(":9644", &none, true);
        check("192.0.2.1:9644", &none, true);
        let token = parse_token("0123456789abcdef").ok();
        let some = ConsoleTokens {
            metrics: token,
            ..none
        };
        check("0.0.0.0:9644", &some, false);
    }
}

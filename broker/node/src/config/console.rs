//! The console: where it listens, and the tokens without which it shows nothing.

use std::net::IpAddr;

use super::listeners::INSECURE_ALLOWED;
use super::values::HostPort;
use crate::process::secret::Secret;

/// The key of the token for all pages.
pub const TOKEN: &str = "sedge.console.token";
/// The key of the token for `/metrics` alone.
pub const METRICS_TOKEN: &str = "sedge.console.metrics.token";

/// Shortest token: nobody guesses one of as many random letters.
const TOKEN_BYTES_MIN: usize = 16;

/// The tokens that open the console; with none set, it is open to all who can connect.
#[derive(Clone, Debug, Default)]
pub struct ConsoleTokens {
    /// For a viewer, who sees all.
    pub viewer: Option<Secret>,
    /// For what collects the metrics.
    pub metrics: Option<Secret>,
}

impl ConsoleTokens {
    /// Whether anything asks for a token.
    pub fn are_set(&self) -> bool {
        self.viewer.is_some() || self.metrics.is_some()
    }

    /// Says what is wrong with the console at `address`, which is not this machine's alone, without
    /// a token, and the ways out.
    pub fn insecurity(&self, address: IpAddr) -> Option<String> {
        if address.is_loopback() || self.are_set() {
            return None;
        }
        Some(format!(
            "the console on {address} can be reached from other machines and asks nobody who they \
             are: whoever connects sees topics, groups and metrics; set {TOKEN}, set sedge.console \
             to an address of 127.0.0.1 or to off, or set {INSECURE_ALLOWED}=true if all who can \
             connect may see them"
        ))
    }

    /// The same, as far as it can be told before the host is resolved.
    pub(super) fn insecurity_as_written(&self, address: &HostPort) -> Option<String> {
        let host = match address.host.as_str() {
            "" => "0.0.0.0",
            host => host,
        };
        self.insecurity(host.parse().ok()?)
    }
}

/// Reads where the console listens.
///
/// # Errors
/// What is wrong with the address.
pub fn parse_address(text: &str) -> Result<Option<HostPort>, String> {
    match text {
        "off" => Ok(None),
        text => match HostPort::parse(text) {
            Ok(address) => Ok(Some(address)),
            Err(why) => Err(format!("{why}; write `off` for no console")),
        },
    }
}

/// Reads a token.
///
/// # Errors
/// It is not one that can be sent, or can be guessed.
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

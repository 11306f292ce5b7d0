//! Fuzzes what a client shows with OAUTHBEARER: the message, the token, its header and its claims;
//! documents of keys, and `sasl.jaas.config`.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use sedge_core::security::jaas::LoginModule;
use sedge_core::security::oauth::{ClientMessage, Expected, Keys, verify};
use sedge_fuzz::bounded;

/// `{"alg":"ES256"}`.
const HEADER: &str = "eyJhbGciOiJFUzI1NiJ9";

/// A key of each kind.
fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let number = "A".repeat(43);
        let modulus = "_".repeat(341) + "w";
        let document = format!(
            r#"{{"keys":[{{"kty":"EC","crv":"P-256","x":"{number}","y":"{number}"}},
                {{"kty":"RSA","n":"{modulus}","e":"AQAB"}}]}}"#
        );
        Keys::parse(document.as_bytes()).expect("a document of keys")
    })
}

fn base64url(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for piece in bytes.chunks(3) {
        let byte = |at: usize| u32::from(piece.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..=piece.len() {
            text.push(char::from(LETTERS[(bits >> (18 - 6 * at) & 63) as usize]));
        }
    }
    text
}

fn show(token: &str) {
    let expected = Expected::default();
    let _ = verify(token, keys(), &expected, 1_700_000_000, |_| true);
    let unsigned = verify(token, keys(), &expected, 1_700_000_000, |_| false);
    assert!(unsigned.is_err(), "{token} has no right signature");
}

fuzz_target!(|input: &[u8]| {
    keys();
    bounded(input, 8, |input| {
        let _ = Keys::parse(input);
        let coded = base64url(input);
        show(&format!("{coded}.e30.AA"));
        show(&format!("{HEADER}.{coded}.AA"));
        if let Ok(message) = ClientMessage::parse(input) {
            show(message.token);
        }
        let Ok(text) = std::str::from_utf8(input) else {
            return;
        };
        show(text);
        let _ = LoginModule::parse(text);
    });
});

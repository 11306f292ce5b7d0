//! Ed25519 public keys, as `openssl pkey -pubout` prints them.

use sedge_core::base64;

/// The 32 bytes of a key.
pub type PublicKey = [u8; 32];

/// What stands before the key in a SubjectPublicKeyInfo (RFC 8410).
const PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Reads keys, separated by commas.
pub fn parse_public_keys(text: &str) -> Result<Vec<PublicKey>, String> {
    let keys = text.split(',').map(str::trim);
    let keys = keys.filter(|key| !key.is_empty());
    keys.map(parse).collect()
}

fn parse(text: &str) -> Result<PublicKey, String> {
    let der = base64::decode(text);
    let key = der.as_deref().and_then(|der| der.strip_prefix(&PREFIX));
    key.and_then(|key| key.try_into().ok()).ok_or_else(|| {
        format!(
            "{text} is no Ed25519 public key; `openssl pkey -in KEY -pubout` prints it between BEGIN \
             and END"
        )
    })
}

/// Returns a key in the form that is read.
pub fn print_public_key(key: &PublicKey) -> String {
    base64::encode(&[&PREFIX[..], key].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_printed() {
        let keys = [[7; 32], [8; 32]];
        let text = keys.map(|key| print_public_key(&key)).join(" , ");
        assert_eq!(parse_public_keys(&text), Ok(keys.to_vec()));
        assert_eq!(parse_public_keys(""), Ok(Vec::new()));
        for wrong in ["MCowBQYDK2VwAyEA", "?", "AAAA"] {
            assert!(parse_public_keys(wrong).is_err(), "{wrong}");
        }
    }
}

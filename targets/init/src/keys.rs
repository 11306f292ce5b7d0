//! Ed25519 public keys, as `openssl pkey -pubout` and `sedge device sign` print them: in base64,
//! with what stands before the key in a SubjectPublicKeyInfo (RFC 8410).

/// The 32 bytes of a key.
pub type PublicKey = [u8; 32];

const PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Reads keys between commas, all or none.
pub fn read(text: &str) -> Option<Vec<PublicKey>> {
    let keys = text.split(',').map(str::trim);
    let keys = keys.filter(|key| !key.is_empty());
    keys.map(|key| {
        let bytes = from_base64(key)?;
        bytes.strip_prefix(&PREFIX)?.try_into().ok()
    })
    .collect()
}

/// Decodes base64 (RFC 4648), with its padding.
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || text.len() - digits.len() > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_decoded() {
        let check = |text: &str, expected: Option<&[u8]>| {
            assert_eq!(from_base64(text).as_deref(), expected, "{text}");
        };
        check("", Some(b""));
        check("Zg==", Some(b"f"));
        check("Zm8=", Some(b"fo"));
        check("Zm9vYmFy", Some(b"foobar"));
        check("+/8=", Some(&[0xFB, 0xFF]));
        for wrong in ["Z", "Zg", "Zg=", "Z===", "Zm9v!mFy", "Zm 9"] {
            check(wrong, None);
        }
    }

    #[test]
    fn keys_are_those_that_openssl_prints() {
        let key = "MCowBQYDK2VwAyEA6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw=";
        let two = read(&format!("{key}, {key}")).unwrap();
        assert_eq!((two.len(), two[0][0], two[0][31]), (2, 0xEA, 0x2C));
        assert_eq!(read(""), Some(Vec::new()));
        assert_eq!(read(&format!("{key},AAAA")), None);
    }
}

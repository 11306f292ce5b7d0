//! base64url without padding (RFC 7515, appendix C).

use alloc::vec::Vec;

/// Decodes the text. Returns `None` unless the text is exactly what an encoder writes: no padding,
/// no other characters, no surplus bits at the end.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut bits, mut bits_len) = (0_u32, 0);
    for letter in text.bytes() {
        bits = bits << 6 | value(letter)?;
        bits_len += 6;
        if bits_len >= 8 {
            bits_len -= 8;
            bytes.push((bits >> bits_len) as u8);
            bits &= (1 << bits_len) - 1;
        }
    }
    // One letter alone makes no byte.
    (bits == 0 && bits_len != 6).then_some(bytes)
}

fn value(letter: u8) -> Option<u32> {
    let value = match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    };
    Some(value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_an_encoder_writes_is_read() {
        let check = |text: &str, expected: Option<&[u8]>| {
            assert_eq!(decode(text).as_deref(), expected, "{text}");
        };
        check("", Some(b""));
        check("Zg", Some(b"f"));
        check("Zm8", Some(b"fo"));
        check("Zm9v", Some(b"foo"));
        check("-_-_", Some(&[0xfb, 0xff, 0xbf]));
        // RFC 7515, appendix C.
        check("A-z_4ME", Some(&[3, 236, 255, 224, 193]));
        check("Zg==", None);
        check("Zh", None);
        check("Zm9", None);
        check("Z", None);
        check("AAAAA", None);
        check("Zm+v", None);
        check("Zm/v", None);
        check("Zm9v\n", None);
    }
}

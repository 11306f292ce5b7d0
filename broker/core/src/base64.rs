//! Base64 (RFC 4648, section 4), with padding.

use alloc::string::String;
use alloc::vec::Vec;

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Returns the text of `bytes`.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let letter = (bits >> (18 - 6 * at)) as usize & 63;
            let letter = LETTERS.get(letter).copied().unwrap_or(b'=');
            text.push(char::from(if at > group.len() { b'=' } else { letter }));
        }
    }
    text
}

/// Returns the bytes of a text that [`encode`] wrote, and `None` for any other.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let has_space = text.bytes().any(|letter| letter.is_ascii_whitespace());
    if has_space { None } else { decode_lines(text) }
}

/// The same, with white space anywhere.
#[must_use]
pub fn decode_lines(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count, mut padding) = (0_u32, 0, 0);
    for letter in text.bytes().filter(|letter| !letter.is_ascii_whitespace()) {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                padding += 1;
                continue;
            }
            _ => return None,
        };
        if padding > 0 {
            return None;
        }
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    // The remaining bits of the last letter must be zero, and padding fills up to four letters.
    let is_whole = count < 6 && bits & ((1 << count) - 1) == 0 && padding == count / 2;
    is_whole.then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_the_rfc() {
        let vectors = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (bytes, text) in vectors {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(decode_lines("Zm9v\nYm Fy").as_deref(), Some(&b"foobar"[..]));
        assert_eq!(decode("+/+/").as_deref(), Some(&[0xfb, 0xff, 0xbf][..]));
    }

    #[test]
    fn a_text_that_is_not_written_so_is_not_read() {
        for text in [
            "Z", "Zg", "Zg=", "Zh==", "Z===", "====", "Zg==Zg==", "Zm9v=", "Zm-_", "Zm9*", "é",
        ] {
            assert_eq!(decode_lines(text), None, "{text}");
        }
        assert_eq!(decode("Zm 9v"), None);
    }

    #[test]
    fn each_byte_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        for length in 0..all.len() {
            let bytes = &all[length / 2..length];
            assert_eq!(decode(&encode(bytes)).as_deref(), Some(bytes));
        }
    }
}

//! Distinguished names as text, in the form of RFC 2253 that Java's `X500Principal.getName()`
//! returns and that Kafka's principals and access rules use.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;

use super::der::{Reader, tag};

/// The attribute types that RFC 2253 names; all others are written as numbers.
const KEYWORDS: [(&[u8], &str); 9] = [
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 9], "STREET"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (
        &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25],
        "DC",
    ),
    (
        &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1],
        "UID",
    ),
];

/// UTF8String, PrintableString, T61String, IA5String, GeneralString, UniversalString, BMPString.
const STRINGS: [u8; 7] = [0x0c, 0x13, 0x14, 0x16, 0x1b, 0x1c, 0x1e];

/// Returns the text of a `Name`; `content` is the content of its sequence.
pub fn text(content: &[u8]) -> Option<String> {
    let mut parts = Vec::new();
    let mut names = Reader::new(content);
    while !names.is_empty() {
        parts.push(relative(names.take(tag::SET)?)?);
    }
    // RFC 2253, 2.1: in reverse order.
    parts.reverse();
    Some(parts.join(","))
}

fn relative(content: &[u8]) -> Option<String> {
    let mut parts = Vec::new();
    let mut attributes = Reader::new(content);
    while !attributes.is_empty() {
        parts.push(attribute(attributes.take(tag::SEQUENCE)?)?);
    }
    Some(parts.join("+"))
}

fn attribute(content: &[u8]) -> Option<String> {
    let mut reader = Reader::new(content);
    let kind = reader.take(tag::OID)?;
    let value = reader.value()?;
    let keyword = KEYWORDS.iter().find(|(oid, _)| *oid == kind);
    match keyword {
        Some((_, keyword)) if STRINGS.contains(&value.tag) => {
            let value = String::from_utf8_lossy(value.content);
            Some(format!("{keyword}={}", escaped(&value)))
        }
        keyword => {
            let mut text = match keyword {
                Some((_, keyword)) => String::from(*keyword),
                None => dotted(kind)?,
            };
            text.push_str("=#");
            for byte in value.whole {
                write!(text, "{byte:02x}").ok()?;
            }
            Some(text)
        }
    }
}

/// Escapes as Java does, which is more than RFC 2253, 2.4 requires: `=` and `#` are escaped
/// everywhere.
fn escaped(value: &str) -> String {
    let is_space = |letter: char| matches!(letter, ' ' | '\r');
    let lead = value.len() - value.trim_start_matches(is_space).len();
    let trail = value.trim_end_matches(is_space).len();
    let mut text = String::with_capacity(value.len());
    for (at, letter) in value.char_indices() {
        match letter {
            ',' | '=' | '+' | '<' | '>' | '#' | ';' | '"' | '\\' => text.push('\\'),
            _ if at < lead || at >= trail => text.push('\\'),
            '\0' => {
                text.push_str("\\00");
                continue;
            }
            _ => {}
        }
        text.push(letter);
    }
    text
}

/// Returns an object identifier as dotted digits.
fn dotted(oid: &[u8]) -> Option<String> {
    let mut arcs: Vec<u64> = Vec::new();
    let mut arc = 0_u64;
    for byte in oid {
        arc = arc.checked_mul(128)? | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if arcs.is_empty() {
                let first = (arc / 40).min(2);
                arcs.push(first);
                arc -= first * 40;
            }
            arcs.push(arc);
            arc = 0;
        }
    }
    let is_whole = oid.last()? & 0x80 == 0;
    let digits: Vec<String> = arcs.iter().map(|arc| format!("{arc}")).collect();
    is_whole.then(|| digits.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped_as_java_escapes_them() {
        let check = |value: &str, expected: &str| assert_eq!(escaped(value), expected);
        check("sensor 7", "sensor 7");
        check("Acme, Inc.", "Acme\\, Inc.");
        check(
            " #a=b+c<d>e;f\"g\\ ",
            "\\ \\#a\\=b\\+c\\<d\\>e\\;f\\\"g\\\\\\ ",
        );
        check("ä\0", "ä\\00");
        check("  ", "\\ \\ ");
    }

    #[test]
    fn numbers_of_types_are_dotted() {
        let check = |oid: &[u8], expected: Option<&str>| {
            assert_eq!(dotted(oid).as_deref(), expected, "{oid:x?}");
        };
        check(
            &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1],
            Some("1.2.840.113549.1.9.1"),
        );
        check(&[0x55, 4, 5], Some("2.5.4.5"));
        check(&[0x88, 0x37], Some("2.999"));
        check(&[], None);
        check(&[0x55, 0x84], None);
        check(&[0xff; 20], None);
    }
}

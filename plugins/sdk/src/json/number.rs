//! Finds a number or a text in JSON without parsing it.

/// Returns the number of the member `name`.
///
/// Looks for the first `"name":` and for nothing else: neither the nesting nor the validity of the
/// JSON is checked. Returns `None` if the value is not a number (a text, `null`).
pub fn number(json: &[u8], name: &str) -> Option<f64> {
    let text = member(json, name.as_bytes())?.trim_ascii_start();
    let is_part = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    let end = text.iter().position(|byte| !is_part(byte));
    let number = text.get(..end.unwrap_or(text.len()))?;
    core::str::from_utf8(number).ok()?.parse().ok()
}

/// Returns the text of the member `name`, as it stands between its quotation marks.
///
/// Looks for the first `"name":`, as [`number`]. Returns `None` if the value is not a text, or has
/// an escape.
pub fn text<'a>(json: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let value = member(json, name.as_bytes())?.trim_ascii_start();
    let text = value.strip_prefix(b"\"")?;
    let text = text.get(..find_quote(text)?)?;
    (!text.contains(&b'\\')).then_some(text)
}

/// Returns what follows the first `"name":`.
fn member<'a>(mut json: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    loop {
        let quote = find_quote(json)?;
        json = json.get(quote + 1..)?;
        // The name's end is compared first: it rules out most other members without comparing
        // texts.
        let ends = json.get(name.len()) == Some(&b'"');
        let after = json
            .get(name.len() + 1..)
            .filter(|_| ends && json.starts_with(name));
        let value = after.and_then(|after| after.trim_ascii_start().strip_prefix(b":"));
        if value.is_some() {
            return value;
        }
    }
}

/// Returns the position of the first quotation mark. Compares eight bytes per step, since most of a
/// record is skipped.
fn find_quote(json: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let (words, rest) = json.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        // A quotation mark becomes a zero byte; the lowest zero byte found is always a true one.
        let zero = u64::from_le_bytes(*word) ^ (ONES * b'"' as u64);
        let found = zero.wrapping_sub(ONES) & !zero & (ONES << 7);
        if found != 0 {
            return Some(index * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let in_rest = rest.iter().position(|byte| *byte == b'"')?;
    Some(words.len() * 8 + in_rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found() {
        for (json, expected) in [
            (
                r#"{"celsius":21.4,"sensor" : "roof-3"}"#,
                Some(&b"roof-3"[..]),
            ),
            (r#"{"sensor":""}"#, Some(b"")),
            (r#"{"sensor":7}"#, None),
            (r#"{"sensor":"a\"b"}"#, None),
            (r#"{"sensor":"open"#, None),
            (r#"{"other":"sensor"}"#, None),
        ] {
            assert_eq!(text(json.as_bytes(), "sensor"), expected, "{json}");
        }
    }

    #[test]
    fn numbers_are_found() {
        for (json, expected) in [
            (r#"{"sensor":"roof","celsius":21.4}"#, Some(21.4)),
            (r#"{"celsius" : -4e1 , "x":1}"#, Some(-40.0)),
            (r#"{"unit":"celsius","celsius":3}"#, Some(3.0)),
            (r#"{"celsius":7"#, Some(7.0)),
            (
                r#"{"a":1,"b":[1,2,3,4,5,6,7,8,9],"long-name":"","celsius":1e-3 }"#,
                Some(0.001),
            ),
            (r#"{"celsius":"7"}"#, None),
            (r#"{"celsius":null}"#, None),
            (r#"{"celsius":}"#, None),
            (r#"{"celsius""#, None),
            (r#"{"celsiu"#, None),
            ("", None),
        ] {
            assert_eq!(number(json.as_bytes(), "celsius"), expected, "{json}");
        }
    }
}

//! A look into JSON without parsing it, for filters that want one number of each record.

/// The number that the member `name` has.
///
/// It looks for the first `"name":` and for nothing else: neither where it is nested nor whether
/// the text is JSON at all. What is not a number there (a text, `null`) is `None`.
pub fn number(json: &[u8], name: &str) -> Option<f64> {
    let text = member(json, name.as_bytes())?.trim_ascii_start();
    let is_part = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    let end = text.iter().position(|byte| !is_part(byte));
    let number = text.get(..end.unwrap_or(text.len()))?;
    core::str::from_utf8(number).ok()?.parse().ok()
}

/// What follows the first `"name":`.
fn member<'a>(mut json: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    loop {
        let quote = json.iter().position(|byte| *byte == b'"')?;
        json = json.get(quote + 1..)?;
        let after = json
            .strip_prefix(name)
            .and_then(|after| after.strip_prefix(b"\""));
        let value = after.and_then(|after| after.trim_ascii_start().strip_prefix(b":"));
        if value.is_some() {
            return value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found() {
        for (json, expected) in [
            (r#"{"sensor":"roof","celsius":21.4}"#, Some(21.4)),
            (r#"{"celsius" : -4e1 , "x":1}"#, Some(-40.0)),
            (r#"{"unit":"celsius","celsius":3}"#, Some(3.0)),
            (r#"{"celsius":7"#, Some(7.0)),
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

//! Addresses of brokers and proxies.

/// Splits `HOST:PORT` or `[V6]:PORT`, also after a `PROTOCOL://`, into host and port.
#[must_use]
pub fn split_address(text: &str) -> Option<(&str, u16)> {
    let address = text.split_once("://").map_or(text, |(_, address)| address);
    let (host, port) = address.rsplit_once(':')?;
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    if bare.is_none() && host.contains(':') {
        return None;
    }
    let host = bare.unwrap_or(host);
    let port = port.parse().ok()?;
    (!host.is_empty() && port > 0).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let check = |text: &str, expected: Option<(&str, u16)>| {
            assert_eq!(split_address(text), expected, "{text}");
        };
        check("h:9092", Some(("h", 9092)));
        check("PLAINTEXT://h.example:1", Some(("h.example", 1)));
        check("[::1]:9092", Some(("::1", 9092)));
        check("::1:9092", None);
        check("h", None);
        check("h:0", None);
        check(":9092", None);
        check("h:99999", None);
    }
}

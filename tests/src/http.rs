//! Requests to the console's port, as a monitor sends them.

use std::io::{Read, Write};
use std::net::TcpStream;

/// Returns status and body of a GET.
pub fn get(address: &str, path: &str) -> (u16, String) {
    get_with(address, path, "")
}

/// Returns status and body of a GET with this token.
pub fn get_as(address: &str, path: &str, token: &str) -> (u16, String) {
    get_with(address, path, &format!("Authorization: Bearer {token}\r\n"))
}

fn get_with(address: &str, path: &str, lines: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("the console answers");
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{lines}Connection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .expect("the console reads");
    let mut text = String::new();
    stream
        .read_to_string(&mut text)
        .expect("the console answers in text");
    let status = text.split(' ').nth(1).and_then(|word| word.parse().ok());
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status.unwrap_or(0), body.to_string())
}

/// Returns a sample of `/metrics`; `name` must include all of its labels.
pub fn metric(address: &str, name: &str) -> f64 {
    let [value] = metrics(address, [name]);
    value
}

/// Returns several metrics, as they were at one moment.
pub fn metrics<const N: usize>(address: &str, names: [&str; N]) -> [f64; N] {
    let (_, text) = get(address, "/metrics");
    names.map(|name| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok())
            .unwrap_or_else(|| panic!("no {name} in\n{text}"))
    })
}

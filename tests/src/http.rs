//! Requests over HTTP: to the console's port, as a monitor sends them, and to Kafka Connect.

use std::io::{self, Read, Write};
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
    ask(address, "GET", path, lines, "").expect("the console answers in text")
}

/// Puts JSON, and returns status and body.
///
/// # Errors
/// Nothing listens, or what listens ends.
pub fn try_put(address: &str, path: &str, json: &str) -> io::Result<(u16, String)> {
    let lines = format!(
        "Content-Type: application/json\r\nContent-Length: {}\r\n",
        json.len()
    );
    ask(address, "PUT", path, &lines, json)
}

fn ask(
    address: &str,
    method: &str,
    path: &str,
    lines: &str,
    body: &str,
) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n{lines}");
    stream.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let status = text.split(' ').nth(1).and_then(|word| word.parse().ok());
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status.unwrap_or(0), body.to_string()))
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

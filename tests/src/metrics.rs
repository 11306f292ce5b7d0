//! Reads sedge's metrics at `/metrics`.

use std::io::{Read, Write};
use std::net::TcpStream;

/// Returns the sample of that name, without labels.
pub fn sample(console: &str, name: &str) -> f64 {
    let mut stream = TcpStream::connect(console)
        .unwrap_or_else(|error| panic!("cannot connect to {console}: {error}"));
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {console}\r\nConnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .expect("the console reads");
    let mut text = String::new();
    stream
        .read_to_string(&mut text)
        .expect("the console answers in text");
    let line = text
        .lines()
        .find(|line| line.split_whitespace().next() == Some(name));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or_else(|| panic!("no {name} in\n{text}"))
}

//! Reads a console's metrics.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};

use async_io::{Async, Timer};
use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _, future};

use crate::limits;
use crate::process::failure::{Exit, Failure};

/// Samples by name and labels, as in the text.
pub type Samples = BTreeMap<String, f64>;

/// Requests a console's metrics.
///
/// # Errors
/// The console does not answer.
pub async fn scrape(console: &str) -> Result<Samples, Failure> {
    let late = async {
        Timer::after(limits::SCRAPE_TIME_MAX).await;
        Err(std::io::Error::from(std::io::ErrorKind::TimedOut))
    };
    let answer = future::or(ask(console), late).await.map_err(|error| {
        Failure::new(
            Exit::Unavailable,
            format!("the console at {console} does not show metrics: {error}"),
        )
    })?;
    Ok(parse(&answer))
}

async fn ask(console: &str) -> std::io::Result<String> {
    let address: SocketAddr = console.parse().map_err(std::io::Error::other)?;
    let mut stream = Async::<TcpStream>::connect(address).await?;
    let request = format!("GET /metrics HTTP/1.1\r\nhost: {console}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream
        .take(limits::SCRAPE_BYTES_MAX)
        .read_to_string(&mut answer)
        .await?;
    let status = answer.split(' ').nth(1).unwrap_or_default();
    match status {
        "200" => Ok(answer),
        "401" => Err(std::io::Error::other("it asks for a token")),
        other => Err(std::io::Error::other(format!("HTTP status {other}"))),
    }
}

/// Parses the lines that are samples; the head of the answer has none.
fn parse(answer: &str) -> Samples {
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let samples = body.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    samples.filter_map(sample).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_samples() {
        let answer = "HTTP/1.1 200 OK\r\na: 1\r\n\r\n# HELP x y\nx{a=\"b c\"} 1.5\ny 2\n";
        let samples = parse(answer);
        assert_eq!(samples.len(), 2);
        assert!((samples["x{a=\"b c\"}"] - 1.5).abs() < 1e-9);
    }
}

//! Reads a console's metrics.

use std::collections::BTreeMap;

use super::console::Console;
use crate::process::failure::Failure;

/// Samples by name and labels, as in the text.
pub type Samples = BTreeMap<String, f64>;

/// Requests a console's metrics.
///
/// # Errors
/// The console does not answer, or refuses.
pub async fn scrape(console: &Console) -> Result<Samples, Failure> {
    Ok(parse(&console.page("/metrics").await?))
}

/// Parses the lines that are samples.
fn parse(page: &str) -> Samples {
    let samples = page.lines().filter(|line| !line.starts_with('#'));
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
        let samples = parse("# HELP x y\nx{a=\"b c\"} 1.5\ny 2\n");
        assert_eq!(samples.len(), 2);
        assert!((samples["x{a=\"b c\"}"] - 1.5).abs() < 1e-9);
    }
}

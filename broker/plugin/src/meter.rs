//! The numbers that a plugin shows in `/metrics`: what takes them, and their names.

use std::fmt;

use crate::limits::METRIC_NAME_BYTES_MAX;

/// Takes the numbers of a plugin's instance. The names are checked already.
pub trait Meter: fmt::Debug + Send + Sync {
    /// Adds to a counter.
    ///
    /// # Errors
    /// There are too many.
    fn add(&self, name: &str, amount: u64) -> Result<(), TooManyMetrics>;

    /// Sets a gauge; removes it if the value is not finite.
    ///
    /// # Errors
    /// There are too many.
    fn set(&self, name: &str, value: f64) -> Result<(), TooManyMetrics>;
}

/// The plugin has as many metrics as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyMetrics;

/// Takes numbers and shows them nowhere.
#[derive(Clone, Copy, Debug)]
pub struct Unmetered;

impl Meter for Unmetered {
    fn add(&self, _name: &str, _amount: u64) -> Result<(), TooManyMetrics> {
        Ok(())
    }

    fn set(&self, _name: &str, _value: f64) -> Result<(), TooManyMetrics> {
        Ok(())
    }
}

impl fmt::Display for TooManyMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the plugin has as many metrics as it may have")
    }
}

/// Returns whether a metric may have this name: `wit/plugin.wit` has the rule. The broker adds
/// `_total` to a counter, so that no counter and gauge share a name.
pub fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    name.len() <= METRIC_NAME_BYTES_MAX
        && name
            .bytes()
            .next()
            .is_some_and(|first| first.is_ascii_lowercase())
        && name.bytes().all(allowed)
        && !name.ends_with("_total")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_prometheus_takes_and_no_suffix_makes_ambiguous() {
        for (name, is) in [
            ("a", true),
            ("late_records_2", true),
            (&"a".repeat(64), true),
            (&"a".repeat(65), false),
            ("", false),
            ("2nd", false),
            ("_a", false),
            ("Late", false),
            ("a-b", false),
            ("a{x=\"1\"}", false),
            ("a\nb", false),
            ("é", false),
            ("late_total", false),
        ] {
            assert_eq!(is_name(name), is, "{name:?}");
        }
    }
}

//! Reads values of a link's keys.

use super::limits;
use crate::client::config::ConfigError;

/// Reads a list, whose entries are separated by commas.
pub(super) fn patterns(key: &str, value: Option<String>) -> Result<Vec<String>, ConfigError> {
    let value = value.unwrap_or_default();
    let patterns: Vec<String> = value
        .split(',')
        .map(str::trim)
        .filter(|p| !p.is_empty())
        .map(str::to_owned)
        .collect();
    if patterns.len() > limits::PATTERNS_MAX {
        let most = limits::PATTERNS_MAX;
        return Err(ConfigError::new(
            key,
            format!("there are more than {most} entries"),
        ));
    }
    Ok(patterns)
}

/// Reads a number.
pub(super) fn number<T: std::str::FromStr>(
    key: &str,
    value: Option<String>,
    default: T,
) -> Result<T, ConfigError> {
    match value {
        None => Ok(default),
        Some(text) => text.trim().parse().map_err(|_| {
            ConfigError::new(key, format!("{text:?} is not a number, or is out of range"))
        }),
    }
}

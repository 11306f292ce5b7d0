//! Reads the values of a link's keys.

use super::limits;
use super::selection::Patterns;
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

pub(super) fn compiled(
    key: &str,
    value: Option<String>,
    default: &str,
) -> Result<Patterns, ConfigError> {
    let value = value.unwrap_or_else(|| default.to_owned());
    Patterns::new(&patterns(key, Some(value))?).map_err(|wrong| not_a_pattern(key, wrong))
}

pub(super) fn not_a_pattern(key: &str, (pattern, why): (String, String)) -> ConfigError {
    let why = format!("{pattern:?} is not a regular expression: {why}");
    ConfigError::new(key, why)
}

pub(super) fn boolean(key: &str, value: Option<&str>, default: bool) -> Result<bool, ConfigError> {
    match value.map(str::trim) {
        None => Ok(default),
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(other) => {
            let why = format!("{other:?} is not valid; use true or false");
            Err(ConfigError::new(key, why))
        }
    }
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

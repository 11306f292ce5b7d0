//! A plugin's settings: the topic's `sedge.plugin.NAME.*`, by the part after the last dot.

use alloc::{format, string::String, vec::Vec};
use core::{fmt::Display, str::FromStr};

/// Names and values as the broker passed them.
#[derive(Clone, Debug)]
pub struct Config(pub(crate) Vec<(String, String)>);

impl Config {
    /// Returns the setting's text.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(is, _)| is == name)
            .map(|(_, value)| value.as_str())
    }

    /// Parses the setting as a number, a bool or any other parsable type; returns `otherwise` if it
    /// is not set.
    ///
    /// # Errors
    /// A text for the person who configured the topic: the value cannot be parsed.
    pub fn parse_or<T: FromStr<Err: Display>>(
        &self,
        name: &str,
        otherwise: T,
    ) -> Result<T, String> {
        self.get(name).map_or(Ok(otherwise), |value| {
            value
                .parse()
                .map_err(|error| format!("setting {name}: {value:?}: {error}"))
        })
    }

    /// Returns all settings.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

//! A plugin's settings: the topic's `sedge.plugin.NAME.*`, by what follows the last dot.

use alloc::{format, string::String, vec::Vec};
use core::{fmt::Display, str::FromStr};

/// Names and values as the broker handed them over.
#[derive(Debug)]
pub struct Config(pub(crate) Vec<(String, String)>);

impl Config {
    /// The setting's text.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(is, _)| is == name)
            .map(|(_, value)| value.as_str())
    }

    /// The setting as a number, a bool or whatever else can be parsed; `otherwise` where it is not
    /// set.
    ///
    /// # Errors
    /// A text for whoever configured the topic, when the value cannot be parsed.
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

    /// All settings.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

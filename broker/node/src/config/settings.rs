//! Keys and values as text, each with its source.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// The source of a value. Later ones override earlier ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Built in.
    Default,
    /// A default of the profile (`sedge.profile`).
    Profile,
    /// A line of the configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// An environment variable, by its name.
    Environment(String),
    /// The command line.
    Flag,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => write!(f, "default"),
            Self::Profile => write!(f, "profile"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag => write!(f, "command line"),
        }
    }
}

/// A value and its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The text, in the form of Kafka's properties; lists are joined with commas.
    pub value: String,
    /// The source of the value.
    pub source: Source,
}

/// The values that were set, by key. Keys that were not set are absent.
#[derive(Debug, Default, Clone)]
pub struct Settings {
    values: BTreeMap<String, Setting>,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    /// Warnings, which are not errors.
    pub warnings: Vec<String>,
}

impl Settings {
    /// Sets a key, replacing its value.
    pub fn put(&mut self, key: &str, value: &str, source: Source) {
        self.values.insert(
            key.to_owned(),
            Setting {
                value: value.to_owned(),
                source,
            },
        );
    }

    /// Returns the value that was set for the key.
    pub fn get(&self, key: &str) -> Option<&Setting> {
        self.values.get(key)
    }

    /// Returns all values, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.values
            .iter()
            .map(|(key, setting)| (key.as_str(), setting))
    }

    /// Removes a key and returns its value.
    pub(super) fn take(&mut self, key: &str) -> Option<Setting> {
        self.values.remove(key)
    }
}

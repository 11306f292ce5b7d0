//! Keys and values as text, each with the place it came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Where a value came from. Later ones override earlier ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Built in.
    Default,
    /// What the profile (`sedge.profile`) sets.
    Profile,
    /// A line of the configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
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
    /// As text, the way Kafka's properties have it; lists are joined with commas.
    pub value: String,
    /// Where it came from.
    pub source: Source,
}

/// What was set, by key. What was not set is not in here.
#[derive(Debug, Default, Clone)]
pub struct Settings {
    values: BTreeMap<String, Setting>,
    /// The file that was read, where there is one.
    pub file: Option<PathBuf>,
    /// Things worth saying that are no errors.
    pub warnings: Vec<String>,
}

impl Settings {
    /// Sets a key, over what was there.
    pub fn put(&mut self, key: &str, value: &str, source: Source) {
        self.values.insert(
            key.to_owned(),
            Setting {
                value: value.to_owned(),
                source,
            },
        );
    }

    /// What was set for the key.
    pub fn get(&self, key: &str) -> Option<&Setting> {
        self.values.get(key)
    }

    /// All that was set, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.values
            .iter()
            .map(|(key, setting)| (key.as_str(), setting))
    }

    /// Takes a key out.
    pub(super) fn take(&mut self, key: &str) -> Option<Setting> {
        self.values.remove(key)
    }
}

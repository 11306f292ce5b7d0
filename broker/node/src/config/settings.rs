//! Keys and values as text, each with its source.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::keys;
use crate::process::secret::Secret;

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

/// The text of a value, in the form of Kafka's properties; lists are joined with commas.
///
/// Shown as it was written: a password is hidden, and what stands for `${file:…}` is not shown.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    Plain(String),
    /// Of a key whose values are secret.
    Secret(Secret),
    /// Read from elsewhere.
    Referred {
        written: String,
        text: Secret,
    },
}

impl Value {
    /// The value of a key, as written.
    pub fn of(key: &str, text: &str) -> Self {
        if keys::is_secret(key) && !text.is_empty() {
            Self::Secret(Secret::new(text.to_owned()))
        } else {
            Self::Plain(text.to_owned())
        }
    }

    /// Returns the value itself.
    pub fn text(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::Secret(text) | Self::Referred { text, .. } => text.text(),
        }
    }

    /// Takes the value out of a message about it.
    pub(super) fn hide_in(&self, message: String) -> String {
        let is_hidden = !matches!(self, Self::Plain(_));
        match self.text().trim() {
            // One of a letter or two is everywhere.
            text if is_hidden && text.len() > 2 => message.replace(text, &self.to_string()),
            _ => message,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(text) | Self::Referred { written: text, .. } => f.write_str(text),
            Self::Secret(secret) => secret.fmt(f),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// A value and its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The value.
    pub value: Value,
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
                value: Value::of(key, value),
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

    /// Returns all values, to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Setting)> {
        self.values
            .iter_mut()
            .map(|(key, setting)| (key.as_str(), setting))
    }

    /// Removes a key and returns its value.
    pub(super) fn take(&mut self, key: &str) -> Option<Setting> {
        self.values.remove(key)
    }
}

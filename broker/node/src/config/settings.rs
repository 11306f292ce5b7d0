//! Keys and values as text, each with the place it came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::error::Problem;
use super::{keys, nearest};

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

    /// Finds the keys that nothing knows. Variables are only warned of, because an environment is
    /// shared: Kubernetes, for one, puts `SEDGE_PORT` beside a service of that name.
    pub(super) fn check_names(&mut self, problems: &mut Vec<Problem>) {
        let unknown: Vec<String> = self
            .values
            .keys()
            .filter(|key| !keys::is_known(key))
            .cloned()
            .collect();
        for key in unknown {
            let Some(setting) = self.values.remove(&key) else {
                continue;
            };
            let nearest = nearest::nearest(&key, &keys::names_like(&key));
            if let Source::Environment(name) = setting.source {
                let hint = nearest
                    .map(|nearest| {
                        format!(
                            "; did you mean `{}`?",
                            super::environment::name_of(&nearest)
                        )
                    })
                    .unwrap_or_default();
                self.warnings.push(format!(
                    "the variable {name} names no key and is ignored{hint}"
                ));
            } else {
                problems.push(Problem::Unknown {
                    key,
                    source: setting.source,
                    nearest,
                });
            }
        }
        for (key, setting) in &self.values {
            if let Some(why) = keys::why_without_effect(key) {
                self.warnings.push(format!(
                    "{}: `{key}` is Kafka's and has no effect in sedge: {why}",
                    setting.source
                ));
            }
        }
    }
}

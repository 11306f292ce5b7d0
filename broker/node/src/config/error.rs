//! Problems of a configuration.

use std::fmt;
use std::path::PathBuf;

use super::{Setting, Source};

/// All problems of a configuration, so that they can be corrected in one go.
#[derive(Debug)]
pub struct ConfigError {
    /// The problems, at least one.
    pub problems: Vec<Problem>,
}

/// One problem of a configuration.
#[derive(Debug)]
pub enum Problem {
    /// The file could not be read.
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        error: std::io::Error,
    },
    /// The file is not valid TOML, or has a value that no key accepts.
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The parser's message.
        message: String,
    },
    /// The file sets one key twice.
    Twice {
        /// The key.
        key: String,
        /// The file.
        path: PathBuf,
        /// The first line that has it.
        first_line: usize,
        /// The second line that has it.
        second_line: usize,
    },
    /// The key does not exist.
    Unknown {
        /// The key as given.
        key: String,
        /// The place at which it was given.
        source: Source,
        /// The known key that is most similar to it.
        nearest: Option<String>,
    },
    /// The key does not accept the value.
    Value {
        /// The key.
        key: String,
        /// The value as given, hidden if it is a secret.
        value: String,
        /// The place at which it was given.
        source: Source,
        /// The reason, and the allowed values.
        why: String,
    },
}

impl Problem {
    /// Returns the problem of a value, without a secret in it.
    pub fn of(key: &str, setting: &Setting, why: String) -> Self {
        Self::Value {
            key: key.to_owned(),
            value: setting.value.to_string(),
            source: setting.source.clone(),
            why: setting.value.hide_in(why),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, error } => {
                write!(
                    f,
                    "cannot read the configuration file {}: {error}",
                    path.display()
                )
            }
            Self::Syntax {
                path,
                line,
                message,
            } => {
                write!(f, "{}:{line}: {message}", path.display())
            }
            Self::Twice {
                key,
                path,
                first_line,
                second_line,
            } => write!(
                f,
                "{}:{second_line}: `{key}` is already set in line {first_line}; remove one of them",
                path.display()
            ),
            Self::Unknown {
                key,
                source,
                nearest,
            } => {
                write!(f, "{source}: unknown key `{key}`")?;
                match nearest {
                    Some(nearest) => write!(f, "; did you mean `{nearest}`?"),
                    None => write!(f, "; `sedge config dump --effective` lists the known keys"),
                }
            }
            Self::Value {
                key,
                value,
                source,
                why,
            } => {
                write!(f, "{source}: `{key} = {value}`: {why}")
            }
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

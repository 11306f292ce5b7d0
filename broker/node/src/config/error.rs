//! What can be wrong with a configuration.

use std::fmt;
use std::path::PathBuf;

use super::Source;

/// Everything wrong with a configuration, so that it can be put right in one go.
#[derive(Debug)]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<Problem>,
}

/// One thing wrong with a configuration.
#[derive(Debug)]
pub enum Problem {
    /// The file could not be read.
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is not TOML, or has a value that no key takes.
    Syntax {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// The file says one key in two ways.
    Twice {
        /// The key.
        key: String,
        /// The file.
        path: PathBuf,
        /// The first line that has it.
        first_line: usize,
        /// The second.
        second_line: usize,
    },
    /// No such key.
    Unknown {
        /// The key as given.
        key: String,
        /// Where it was given.
        source: Source,
        /// The known key that looks most like it.
        nearest: Option<String>,
    },
    /// A value that its key does not take.
    Value {
        /// The key.
        key: String,
        /// The value as given, hidden where it is a secret.
        value: String,
        /// Where it was given.
        source: Source,
        /// What is wrong with it, and what would be right.
        why: String,
    },
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

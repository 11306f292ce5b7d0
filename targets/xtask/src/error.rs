//! Errors of a task, with what to do about them.

use std::{fmt, io, path::PathBuf, process::ExitStatus};

/// The result of a task.
pub type Result<T> = std::result::Result<T, Error>;

/// Reason why a task stopped.
#[derive(Debug)]
pub enum Error {
    /// A program ran and failed.
    Failed { command: String, status: ExitStatus },
    /// A program could not be started.
    NotStarted { command: String, source: io::Error },
    /// A file could not be read, written or created.
    File { path: PathBuf, source: io::Error },
    /// A file of the repository has invalid content.
    Content { path: PathBuf, wrong: String },
    /// The machine lacks something that a task cannot install itself.
    Missing { what: String, remedy: String },
    /// There is no such target, test or fuzz target.
    Unknown {
        kind: &'static str,
        name: String,
        known: Vec<String>,
    },
    /// Checks ran, and some of them failed. They have already been printed.
    Checks { failed: usize },
}

impl Error {
    /// Returns a function for `map_err` after a file operation on `path`.
    pub fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { command, status } => write!(f, "`{command}` ended with {status}"),
            Self::NotStarted { command, source } => {
                write!(f, "`{command}` could not be started: {source}")
            }
            Self::File { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Content { path, wrong } => write!(f, "{}: {wrong}", path.display()),
            Self::Missing { what, remedy } => write!(f, "missing: {what}\n  {remedy}"),
            Self::Unknown { kind, name, known } => {
                write!(f, "no {kind} `{name}`; there are: {}", known.join(", "))
            }
            Self::Checks { failed } => write!(f, "{failed} checks failed"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotStarted { source, .. } | Self::File { source, .. } => Some(source),
            _ => None,
        }
    }
}

//! A command's failure: what, why, what to do, and the exit code for its kind.

use std::fmt;

/// sysexits(3), and what diff(1) and test programs use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// A result is not the expected one.
    Different = 1,
    /// The command line is invalid.
    Usage = 64,
    /// Input data is invalid.
    Data = 65,
    /// A broker, a tool or a topic that is needed is not there.
    Unavailable = 69,
    /// An internal promise of this program is broken.
    Software = 70,
    /// An output cannot be created.
    CannotCreate = 73,
    /// Reading or writing failed.
    Io = 74,
    /// A later try may succeed.
    Temporary = 75,
    /// Permission was denied.
    Permission = 77,
    /// The configuration is wrong.
    Config = 78,
}

/// The failure of a command.
#[derive(Debug)]
pub struct Failure {
    /// The kind.
    pub exit: Exit,
    /// The failure and its reason.
    pub what: String,
    /// Advice for the user.
    pub advice: Option<String>,
}

impl Failure {
    /// Creates a failure without advice.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self {
            exit,
            what: what.into(),
            advice: None,
        }
    }

    /// Adds advice.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// Creates the failure for an input or output error, by its kind.
    pub fn io(doing: &str, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        let exit = match error.kind() {
            ErrorKind::PermissionDenied => Exit::Permission,
            ErrorKind::NotFound => Exit::Unavailable,
            _ => Exit::Io,
        };
        Self::new(exit, format!("cannot {doing}: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        match &self.advice {
            Some(advice) => write!(f, "\n  {advice}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

//! How a command fails: what, why, what to do, and the exit code that says which kind.

use std::fmt;

/// sysexits(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The command line makes no sense.
    Usage = 64,
    /// Input data is not what it has to be.
    Data = 65,
    /// Something that is needed is not there: a broker, a tool, a topic.
    Unavailable = 69,
    /// A promise of this program does not hold.
    Software = 70,
    /// An output cannot be made.
    CannotCreate = 73,
    /// Reading or writing failed.
    Io = 74,
    /// It may work later.
    Temporary = 75,
    /// Not allowed.
    Permission = 77,
    /// The configuration is wrong.
    Config = 78,
}

/// The end of a command that did not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    /// The kind.
    pub exit: Exit,
    /// What could not be done, and why.
    pub what: String,
    /// What to do about it.
    pub advice: Option<String>,
}

impl Failure {
    /// A failure without advice.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self {
            exit,
            what: what.into(),
            advice: None,
        }
    }

    /// With what to do about it.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// An input or output error, by its kind.
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

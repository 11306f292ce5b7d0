//! Error codes on the wire, and this crate's own failure to read or write bytes.

use core::fmt;

use crate::kafka::{self, generated::ErrorCode};

/// Returns an error code's number on the wire.
#[must_use]
pub fn wire(error: ErrorCode) -> i16 {
    error.code()
}

/// Returns the wire's number for a result whose success carries no data.
#[must_use]
pub fn wire_of<T>(result: &Result<T, ErrorCode>) -> i16 {
    result.as_ref().err().map_or(0, ErrorCode::code)
}

/// Bytes that are malformed, or a message that does not fit its format.
#[derive(Debug)]
pub enum Error {
    /// The bytes end before the value does.
    Truncated { what: &'static str },
    /// Bytes are left over behind the value.
    Trailing { bytes: usize },
    /// A variable-length number is longer than its type allows.
    Varint,
    /// A length is below zero in a field that cannot be null.
    Negative { what: &'static str },
    /// The value exceeds the named limit.
    TooMany { what: &'static str, limit: usize },
    /// A string is not UTF-8.
    NotText { what: &'static str },
    /// This build does not know this version or type of a record.
    Unknown { what: &'static str, number: i64 },
    /// The field cannot have this value.
    Invalid { what: &'static str },
    /// The generated codec refused the message.
    Message(kafka::ProtocolError),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { what } => write!(f, "the bytes end within {what}"),
            Self::Trailing { bytes } => write!(f, "{bytes} bytes are left over after the value"),
            Self::Varint => f.write_str("a variable-length number does not end"),
            Self::Negative { what } => write!(f, "the length of {what} is negative"),
            Self::TooMany { what, limit } => write!(f, "more {what} than the limit of {limit}"),
            Self::NotText { what } => write!(f, "{what} is not UTF-8"),
            Self::Unknown { what, number } => write!(f, "{what} {number} is unknown"),
            Self::Invalid { what } => write!(f, "{what} is not valid"),
            Self::Message(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for Error {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Message(error) => Some(error),
            _ => None,
        }
    }
}

impl From<kafka::ProtocolError> for Error {
    fn from(error: kafka::ProtocolError) -> Self {
        Self::Message(error)
    }
}

/// The result of reading or writing bytes.
pub type Result<T, E = Error> = core::result::Result<T, E>;

//! What commands print. Results go to standard output, everything else to standard error.

use std::fmt;
use std::io::{self, Write as _};

use super::Failure;
use super::failure::Exit;

/// Prints one line of a result.
///
/// # Errors
/// Standard output cannot be written. A reader that closed its end early is none.
pub fn line(text: fmt::Arguments<'_>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out
        .write_fmt(text)
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush())
    {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::new(
            Exit::Io,
            format!("cannot write to standard output: {error}"),
        )),
        Ok(()) => Ok(()),
    }
}

/// Prints why a command failed.
pub fn error(failure: &Failure) {
    let _ = writeln!(io::stderr().lock(), "sedge: {failure}");
}

/// Prints something worth knowing that is no result.
pub fn note(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

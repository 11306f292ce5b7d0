//! Lines that a run leaves behind even where its tests pass: versions, results, figures.

use std::fmt::Arguments;
use std::io::Write;

/// Writes a line to standard error itself, which the test runner does not capture.
pub fn line(text: Arguments<'_>) {
    // Whoever does not read it misses it.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

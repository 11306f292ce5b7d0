//! Prints lines that a run shows even if its tests pass: versions, results, figures.

use std::fmt::Arguments;
use std::io::Write;

/// Writes a line to standard error itself, which the test runner does not capture.
pub fn line(text: Arguments<'_>) {
    // A reader that is gone misses the line.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

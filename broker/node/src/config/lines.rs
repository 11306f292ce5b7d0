//! The line of each key in a file, so that the error for a repeated key names both lines.

use std::collections::BTreeMap;
use std::path::Path;

use super::error::Problem;

/// The line in which each key was found.
#[derive(Debug, Default)]
pub struct Lines(BTreeMap<String, usize>);

impl Lines {
    /// Returns whether a key is new; if not, adds a problem.
    pub fn is_new(
        &mut self,
        key: &str,
        line: usize,
        path: &Path,
        problems: &mut Vec<Problem>,
    ) -> bool {
        let Some(before) = self.0.insert(key.to_owned(), line) else {
            return true;
        };
        problems.push(Problem::Twice {
            key: key.to_owned(),
            path: path.to_path_buf(),
            first_line: before.min(line),
            second_line: before.max(line),
        });
        false
    }
}

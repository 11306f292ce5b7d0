//! The lines of a file by their keys, so that a key that comes twice is told with both.

use std::collections::BTreeMap;
use std::path::Path;

use super::error::Problem;

/// The line that each key was met in.
#[derive(Debug, Default)]
pub struct Lines(BTreeMap<String, usize>);

impl Lines {
    /// Whether a key is met for the first time. Where it is not, that is a problem.
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

//! Shows the output of `cargo test` as it comes, and counts its tests.

use std::{
    fmt,
    io::{BufRead, BufReader},
    ops::AddAssign,
    process::{Command, Stdio},
};

use crate::error::{Error, Result};

/// Numbers of tests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: usize,
    pub failed: usize,
    pub ignored: usize,
}

impl Tally {
    pub const PASSED: Self = Self {
        passed: 1,
        failed: 0,
        ignored: 0,
    };
    pub const FAILED: Self = Self {
        passed: 0,
        failed: 1,
        ignored: 0,
    };

    /// Counts the tests of a run in its output. A run that fails without a failed test (because it
    /// did not build, or was killed) counts as a failure.
    pub fn of(output: &str, succeeded: bool) -> Self {
        let mut tally = Self::default();
        for counted in output.lines().filter_map(Self::from_line) {
            tally += counted;
        }
        tally.or_failed(succeeded)
    }

    /// Counts a failure if a run failed without a failed test.
    fn or_failed(mut self, succeeded: bool) -> Self {
        if !succeeded && self.failed == 0 {
            self += Self::FAILED;
        }
        self
    }

    /// Parses a line like `test result: ok. 2 passed; 0 failed; 1 ignored; …`; returns `None` for
    /// any other.
    fn from_line(line: &str) -> Option<Self> {
        let numbers = line.strip_prefix("test result: ")?.split_once(". ")?.1;
        let count = |word| {
            let part = numbers
                .split("; ")
                .find_map(|part| part.trim().strip_suffix(word))?;
            part.trim().parse().ok()
        };
        Some(Self {
            passed: count("passed")?,
            failed: count("failed")?,
            ignored: count("ignored")?,
        })
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} ignored",
            self.passed, self.failed, self.ignored
        )
    }
}

/// Runs a `cargo test`, passing its output on.
pub fn run(command: &mut Command) -> Result<Tally> {
    let shown = format!("{command:?}");
    let not_started = |source| Error::NotStarted {
        command: shown.clone(),
        source,
    };
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(not_started)?;
    let mut tally = Tally::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout)
            .lines()
            .map_while(std::result::Result::ok)
        {
            println!("{line}");
            if let Some(counted) = Tally::from_line(&line) {
                tally += counted;
            }
        }
    }
    let status = child.wait().map_err(not_started)?;
    Ok(tally.or_failed(status.success()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_read_and_others_are_not() {
        let line =
            "test result: FAILED. 11 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out";
        assert_eq!(
            Tally::from_line(line),
            Some(Tally {
                passed: 11,
                failed: 2,
                ignored: 1
            })
        );
        assert_eq!(Tally::from_line("test storage::opens ... ok"), None);
    }

    #[test]
    fn the_output_of_a_run_is_counted_and_its_failure_is() {
        let output =
            "running 2 tests\ntest result: ok. 2 passed; 0 failed; 0 ignored; 0 measured\n";
        assert_eq!(
            Tally::of(output, true).to_string(),
            "2 passed, 0 failed, 0 ignored"
        );
        assert_eq!(
            Tally::of(output, false).to_string(),
            "2 passed, 1 failed, 0 ignored"
        );
    }

    #[test]
    fn a_run_that_breaks_without_a_result_is_a_failure() {
        let broken = run(Command::new("sh").args(["-c", "exit 101"])).unwrap();
        assert_eq!(broken, Tally::FAILED);
        let line = "echo 'test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured'";
        assert_eq!(
            run(Command::new("sh").args(["-c", line])).unwrap().passed,
            3
        );
    }
}

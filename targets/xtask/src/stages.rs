//! Progress of a task: the current stage, the time of each stage, and a summary at the end.

use std::{
    fmt,
    time::{Duration, Instant},
};

use crate::error::Result;

/// The stages of a task that have run.
#[derive(Debug, Default)]
pub struct Stages {
    done: Vec<Stage>,
}

#[derive(Debug)]
struct Stage {
    name: String,
    outcome: String,
    took: Duration,
}

impl Stages {
    /// Runs one stage, with a line before and after it. `outcome` summarises the result in a few
    /// words.
    pub fn run<T>(
        &mut self,
        name: &str,
        work: impl FnOnce() -> Result<T>,
        outcome: impl FnOnce(&T) -> String,
    ) -> Result<T> {
        println!("\n== {name}");
        let began = Instant::now();
        let result = work();
        let stage = Stage {
            name: name.to_owned(),
            outcome: result.as_ref().map_or_else(|_| "failed".into(), outcome),
            took: began.elapsed(),
        };
        println!("== {stage}");
        self.done.push(stage);
        result
    }
}

impl Stages {
    /// Returns the names and times of the stages in one line.
    pub fn in_a_line(&self) -> String {
        let stages = self.done.iter().map(Stage::to_string);
        stages.collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, outcome, .. } = self;
        write!(f, "{name}: {:.0} s", self.took.as_secs_f64())?;
        if outcome.is_empty() {
            Ok(())
        } else {
            write!(f, ", {outcome}")
        }
    }
}

/// Formats a table whose last line has the sum of the seconds.
impl fmt::Display for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lengths = self.done.iter().map(|stage| stage.name.len());
        let width = lengths.max().unwrap_or(0).max("all".len());
        for stage in &self.done {
            let seconds = stage.took.as_secs_f64();
            let row = format!("{:width$} {seconds:>6.0} s  {}", stage.name, stage.outcome);
            writeln!(f, "{}", row.trim_end())?;
        }
        let all: Duration = self.done.iter().map(|stage| stage.took).sum();
        write!(f, "{:width$} {:>6.0} s", "all", all.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn the_table_has_each_stage_and_their_sum() {
        let mut stages = Stages::default();
        let ran = stages.run("unit", || Ok(2), |passed| format!("{passed} passed"));
        assert_eq!(ran.unwrap(), 2);
        let failed = stages.run(
            "build",
            || Err(Error::Checks { failed: 1 }),
            |(): &()| String::new(),
        );
        assert!(failed.is_err());
        for (stage, seconds) in stages.done.iter_mut().zip([5, 100]) {
            stage.took = Duration::from_secs(seconds);
        }
        let expected = "unit       5 s  2 passed\nbuild    100 s  failed\nall      105 s";
        assert_eq!(stages.to_string(), expected);
        let line = "unit: 5 s, 2 passed, build: 100 s, failed";
        assert_eq!(stages.in_a_line(), line);
    }
}

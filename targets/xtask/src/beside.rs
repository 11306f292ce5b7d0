//! A stage of the tests that runs in a process of its own, beside the other stages.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command},
};

use crate::{
    error::{Error, Result},
    tally::Tally,
    workspace::Workspace,
};

/// A `cargo xtask test --only STAGE` that runs; it is killed when it is dropped.
#[derive(Debug)]
pub struct Beside {
    stage: String,
    child: Child,
    /// Where its output is kept until it has ended.
    log: PathBuf,
}

impl Beside {
    /// Starts `stage` at a low priority, so that it takes what the other stages leave.
    pub fn start(workspace: &Workspace, stage: &str, soak: bool) -> Result<Self> {
        let log = workspace.target.join(format!("{stage}.log"));
        let file = File::create(&log).map_err(Error::file(&log))?;
        let errors = file.try_clone().map_err(Error::file(&log))?;
        let mut command = Command::new("nice");
        command.args(["-n", "10"]).arg(&workspace.xtask);
        command.args(["test", "--only", stage]);
        if soak {
            command.arg("--soak");
        }
        println!(
            "\n== {stage} runs beside the other stages: {}",
            log.display()
        );
        let started = command.stdout(file).stderr(errors).spawn();
        let child = started.map_err(|source| Error::NotStarted {
            command: format!("test --only {stage}"),
            source,
        })?;
        let stage = stage.to_owned();
        Ok(Self { stage, child, log })
    }

    /// Waits until the stage has ended, shows its output, and returns what it counted.
    pub fn finish(mut self) -> Result<Tally> {
        let status = self.child.wait().map_err(|source| Error::NotStarted {
            command: format!("test --only {}", self.stage),
            source,
        })?;
        let output = fs::read(&self.log).map_err(Error::file(&self.log))?;
        let output = String::from_utf8_lossy(&output);
        println!("{output}");
        Ok(Tally::of(&output, status.success()))
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // A child that has ended and was waited for is not signalled.
        let _ = self.child.kill();
    }
}

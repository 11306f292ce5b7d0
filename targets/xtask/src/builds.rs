//! The builds before the acceptance tests, the lints and the unit tests. Two run at once, because
//! the last minutes of each release build use only one core.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use crate::{
    build::{self, Compiler, HOST_TRIPLE},
    error::Result,
    lint, process,
    setup::ARM_TEST_TRIPLE,
    stages::Stages,
    tally::Tally,
    target_file::Target,
    unit,
    workspace::Workspace,
};

/// The parts to run.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Clippy on all code.
    pub lints: bool,
    /// All tests, of all packages together, so that their stages find them built.
    pub tests: bool,
    /// The unit tests, which need no release broker.
    pub unit: bool,
    /// The release broker of this machine.
    pub host: bool,
    /// The release broker for ARM.
    pub arm: bool,
}

/// What ran.
#[derive(Debug)]
pub struct Ran {
    /// The time of each part, in a line.
    pub times: String,
    /// The result of the unit tests, if they were wanted.
    pub unit: Option<Tally>,
}

/// Runs the wanted parts. If a part fails, the other thread ends the part that it is at and begins
/// no further one; a unit test that fails is no such failure.
pub fn run(workspace: &Workspace, wanted: Wanted) -> Result<Ran> {
    let failed = AtomicBool::new(false);
    let (debug, release) = thread::scope(|scope| {
        let debug = scope.spawn(|| noted(debug(workspace, wanted, &failed), &failed));
        let release = noted(release(workspace, wanted, &failed), &failed);
        (debug.join().expect("a build does not panic"), release)
    });
    let (debug, unit) = debug?;
    let parts = [debug, release?];
    let parts = parts.into_iter().filter(|part| !part.is_empty());
    let times = parts.collect::<Vec<_>>().join(", ");
    Ok(Ran { times, unit })
}

fn noted<T>(result: Result<T>, failed: &AtomicBool) -> Result<T> {
    failed.fetch_or(result.is_err(), Ordering::Relaxed);
    result
}

/// Runs the parts that share cargo's debug directory, where one waits for the other.
fn debug(
    workspace: &Workspace,
    wanted: Wanted,
    failed: &AtomicBool,
) -> Result<(String, Option<Tally>)> {
    let nothing = |(): &()| String::new();
    let mut stages = Stages::default();
    if wanted.lints {
        stages.run("clippy", || lint::run(workspace), nothing)?;
    }
    if wanted.tests && !failed.load(Ordering::Relaxed) {
        let arguments = ["test", "--workspace", "--no-run", "--quiet"];
        let build = || process::run(&mut workspace.cargo(&arguments));
        stages.run("build of the tests", build, nothing)?;
    }
    let mut tally = None;
    if wanted.unit && !failed.load(Ordering::Relaxed) {
        tally = Some(stages.run("unit tests", || unit::run(workspace), Tally::to_string)?);
    }
    Ok((stages.in_a_line(), tally))
}

/// Builds the release brokers.
fn release(workspace: &Workspace, wanted: Wanted, failed: &AtomicBool) -> Result<String> {
    let mut stages = Stages::default();
    if wanted.host {
        let host = Target::read(workspace, HOST_TRIPLE)?;
        let build = || build::run(workspace, &host, Compiler::In);
        stages.run("build of the broker", build, |_| String::new())?;
    }
    if wanted.arm && !failed.load(Ordering::Relaxed) {
        let arm = Target::read(workspace, ARM_TEST_TRIPLE)?;
        let build = || build::run(workspace, &arm, Compiler::Out);
        // The ARM stages build it again and fail; the others continue.
        if let Err(error) = stages.run("build for ARM", build, |_| String::new()) {
            println!("{error}");
        }
    }
    Ok(stages.in_a_line())
}

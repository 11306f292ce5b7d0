//! The builds before the tests, and the lints. Two run at once, because the last minutes of each
//! release build use only one core.

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
    target_file::Target,
    workspace::Workspace,
};

/// The parts to run.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Clippy on all code.
    pub lints: bool,
    /// All tests, of all packages together, so that their stages find them built.
    pub tests: bool,
    /// The release broker of this machine.
    pub host: bool,
    /// The release broker for ARM.
    pub arm: bool,
}

/// Runs the wanted parts. Returns the time of each. If a part fails, the other thread ends the part
/// that it is at and begins no further one.
pub fn run(workspace: &Workspace, wanted: Wanted) -> Result<String> {
    let failed = AtomicBool::new(false);
    let note = |result: Result<String>| {
        failed.fetch_or(result.is_err(), Ordering::Relaxed);
        result
    };
    let (debug, release) = thread::scope(|scope| {
        let debug = scope.spawn(|| note(debug(workspace, wanted, &failed)));
        let release = note(release(workspace, wanted, &failed));
        (debug.join().expect("a build does not panic"), release)
    });
    let parts = [debug?, release?];
    let parts = parts.into_iter().filter(|part| !part.is_empty());
    Ok(parts.collect::<Vec<_>>().join(", "))
}

/// Runs the parts that share cargo's debug directory, where one waits for the other.
fn debug(workspace: &Workspace, wanted: Wanted, failed: &AtomicBool) -> Result<String> {
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
    Ok(stages.in_a_line())
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

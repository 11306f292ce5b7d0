//! `cargo xtask test`: everything that shows that the broker works, on this machine, from nothing.
//!
//! Stages run in order, and a failed one does not stop the next: the last line counts them all.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    build::{self, Compiler, HOST_TRIPLE},
    error::{Error, Result},
    setup::{self, ARM_TEST_TRIPLE, Purpose},
    sizes,
    tally::{self, Tally},
    target_file::Target,
    workspace::Workspace,
};

/// Stages besides the files of `tests/tests/`, which are one each.
const UNIT: &str = "unit";
const SIZES: &str = "sizes";
const ARM: &str = "arm";

/// What to run.
#[derive(Debug)]
pub struct Selection {
    /// One stage, or all.
    pub only: Option<String>,
    /// The long variants of tests that have one.
    pub soak: bool,
}

/// Runs the selected stages; fails if one test did.
pub fn run(workspace: &Workspace, selection: &Selection) -> Result<()> {
    let stages = stages(workspace)?;
    let selected: Vec<&String> = match &selection.only {
        None => stages.iter().collect(),
        Some(only) => {
            let stage = stages.iter().find(|stage| *stage == only);
            vec![stage.ok_or_else(|| Error::Unknown {
                kind: "test",
                name: only.clone(),
                known: stages.clone(),
            })?]
        }
    };
    prepare(workspace, &selected)?;
    let mut total = Tally::default();
    let mut report = Vec::new();
    for stage in selected {
        println!("\n== {stage}");
        let started = Instant::now();
        let tally = run_stage(workspace, stage, selection.soak).unwrap_or_else(|error| {
            println!("{error}");
            Tally::FAILED
        });
        report.push((stage, tally, started.elapsed()));
        total += tally;
    }
    print_report(&report, total);
    if total.failed == 0 {
        Ok(())
    } else {
        Err(Error::Checks {
            failed: total.failed,
        })
    }
}

/// The stages there are: unit tests first, for they fail fastest.
fn stages(workspace: &Workspace) -> Result<Vec<String>> {
    let directory = workspace.root.join("tests/tests");
    let mut names: Vec<String> = fs::read_dir(&directory)
        .map_err(Error::file(directory))?
        .flatten()
        .filter_map(|entry| test_name(&entry.path()))
        .filter(|name| name != ARM)
        .collect();
    names.sort();
    let named = |name: &str| std::iter::once(name.to_owned());
    Ok(named(UNIT)
        .chain(names)
        .chain(named(ARM))
        .chain(named(SIZES))
        .collect())
}

/// A file, or a folder with a `main.rs`, is one test for cargo.
fn test_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    if path.join("main.rs").is_file() {
        Some(name.to_owned())
    } else {
        name.strip_suffix(".rs").map(str::to_owned)
    }
}

/// Installs and builds what the selected stages share.
fn prepare(workspace: &Workspace, selected: &[&String]) -> Result<()> {
    let only = |names: &[&str]| selected.iter().all(|stage| names.contains(&stage.as_str()));
    let purpose = if only(&[UNIT]) {
        Purpose::Demo
    } else if only(&[UNIT, SIZES, ARM]) {
        Purpose::Arm
    } else {
        Purpose::Test
    };
    setup::run(workspace, purpose)?;
    if !only(&[UNIT]) {
        println!("\n== the broker");
        build::run(
            workspace,
            &Target::read(workspace, HOST_TRIPLE)?,
            Compiler::In,
        )?;
    }
    Ok(())
}

fn run_stage(workspace: &Workspace, stage: &str, soak: bool) -> Result<Tally> {
    match stage {
        UNIT => {
            let all = [
                "test",
                "--workspace",
                "--exclude",
                "sedge-tests",
                "--no-fail-fast",
            ];
            tally::run(&mut workspace.cargo(&all))
        }
        SIZES => sizes::run_as_tested(workspace).map(|()| Tally::PASSED),
        ARM => {
            let target = Target::read(workspace, ARM_TEST_TRIPLE)?;
            let built = build::run(workspace, &target, Compiler::Out)?;
            let mut command = acceptance(workspace, ARM, soak);
            command
                .env("SEDGE_BIN", emulated(&target, &built.binary)?)
                .env("SEDGE_HOST_BIN", workspace.broker())
                .env("SEDGE_TARGET", &target.triple);
            // Ignored by a plain `cargo test`, which has no ARM binary.
            tally::run(command.args(["--", "--ignored"]))
        }
        file => tally::run(&mut acceptance(workspace, file, soak)),
    }
}

/// A script beside `binary` that runs it under the target's emulator as if it were native.
fn emulated(target: &Target, binary: &Path) -> Result<PathBuf> {
    let emulator = target.qemu_user.as_deref().unwrap_or_default();
    let script = binary.with_file_name("sedge-emulated");
    let text = format!("#!/bin/sh\nexec {emulator} '{}' \"$@\"\n", binary.display());
    fs::write(&script, text).map_err(Error::file(&script))?;
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&script, executable).map_err(Error::file(&script))?;
    Ok(script)
}

/// One file of `tests/tests/` against the release broker.
fn acceptance(workspace: &Workspace, file: &str, soak: bool) -> Command {
    let arguments = [
        "test",
        "--package",
        "sedge-tests",
        "--no-fail-fast",
        "--test",
        file,
    ];
    let mut command = workspace.cargo(&arguments);
    command
        .env("SEDGE_BIN", workspace.broker())
        .env("SEDGE_TOOLS", &workspace.tools);
    if soak {
        command.env("SEDGE_SOAK", "1");
    }
    command
}

fn print_report(report: &[(&String, Tally, Duration)], total: Tally) {
    println!("\n== summary");
    for (stage, tally, took) in report {
        println!("{stage}: {tally} in {:.0} s", took.as_secs_f64());
    }
    println!("{total}");
}

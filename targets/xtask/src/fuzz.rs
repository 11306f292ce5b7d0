//! `cargo xtask fuzz`: runs libFuzzer over the decoders of bytes from outside.
//!
//! It needs no nightly toolchain and no cargo-fuzz: coverage comes from LLVM passes that the stable
//! compiler accepts. There is no address sanitizer then, and none is needed, because the decoders
//! have no unsafe code; the fuzz crate's own allocator caps what they allocate. Corpora are kept in
//! `target/fuzz/corpus`, inputs that broke something in `target/fuzz/broke`, which the next run
//! tries first.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    build::HOST_TRIPLE,
    error::{Error, Result},
    process, setup,
    workspace::Workspace,
};

/// Compiler flags that libFuzzer needs: counters at edges, and the operands of comparisons.
const COVERAGE_FLAGS: [&str; 10] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "-Cdebug-assertions=on",
    "-Coverflow-checks=on",
    "--cfg=fuzzing",
    "-Clto=off",
];
/// Longest input in bytes: beyond the limits of the decoders, and short enough to try many.
const INPUT_BYTES_MAX: u32 = 65_536;
/// Seconds that one input may take before it counts as a hang.
const INPUT_SECONDS_MAX: u32 = 5;
/// Resident memory in MiB before it counts as a leak or a bomb.
const RSS_MIB_MAX: u32 = 1024;

/// The fuzz targets to run, and for how long each.
#[derive(Debug)]
pub struct Selection {
    /// One target; all if `None`.
    pub only: Option<String>,
    pub minutes: u32,
}

/// Builds the fuzz crate and runs the selected targets in turn.
pub fn run(workspace: &Workspace, selection: &Selection) -> Result<()> {
    let targets = targets(workspace)?;
    let selected: Vec<&String> = match &selection.only {
        None => targets.iter().collect(),
        Some(only) => {
            let target = targets.iter().find(|target| *target == only);
            vec![target.ok_or_else(|| Error::Unknown {
                kind: "fuzz target",
                name: only.clone(),
                known: targets.clone(),
            })?]
        }
    };
    setup::for_fuzzing()?;
    build(workspace)?;
    let mut broken = Vec::new();
    for target in selected {
        println!("\n== {target}, {} minutes", selection.minutes);
        if let Err(error) = fuzz(workspace, target, selection.minutes) {
            println!("{error}");
            broken.push(target.as_str());
        }
    }
    if broken.is_empty() {
        println!("\nfuzz: no failures");
        return Ok(());
    }
    println!(
        "\nfuzz: failures in {}; their inputs are in {}",
        broken.join(", "),
        home(workspace).join("broke").display()
    );
    Err(Error::Checks {
        failed: broken.len(),
    })
}

/// Returns the targets: each is a file of `tests/fuzz/fuzz_targets`.
fn targets(workspace: &Workspace) -> Result<Vec<String>> {
    let directory = workspace.root.join("tests/fuzz/fuzz_targets");
    let mut names: Vec<String> = fs::read_dir(&directory)
        .map_err(Error::file(directory))?
        .flatten()
        .filter_map(|entry| {
            entry
                .file_name()
                .to_str()?
                .strip_suffix(".rs")
                .map(str::to_owned)
        })
        .collect();
    names.sort();
    Ok(names)
}

fn home(workspace: &Workspace) -> PathBuf {
    workspace.target.join("fuzz")
}

fn build(workspace: &Workspace) -> Result<()> {
    // With --target, the flags apply to the fuzz targets only, and not to build scripts.
    let arguments = [
        "build",
        "--release",
        "--bins",
        "--all-features",
        "--target",
        HOST_TRIPLE,
        "--manifest-path",
    ];
    process::run(
        workspace
            .cargo(&arguments)
            .arg(workspace.root.join("tests/fuzz/Cargo.toml"))
            .arg("--target-dir")
            .arg(home(workspace))
            .env("RUSTFLAGS", COVERAGE_FLAGS.join(" ")),
    )
}

fn fuzz(workspace: &Workspace, target: &str, minutes: u32) -> Result<()> {
    let home = home(workspace);
    let corpus = home.join("corpus").join(target);
    let broke = home.join("broke").join(target);
    for directory in [&corpus, &broke] {
        fs::create_dir_all(directory).map_err(Error::file(directory))?;
    }
    let prefix = |directory: &Path| format!("-artifact_prefix={}/", directory.display());
    process::run(
        Command::new(home.join(HOST_TRIPLE).join("release").join(target))
            .arg(format!("-max_total_time={}", minutes * 60))
            .arg(format!("-max_len={INPUT_BYTES_MAX}"))
            .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
            .arg(format!("-rss_limit_mb={RSS_MIB_MAX}"))
            .args(["-print_final_stats=1", "-verbosity=1", "-len_control=20"])
            .arg(prefix(&broke))
            .arg(&corpus)
            .arg(&broke),
    )
}

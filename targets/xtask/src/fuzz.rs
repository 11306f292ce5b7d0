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

use serde::Deserialize;

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

/// What the manifest of the fuzz crate says.
#[derive(Debug, Deserialize)]
struct Manifest {
    bin: Vec<FuzzTarget>,
}

/// One program of the fuzz crate.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct FuzzTarget {
    name: String,
    /// Features without which it is not built.
    #[serde(default)]
    required_features: Vec<String>,
}

/// Builds the selected targets and runs them in turn.
pub fn run(workspace: &Workspace, selection: &Selection) -> Result<()> {
    let mut targets = targets(workspace)?;
    if let Some(only) = &selection.only {
        let known = targets.iter().map(|target| target.name.clone()).collect();
        targets.retain(|target| target.name == *only);
        if targets.is_empty() {
            return Err(Error::Unknown {
                kind: "fuzz target",
                name: only.clone(),
                known,
            });
        }
    }
    setup::for_fuzzing()?;
    build(workspace, &targets)?;
    let mut broken = Vec::new();
    for FuzzTarget { name, .. } in &targets {
        println!("\n== {name}, {} minutes", selection.minutes);
        if let Err(error) = fuzz(workspace, name, selection.minutes) {
            println!("{error}");
            broken.push(name.as_str());
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

fn manifest_path(workspace: &Workspace) -> PathBuf {
    workspace.root.join("tests/fuzz/Cargo.toml")
}

fn targets(workspace: &Workspace) -> Result<Vec<FuzzTarget>> {
    let path = manifest_path(workspace);
    let text = fs::read_to_string(&path).map_err(Error::file(&path))?;
    let manifest: Manifest = toml::from_str(&text).map_err(|error| Error::Content {
        path,
        wrong: error.to_string(),
    })?;
    Ok(manifest.bin)
}

fn home(workspace: &Workspace) -> PathBuf {
    workspace.target.join("fuzz")
}

/// Builds no more than `targets` need: with the broker or the plugin compiler, a build takes many
/// times as long.
fn build(workspace: &Workspace, targets: &[FuzzTarget]) -> Result<()> {
    // With --target, the flags apply to the fuzz targets only, and not to build scripts.
    let mut command = workspace.cargo(&["build", "--release", "--target", HOST_TRIPLE]);
    command
        .arg("--manifest-path")
        .arg(manifest_path(workspace))
        .arg("--target-dir")
        .arg(home(workspace))
        .env("RUSTFLAGS", COVERAGE_FLAGS.join(" "));
    for target in targets {
        command.args(["--bin", &target.name]);
        for feature in &target.required_features {
            command.args(["--features", feature]);
        }
    }
    process::run(&mut command)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_of_fuzz_targets_is_a_target() {
        let workspace = Workspace::find();
        let directory = workspace.root.join("tests/fuzz/fuzz_targets");
        let files = fs::read_dir(directory).unwrap().flatten();
        let mut files: Vec<PathBuf> = files.map(|file| file.path()).collect();
        files.sort();
        let stems: Vec<_> = files
            .iter()
            .filter_map(|file| file.file_stem()?.to_str())
            .collect();
        let mut names: Vec<String> = targets(&workspace)
            .unwrap()
            .into_iter()
            .map(|target| target.name)
            .collect();
        names.sort();
        assert_eq!(names, stems);
    }
}

//! `cargo xtask test`: runs all tests on this machine, from a clean checkout.
//!
//! Stages run in order, and a failed one does not stop the next: the last line counts them all.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    beside::Beside,
    board_file::Board,
    build::{self, Compiler},
    builds::{self, Wanted},
    error::{Error, Result},
    image::{self, Inputs},
    packaging::{self, Form},
    process,
    setup::{self, ARM_TEST_TRIPLE, Purpose},
    sizes,
    stages::Stages,
    tally::{self, Tally},
    target_file::Target,
    unit,
    workspace::Workspace,
};

/// Stages besides the files of `tests/tests/`, each of which is a stage of its own.
const UNIT: &str = "unit";
const SIZES: &str = "sizes";
const ARM: &str = "arm";
/// The images of the `qemu-` boards, which are made before their test.
const IMAGE: &str = "image";
/// The packages, which are made before their test.
const PACKAGES: &str = "packages";

/// The tests to run.
#[derive(Debug)]
pub struct Selection {
    /// One stage; all if `None`.
    pub only: Option<String>,
    /// The long variants of tests that have one.
    pub soak: bool,
    /// Clippy, before the tests.
    pub lints: bool,
}

/// Runs the selected stages. Fails if a test failed.
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
    let mut stages = Stages::default();
    let mut unit = prepare(workspace, &selected, selection.lints, &mut stages)?;
    // The emulated devices keep one core busy for minutes, and most other stages wait for clients.
    let mut devices = match &selection.only {
        None => Some(Beside::start(workspace, IMAGE, selection.soak)?),
        Some(_) => None,
    };
    let mut total = Tally::default();
    for (at, name) in selected.iter().enumerate() {
        let title = format!("{name} ({} of {})", at + 1, selected.len());
        let ran_already = if *name == UNIT { unit.take() } else { None };
        let beside = if *name == IMAGE { devices.take() } else { None };
        let work = || match (ran_already, beside) {
            (Some(tally), _) => Ok(tally),
            (None, Some(beside)) => beside.finish(),
            (None, None) => run_stage(workspace, name, selection.soak),
        };
        let ran = stages.run(&title, work, Tally::to_string);
        total += ran.unwrap_or_else(|error| {
            println!("{error}");
            Tally::FAILED
        });
    }
    println!("\n== summary\n{stages}\n{total}");
    if total.failed == 0 {
        Ok(())
    } else {
        Err(Error::Checks {
            failed: total.failed,
        })
    }
}

/// Returns all stages: unit tests first, because they fail fastest, and the emulated devices late,
/// because they run beside the others.
fn stages(workspace: &Workspace) -> Result<Vec<String>> {
    let directory = workspace.root.join("tests/tests");
    let mut names: Vec<String> = fs::read_dir(&directory)
        .map_err(Error::file(directory))?
        .flatten()
        .filter_map(|entry| test_name(&entry.path()))
        .filter(|name| ![ARM, IMAGE].contains(&name.as_str()))
        .collect();
    names.sort();
    let named = |name: &str| std::iter::once(name.to_owned());
    Ok(named(UNIT)
        .chain(names)
        .chain(named(IMAGE))
        .chain(named(ARM))
        .chain(named(SIZES))
        .collect())
}

/// Returns the name of a test: for cargo, a file, or a folder with a `main.rs`, is one test.
fn test_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    if path.join("main.rs").is_file() {
        Some(name.to_owned())
    } else {
        name.strip_suffix(".rs").map(str::to_owned)
    }
}

/// Installs and builds what the selected stages share, and lints. Returns the result of the unit
/// tests if they ran beside the builds.
fn prepare(
    workspace: &Workspace,
    selected: &[&String],
    lints: bool,
    stages: &mut Stages,
) -> Result<Option<Tally>> {
    let only = |names: &[&str]| selected.iter().all(|stage| names.contains(&stage.as_str()));
    let purpose = if only(&[UNIT]) {
        Purpose::Demo
    } else if only(&[UNIT, SIZES, ARM]) {
        Purpose::Arm
    } else {
        Purpose::Test
    };
    let setup = || setup::run(workspace, purpose);
    stages.run("setup", setup, |(): &()| String::new())?;
    let wanted = Wanted {
        lints,
        tests: !only(&[SIZES]),
        unit: selected.iter().any(|stage| *stage == UNIT),
        host: !only(&[UNIT]),
        arm: selected
            .iter()
            .any(|stage| [ARM, SIZES, IMAGE, PACKAGES].contains(&stage.as_str())),
    };
    let builds = || builds::run(workspace, wanted);
    let ran = stages.run("builds", builds, |ran| ran.times.clone())?;
    Ok(ran.unit)
}

fn run_stage(workspace: &Workspace, stage: &str, soak: bool) -> Result<Tally> {
    match stage {
        UNIT => unit::run(workspace),
        SIZES => sizes::run_as_tested(workspace).map(|()| Tally::PASSED),
        ARM => {
            let target = Target::read(workspace, ARM_TEST_TRIPLE)?;
            let built = build::run(workspace, &target, Compiler::Out)?;
            let mut command = acceptance(workspace, ARM, soak);
            command
                .env("SEDGE_BIN", emulated(&target, &built.binary)?)
                .env("SEDGE_HOST_BIN", workspace.broker())
                .env("SEDGE_TARGET", &target.triple);
            // A plain `cargo test`, which has no ARM binary, ignores these tests.
            tally::run(command.args(["--", "--ignored"]))
        }
        IMAGE => {
            let directory = workspace.target.join("images-for-tests");
            let brokers = images(workspace, &directory)?;
            let mut command = acceptance(workspace, IMAGE, soak);
            command
                .env("SEDGE_XTASK", &workspace.xtask)
                .env("SEDGE_IMAGES", directory)
                .env("SEDGE_BROKERS", brokers);
            // A plain `cargo test`, which has no images, ignores these tests.
            tally::run(command.args(["--", "--ignored", "--test-threads=1"]))
        }
        PACKAGES => {
            let directory = workspace.target.join("packages-for-tests");
            packages(workspace, &directory, soak)?;
            let mut command = acceptance(workspace, PACKAGES, soak);
            command
                .env("SEDGE_XTASK", &workspace.xtask)
                .env("SEDGE_PACKAGES", directory);
            // A plain `cargo test`, which has no packages, ignores these tests.
            tally::run(command.args(["--", "--ignored", "--test-threads=1"]))
        }
        file => tally::run(&mut acceptance(workspace, file, soak)),
    }
}

/// Makes the images that the tests boot in `directory`, and returns the directory with their
/// brokers, each by the name of its board. The brokers were built for other stages.
fn images(workspace: &Workspace, directory: &Path) -> Result<PathBuf> {
    let brokers = directory.join("brokers");
    fs::create_dir_all(&brokers).map_err(Error::file(&brokers))?;
    let (own, revoked) = (key(directory, "key.pem")?, key(directory, "revoked.pem")?);
    let trusted_keys = vec![own, revoked.clone()];
    let lines = trusted_keys
        .iter()
        .map(|key| format!("--trusted-key\n{key}\n"));
    let lines: String = lines.collect();
    // For the test that makes an image again.
    let keys = directory.join("keys");
    fs::write(&keys, format!("{lines}--revoked-key\n{revoked}\n")).map_err(Error::file(&keys))?;
    for board in setup::BOOTED_BY_TESTS {
        let inputs = Inputs {
            config: Some(workspace.root.join("tests/tests/image/sedge.toml")),
            directory: Some(directory.to_owned()),
            broker: None,
            trusted_keys: trusted_keys.clone(),
            revoked_keys: vec![revoked.clone()],
        };
        let image = image::make(workspace, &Board::read(workspace, board)?, &inputs)?;
        let broker = brokers.join(board);
        fs::copy(&image.broker, &broker).map_err(Error::file(&broker))?;
    }
    Ok(brokers)
}

/// Removes the Debian packages of earlier commits, whose names have other versions.
fn remove_packages(directory: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Ok(());
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|extension| extension == "deb") {
            fs::remove_file(&path).map_err(Error::file(&path))?;
        }
    }
    Ok(())
}

/// Makes the packages that are tested in `directory`, of brokers that were built for other stages,
/// and writes how they are made again.
fn packages(workspace: &Workspace, directory: &Path, soak: bool) -> Result<()> {
    const STATIC_HOST: &str = "x86_64-unknown-linux-musl";
    let built = |triple: &str| match triple {
        build::HOST_TRIPLE => workspace.broker(),
        _ => workspace.target.join(triple).join("release/sedge"),
    };
    let mut statics = vec![ARM_TEST_TRIPLE];
    if soak {
        let target = Target::read(workspace, STATIC_HOST)?;
        setup::for_target(workspace, &target)?;
        build::run(workspace, &target, Compiler::Out)?;
        statics.push(STATIC_HOST);
    }
    let made = [
        (Form::Deb, vec![build::HOST_TRIPLE, ARM_TEST_TRIPLE]),
        (Form::Tarball, vec![ARM_TEST_TRIPLE]),
        (Form::Oci, statics),
    ];
    remove_packages(directory)?;
    let mut lines = String::new();
    for (form, triples) in made {
        let inputs = packaging::Inputs {
            brokers: triples.iter().map(|triple| built(triple)).collect(),
            targets: triples.into_iter().map(str::to_owned).collect(),
            directory: Some(directory.to_owned()),
        };
        packaging::run(workspace, form, &inputs)?;
        lines.push_str(&inputs.line(form));
    }
    let path = directory.join("made");
    fs::write(&path, lines).map_err(Error::file(&path))
}

/// Returns the public key of a private one, which is made if it is not there yet.
fn key(directory: &Path, name: &str) -> Result<String> {
    let path = directory.join(name);
    if !path.exists() {
        let mut make = Command::new("openssl");
        make.args(["genpkey", "-algorithm", "ed25519", "-out"]);
        process::run_quietly(make.arg(&path))?;
    }
    let mut show = Command::new("openssl");
    let shown = process::output(show.args(["pkey", "-pubout", "-in"]).arg(&path))?;
    // Between BEGIN and END.
    Ok(shown.lines().nth(1).unwrap_or_default().to_owned())
}

/// Writes a script beside `binary` that runs it under the target's emulator as if it were native.
fn emulated(target: &Target, binary: &Path) -> Result<PathBuf> {
    let emulator = target.qemu_user.as_deref().unwrap_or_default();
    let script = binary.with_file_name("sedge-emulated");
    let text = format!("#!/bin/sh\nexec {emulator} '{}' \"$@\"\n", binary.display());
    fs::write(&script, text).map_err(Error::file(&script))?;
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&script, executable).map_err(Error::file(&script))?;
    Ok(script)
}

/// Returns the command that runs one file of `tests/tests/` against the release broker.
fn acceptance(workspace: &Workspace, file: &str, soak: bool) -> Command {
    // Selected by the workspace and not by the package, which would change the features of shared
    // crates.
    let arguments = ["test", "--workspace", "--no-fail-fast", "--test", file];
    let mut command = workspace.cargo(&arguments);
    command
        .env("SEDGE_BIN", workspace.broker())
        .env("SEDGE_TOOLS", &workspace.tools);
    if soak {
        command.env("SEDGE_SOAK", "1");
    }
    command
}

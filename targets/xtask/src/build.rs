//! `cargo xtask build`: builds the broker for a target, as `targets/TRIPLE.toml` says.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    error::{Error, Result},
    process,
    setup::{self, DEBIAN_RUSTC, Std, Zig},
    target_file::{How, Target},
    workspace::Workspace,
};

/// The machine that xtask runs on.
pub const HOST_TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// The binary with or without the plugin compiler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compiler {
    In,
    Out,
}

/// A binary that was built.
#[derive(Debug)]
pub struct Built {
    pub binary: PathBuf,
    pub bytes: u64,
    pub took: Duration,
}

impl Built {
    pub fn mib(&self) -> f64 {
        self.bytes as f64 / f64::from(1 << 20)
    }
}

/// Builds the broker of this machine for the demo: quickly, and with what the demo uses.
pub fn for_demo(workspace: &Workspace) -> Result<PathBuf> {
    let profile = "demo";
    let mut command = workspace.cargo(&["build", "--locked", "--profile", profile]);
    process::run(command.args(["--package", "sedge", "--bin", "sedge"]))?;
    Ok(workspace.target.join(profile).join("sedge"))
}

/// Builds the broker in the release profile and reports where it is.
pub fn run(workspace: &Workspace, target: &Target, compiler: Compiler) -> Result<Built> {
    let started = Instant::now();
    let mut command = cargo_for(workspace, target);
    command.args([
        "--release",
        "--locked",
        "--package",
        "sedge",
        "--bin",
        "sedge",
    ]);
    let mut features = target.features.clone();
    match compiler {
        // A machine with the compiler also compiles for devices without one.
        Compiler::In => features.push("cross".to_owned()),
        Compiler::Out => _ = command.arg("--no-default-features"),
    }
    if !features.is_empty() {
        command.args(["--features", &features.join(",")]);
    }
    let made = if target.triple == HOST_TRIPLE {
        workspace.broker()
    } else {
        command.args(["--target", &target.triple]);
        workspace.target.join(&target.triple).join("release/sedge")
    };
    process::run(&mut command)?;
    let binary = if target.triple == HOST_TRIPLE && compiler == Compiler::Out {
        moved(&made, &workspace.target.join("no-jit/sedge"))?
    } else {
        made
    };
    let bytes = fs::metadata(&binary).map_err(Error::file(&binary))?.len();
    Ok(Built {
        binary,
        bytes,
        took: started.elapsed(),
    })
}

/// Builds the init of images for a target, which is always static, and returns where it is.
pub fn init(workspace: &Workspace, target: &Target) -> Result<PathBuf> {
    let mut command = cargo_for(workspace, target);
    if !target.static_crt {
        let upper = target.underscored().to_uppercase();
        let name = format!("CARGO_TARGET_{upper}_RUSTFLAGS");
        command.env(name, "-Ctarget-feature=+crt-static");
    }
    let arguments = [
        "--release",
        "--locked",
        "--package",
        "sedge-init",
        "--target",
    ];
    process::run(command.args(arguments).arg(&target.triple))?;
    Ok(workspace
        .target
        .join(&target.triple)
        .join("release/sedge-init"))
}

/// Moves the binary. `target/release/sedge`, the usual place, is the one with the compiler.
fn moved(from: &Path, to: &Path) -> Result<PathBuf> {
    let directory = to.parent().expect("a file in a directory");
    fs::create_dir_all(directory).map_err(Error::file(directory))?;
    fs::rename(from, to).map_err(Error::file(to))?;
    Ok(to.to_path_buf())
}

/// Returns `cargo build` or an equivalent, with the environment for building for `target`.
fn cargo_for(workspace: &Workspace, target: &Target) -> Command {
    let std = setup::find_std(&target.triple).unwrap_or(Std::Rustup);
    match target.how {
        How::Native => workspace.cargo(&["build"]),
        How::Debian => debian_cargo(workspace, target, std),
        How::Zig => zig_cargo(workspace, target, std),
    }
}

/// Debian's cross compiler links; its standard library is used if rustup has none.
fn debian_cargo(workspace: &Workspace, target: &Target, std: Std) -> Command {
    let prefix = setup::gnu_prefix(target);
    let triple = target.underscored();
    let upper = triple.to_uppercase();
    let mut command = workspace.cargo(&["build"]);
    command
        .env(
            format!("CARGO_TARGET_{upper}_LINKER"),
            format!("{prefix}-gcc"),
        )
        .env(format!("CC_{triple}"), format!("{prefix}-gcc"))
        .env(format!("AR_{triple}"), format!("{prefix}-ar"));
    if std == Std::Debian {
        let sysroot = setup::debian_sysroot(workspace, target);
        command.env("RUSTC", DEBIAN_RUSTC).env(
            format!("CARGO_TARGET_{upper}_RUSTFLAGS"),
            format!("--sysroot {}", sysroot.display()),
        );
    }
    command
}

/// Zig compiles the C parts and links; the standard library is built from source if rustup has
/// none.
fn zig_cargo(workspace: &Workspace, target: &Target, std: Std) -> Command {
    let zig = Zig::new(workspace);
    let mut command = workspace.cargo(&["zigbuild"]);
    command
        .env("PATH", zig.path())
        .env("CARGO_ZIGBUILD_ZIG_PATH", zig.program());
    if std == Std::Debian {
        // Zig brings the C library's start files too, so rustc must not look for its own.
        let mut flags = vec!["-Clink-self-contained=no"];
        if target.static_crt {
            flags.push("-Ctarget-feature=+crt-static");
        }
        let upper = target.underscored().to_uppercase();
        command
            .env("RUSTC", DEBIAN_RUSTC)
            // -Zbuild-std is unstable; with this variable both toolchains accept it.
            .env("RUSTC_BOOTSTRAP", "1")
            .env(format!("CARGO_TARGET_{upper}_RUSTFLAGS"), flags.join(" "))
            .arg("-Zbuild-std=std,panic_abort");
    }
    command
}

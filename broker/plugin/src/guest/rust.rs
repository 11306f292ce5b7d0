//! Builds a crate into a component.
//!
//! Cargo makes a core module for `wasm32-unknown-unknown`, with a suitable compiler on this
//! machine: one that has that target installed (`rustup target add wasm32-unknown-unknown`), or
//! Debian's `rustc-web` with `rust-web-src`, which builds the target's standard library first. This
//! module then turns the core module into a component.

use std::{
    io::{self, BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{BuildError, Tool, componentize, read};

const CARGO: Tool = Tool {
    program: "cargo",
    remedy: "install Rust as https://rustup.rs says",
};
const TARGET: &str = "wasm32-unknown-unknown";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_SOURCES: &str = "/usr/lib/rustlib/src/rust/library/Cargo.lock";

/// A compiler for guests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Toolchain {
    /// The compiler on the path, with the target installed.
    Installed,
    /// Debian's compiler, which needs `linker` and builds the standard library from source.
    Debian { linker: PathBuf },
}

/// Finds a compiler for guests.
///
/// # Errors
/// [`BuildError::NoToolchain`], whose text says what to install.
pub fn find_toolchain() -> Result<Toolchain, BuildError> {
    let has_target = output(rustc().args(["--print", "target-libdir", "--target", TARGET]))
        .is_some_and(|libdir| has_core(Path::new(&libdir)));
    if has_target {
        return Ok(Toolchain::Installed);
    }
    if Path::new(DEBIAN_RUSTC).exists()
        && Path::new(DEBIAN_SOURCES).exists()
        && let Some(linker) = find_linker()
    {
        return Ok(Toolchain::Debian { linker });
    }
    Err(BuildError::NoToolchain)
}

/// Builds the crate in `directory` and returns the component. Cargo's own output goes to standard
/// error.
///
/// All output files go to `target_directory`, or to cargo's default if it is `None`.
///
/// # Errors
/// There is no compiler, cargo fails, or the result is not a plugin.
pub fn build(
    toolchain: &Toolchain,
    directory: &Path,
    target_directory: Option<&Path>,
) -> Result<Vec<u8>, BuildError> {
    if !directory.join("Cargo.toml").is_file() {
        return Err(BuildError::NoCrate {
            directory: directory.to_owned(),
        });
    }
    let module = compile(toolchain, directory, target_directory)?;
    componentize(&read(&module)?)
}

fn compile(
    toolchain: &Toolchain,
    directory: &Path,
    target_directory: Option<&Path>,
) -> Result<PathBuf, BuildError> {
    let mut cargo = cargo();
    cargo
        .current_dir(directory)
        .args(["build", "--release", "--lib", "--target", TARGET])
        .arg("--message-format=json-render-diagnostics")
        // The guest's profile, independent of the profiles in its workspace.
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3")
        .env("CARGO_PROFILE_RELEASE_LTO", "true")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .env("CARGO_PROFILE_RELEASE_STRIP", "true")
        // Flags of the caller's own build are not meant for guests.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET");
    if let Some(target_directory) = target_directory {
        cargo.arg("--target-dir").arg(target_directory);
    }
    if let Toolchain::Debian { linker } = toolchain {
        let std = if wants_std(directory) {
            "std,panic_abort"
        } else {
            "core,alloc"
        };
        cargo
            .arg(format!("-Zbuild-std={std}"))
            .env("RUSTC", DEBIAN_RUSTC)
            .env("RUSTC_BOOTSTRAP", "1")
            .env_remove("RUSTC_WRAPPER")
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker)
            .env(
                "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS",
                "-Clinker-flavor=wasm-ld",
            );
    }
    let run = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => BuildError::NoTool { tool: CARGO },
        _ => BuildError::Run {
            program: CARGO.program.into(),
            source,
        },
    };
    let mut child = cargo
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(run)?;
    let stdout = child.stdout.take().expect("standard output is piped");
    let mut modules = Vec::new();
    for line in BufReader::new(stdout).lines() {
        modules.extend(modules_in(&line.map_err(run)?, directory));
    }
    if !child.wait().map_err(run)?.success() {
        return Err(BuildError::Failed {
            program: CARGO.program,
        });
    }
    match modules.len() {
        0 => Err(BuildError::NoModule {
            directory: directory.to_owned(),
        }),
        1 => Ok(modules.remove(0)),
        _ => Err(BuildError::ManyModules { modules }),
    }
}

/// Returns the modules that one of cargo's messages lists, if they belong to the crate in
/// `directory`.
fn modules_in(message: &str, directory: &Path) -> Vec<PathBuf> {
    let Ok(message) = serde_json::from_str::<serde_json::Value>(message) else {
        return Vec::new();
    };
    let manifest = message["manifest_path"].as_str().map(Path::new);
    let is_ours = manifest
        .and_then(Path::parent)
        .is_some_and(|parent| same(parent, directory));
    if message["reason"] != "compiler-artifact" || !is_ours {
        return Vec::new();
    }
    let files = message["filenames"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    files
        .iter()
        .filter_map(serde_json::Value::as_str)
        .map(PathBuf::from)
        .filter(|file| {
            file.extension()
                .is_some_and(|extension| extension == "wasm")
        })
        .collect()
}

fn same(left: &Path, right: &Path) -> bool {
    match (left.canonicalize(), right.canonicalize()) {
        (Ok(left), Ok(right)) => left == right,
        _ => false,
    }
}

/// Returns whether the crate's manifest says `[package.metadata.sedge] std = true`.
fn wants_std(directory: &Path) -> bool {
    let Some(metadata) = output(cargo().current_dir(directory).args([
        "metadata",
        "--no-deps",
        "--format-version=1",
    ])) else {
        return false;
    };
    let Ok(metadata) = serde_json::from_str::<serde_json::Value>(&metadata) else {
        return false;
    };
    let packages = metadata["packages"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    packages.iter().any(|package| {
        let manifest = package["manifest_path"].as_str().map(Path::new);
        manifest
            .and_then(Path::parent)
            .is_some_and(|parent| same(parent, directory))
            && package["metadata"]["sedge"]["std"] == true
    })
}

fn has_core(libdir: &Path) -> bool {
    let Ok(files) = std::fs::read_dir(libdir) else {
        return false;
    };
    files.flatten().any(|file| {
        let name = file.file_name();
        name.to_string_lossy().starts_with("libcore-")
    })
}

/// Finds a linker for WebAssembly: rustup's toolchains bring one; the distribution's `lld` is
/// another.
fn find_linker() -> Option<PathBuf> {
    let sysroot = output(rustc().args(["--print", "sysroot"]));
    let host = output(rustc().args(["--print", "host-tuple"]));
    let rust_lld = sysroot.zip(host).map(|(sysroot, host)| {
        Path::new(&sysroot)
            .join("lib/rustlib")
            .join(host)
            .join("bin/rust-lld")
    });
    let others = ["/usr/bin/wasm-ld", "/usr/bin/lld"].map(PathBuf::from);
    rust_lld
        .into_iter()
        .chain(others)
        .find(|path| path.exists())
}

fn rustc() -> Command {
    Command::new("rustc")
}

/// Returns a command for cargo without the variables that an outer cargo set for its own build.
fn cargo() -> Command {
    let mut cargo = Command::new("cargo");
    cargo
        .env_remove("CARGO")
        .env_remove("RUSTC")
        .env_remove("RUSTC_WORKSPACE_WRAPPER");
    cargo
}

fn output(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

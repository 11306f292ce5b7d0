//! C compilers and linkers for other machines: Debian's, and Zig's.

use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    apt, stamp,
    std_library::{self, Std},
    venv,
};
use crate::{
    error::{Error, Result},
    process,
    target_file::Target,
    workspace::Workspace,
};

/// Zig comes from PyPI; cargo-zigbuild lets cargo use it as C compiler and linker.
const ZIG_PACKAGES: [&str; 2] = ["ziglang==0.17.1", "cargo-zigbuild==0.24.0"];

/// An environment with Zig and cargo-zigbuild.
#[derive(Debug)]
pub struct Zig {
    directory: PathBuf,
}

impl Zig {
    pub fn new(workspace: &Workspace) -> Self {
        Self {
            directory: workspace.tools.join("zig"),
        }
    }

    pub fn is_there(&self) -> bool {
        self.program().exists() && self.directory.join("bin/cargo-zigbuild").exists()
    }

    /// Returns the `zig` that the PyPI package installs beside its Python.
    pub fn program(&self) -> PathBuf {
        self.directory.join("bin/python-zig")
    }

    /// Returns a `PATH` that includes cargo-zigbuild.
    pub fn path(&self) -> OsString {
        let mut path = OsString::from(self.directory.join("bin"));
        if let Some(rest) = env::var_os("PATH") {
            path.push(":");
            path.push(rest);
        }
        path
    }
}

/// Downloads Zig and cargo-zigbuild, if they are missing.
pub fn ensure_zig(workspace: &Workspace) -> Result<()> {
    let zig = Zig::new(workspace);
    if zig.is_there() {
        return Ok(());
    }
    println!("  downloading {}", ZIG_PACKAGES.join(" and "));
    venv::create(&zig.directory, &ZIG_PACKAGES)
}

/// Installs Debian's cross compiler for `target` and, if rustup has no standard library, Debian's.
pub fn ensure_debian(workspace: &Workspace, target: &Target) -> Result<()> {
    let prefix = gnu_prefix(target);
    let arch = &target.deb_arch;
    apt::ensure_programs(&[(&format!("{prefix}-gcc"), &format!("gcc-{prefix}"))])?;
    apt::ensure_files(&[(
        &format!("/usr/{prefix}/include/stdlib.h"),
        &format!("libc6-dev-{arch}-cross"),
    )])?;
    match std_library::find(&target.triple) {
        Some(Std::Rustup) => Ok(()),
        _ => ensure_debian_sysroot(workspace, target),
    }
}

/// Returns the prefix of Debian's cross compilers, such as `aarch64-linux-gnu`.
pub fn gnu_prefix(target: &Target) -> String {
    target.triple.replace("-unknown", "")
}

/// Returns where [`ensure_debian`] puts the standard library of `target`, a `--sysroot` for rustc.
pub fn debian_sysroot(workspace: &Workspace, target: &Target) -> PathBuf {
    workspace.tools.join("sysroot").join(&target.triple)
}

/// Installs Debian's own build of the standard library for another architecture, which must have
/// exactly its compiler's version.
fn ensure_debian_sysroot(workspace: &Workspace, target: &Target) -> Result<()> {
    let sysroot = debian_sysroot(workspace, target);
    let version = process::output(Command::new("dpkg-query").args([
        "-W",
        "-f",
        "${Version}",
        "libstd-rust-web-dev",
    ]))?;
    let stamp = sysroot.join("version");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == version) {
        return Ok(());
    }
    println!(
        "  fetching Debian's standard library for {}, version {version}",
        target.deb_arch
    );
    stamp::empty_directory(&sysroot)?;
    let unpacked = fetch_foreign_package(
        &sysroot.join("apt"),
        &target.deb_arch,
        &format!("libstd-rust-web-dev:{}={version}", target.deb_arch),
    )?;
    let rustlib = sysroot.join("lib/rustlib");
    fs::create_dir_all(&rustlib).map_err(Error::file(&rustlib))?;
    let host = "x86_64-unknown-linux-gnu";
    for (triple, from) in [
        (host, Path::new("/")),
        (target.triple.as_str(), unpacked.as_path()),
    ] {
        let link = rustlib.join(triple);
        symlink(from.join("usr/lib/rustlib").join(triple), &link).map_err(Error::file(&link))?;
    }
    fs::write(&stamp, version).map_err(Error::file(&stamp))
}

/// Downloads `package` of the foreign architecture `arch` from the repositories that this machine
/// uses, and unpacks it, without adding the architecture to the machine's own package system.
fn fetch_foreign_package(directory: &Path, arch: &str, package: &str) -> Result<PathBuf> {
    for part in [
        "lists/partial",
        "cache/archives/partial",
        "debs",
        "unpacked",
    ] {
        let path = directory.join(part);
        fs::create_dir_all(&path).map_err(Error::file(path))?;
    }
    let status = directory.join("status");
    fs::write(&status, "").map_err(Error::file(&status))?;
    let sources = directory.join("sources.list");
    fs::write(&sources, sources_for(arch)?).map_err(Error::file(&sources))?;
    let set = |key: &str, value: &Path| format!("-o{key}={}", value.display());
    let options = [
        set("Dir::Etc::sourcelist", &sources),
        set("Dir::Etc::sourceparts", Path::new("/dev/null")),
        set("Dir::State::lists", &directory.join("lists")),
        set("Dir::Cache", &directory.join("cache")),
        set("Dir::State::status", &status),
        format!("-oAPT::Architecture={arch}"),
        format!("-oAPT::Architectures::={arch}"),
        "-oAPT::Sandbox::User=root".to_owned(),
    ];
    let debs = directory.join("debs");
    process::run_quietly(
        Command::new("apt-get")
            .args(&options)
            .args(["update", "-qq"]),
    )?;
    process::run_quietly(
        Command::new("apt-get")
            .args(&options)
            .args(["download", "-qq", package])
            .current_dir(&debs),
    )?;
    let unpacked = directory.join("unpacked");
    for deb in fs::read_dir(&debs).map_err(Error::file(&debs))?.flatten() {
        process::run_quietly(
            Command::new("dpkg")
                .arg("-x")
                .arg(deb.path())
                .arg(&unpacked),
        )?;
    }
    Ok(unpacked)
}

/// Returns the lines of a sources.list for `arch` with all repositories of this machine.
fn sources_for(arch: &str) -> Result<String> {
    let format = "$(CREATED_BY) $(REPO_URI) $(RELEASE) $(COMPONENT)";
    let listed =
        process::output(Command::new("apt-get").args(["indextargets", "--format", format]))?;
    let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
    let mut lines: Vec<String> = listed
        .lines()
        .filter_map(|line| line.strip_prefix("Packages "))
        .map(|repository| format!("deb [arch={arch} signed-by={keyring}] {repository}\n"))
        .collect();
    lines.sort();
    lines.dedup();
    Ok(lines.concat())
}

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
    apt,
    foreign::{self, Package},
    stamp,
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
    let package = Package {
        name: "libstd-rust-web-dev",
        arch: &target.deb_arch,
        version: &version,
        component: "main",
    };
    let deb = foreign::download(&sysroot.join("apt"), &package)?;
    let unpacked = sysroot.join("unpacked");
    foreign::unpack(&deb, &unpacked)?;
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

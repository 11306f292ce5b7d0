//! Rust's standard library for a target: rustup's, or built from source with Debian's compiler.

use std::{env, path::Path, process::Command};

use super::apt;
use crate::{error::Result, process, workspace::on_path};

/// Debian's second compiler: the one for building its web browsers, newer than the release's own.
pub const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_STD_SOURCE: &str = "/usr/lib/rustlib/src/rust/library/Cargo.lock";

/// The source of the standard library for a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Std {
    /// The toolchain in use has it.
    Rustup,
    /// Debian's `rustc-web` builds it from `rust-web-src`.
    Debian,
}

/// Returns the available source for `triple`, rustup's first.
pub fn find(triple: &str) -> Option<Std> {
    if rustup_has(triple) {
        Some(Std::Rustup)
    } else {
        debian_has().then_some(Std::Debian)
    }
}

/// Installs one for `triple`, if there is none.
pub fn ensure(triple: &str) -> Result<()> {
    if find(triple).is_some() {
        return Ok(());
    }
    if rustup_is_wanted() && on_path("rustup").is_some() {
        println!("  adding Rust's target {triple}");
        if process::run(Command::new("rustup").args(["target", "add", triple])).is_ok() {
            return Ok(());
        }
        println!(
            "  rustup cannot add it; using Debian's compiler and the source of the standard library"
        );
    }
    apt::install(&["rustc-web", "rust-web-src"])
}

/// `SEDGE_NO_RUSTUP_TARGETS=1` tests the other way on a machine that has rustup's targets.
fn rustup_is_wanted() -> bool {
    env::var_os("SEDGE_NO_RUSTUP_TARGETS").is_none()
}

fn rustup_has(triple: &str) -> bool {
    let mut rustc = Command::new("rustc");
    let libdir = rustc.args(["--print", "target-libdir", "--target", triple]);
    rustup_is_wanted() && process::output(libdir).is_ok_and(|path| Path::new(&path).exists())
}

fn debian_has() -> bool {
    Path::new(DEBIAN_RUSTC).exists() && Path::new(DEBIAN_STD_SOURCE).exists()
}

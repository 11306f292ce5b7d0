//! Rust's standard library for a target: rustup's, or Debian's compiler with the library's source.

use std::{env, path::Path, process::Command};

use super::apt;
use crate::{error::Result, process, workspace::on_path};

/// Debian's second compiler: the one that its web browsers are built with, younger than the
/// release's own.
pub const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_STD_SOURCE: &str = "/usr/lib/rustlib/src/rust/library/Cargo.lock";

/// Where the standard library for a target comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Std {
    /// The toolchain in use has it.
    Rustup,
    /// Debian's `rustc-web` builds it from `rust-web-src`.
    Debian,
}

/// What is there for `triple`, rustup's first.
pub fn find(triple: &str) -> Option<Std> {
    if rustup_has(triple) {
        Some(Std::Rustup)
    } else {
        debian_has().then_some(Std::Debian)
    }
}

/// Gets one for `triple`, if there is none.
pub fn ensure(triple: &str) -> Result<()> {
    if find(triple).is_some() {
        return Ok(());
    }
    if rustup_is_wanted() && on_path("rustup").is_some() {
        println!("  adding Rust's target {triple}");
        if process::run(Command::new("rustup").args(["target", "add", triple])).is_ok() {
            return Ok(());
        }
        println!("  rustup cannot; taking Debian's compiler and the library's source instead");
    }
    apt::install(&["rustc-web", "rust-web-src"])
}

/// `SEDGE_NO_RUSTUP_TARGETS=1` tries the other way on a machine that has rustup's targets.
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

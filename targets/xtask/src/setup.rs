//! `cargo xtask setup`: checks what a task needs and installs what is missing.
//!
//! Each step checks first and says what it does; if nothing is missing, no step touches the
//! network. Rust's own way comes first (`rustup target add`), then Debian's packages. Downloads go
//! to `target/tools`, never into the repository.

mod apt;
mod clients;
mod cross;
pub mod foreign;
mod kafka;
mod stamp;
mod std_library;
mod venv;

use clap::ValueEnum;

pub use cross::{Zig, debian_sysroot, gnu_prefix};
pub use stamp::empty_directory;
pub use std_library::{DEBIAN_RUSTC, Std, find as find_std};

use crate::{
    board_file::{Board, Qemu},
    error::Result,
    target_file::{How, Target},
    workspace::Workspace,
};

/// The purpose for which the machine is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Purpose {
    /// The broker and its plugins.
    Demo,
    /// The broker for ARM, and an emulator to run it.
    Arm,
    /// The whole test suite with its clients.
    Test,
    /// The whole test suite and all targets.
    All,
}

/// The boards whose images the tests boot.
pub const BOOTED_BY_TESTS: [&str; 2] = ["qemu-arm64", "qemu-x86_64"];

/// The target of the ARM test.
pub const ARM_TEST_TRIPLE: &str = "aarch64-unknown-linux-musl";

/// Installs what `purpose` needs.
pub fn run(workspace: &Workspace, purpose: Purpose) -> Result<()> {
    println!("setup: C compiler");
    apt::ensure_programs(&[("cc", "gcc"), ("make", "make")])?;
    apt::ensure_files(&[("/usr/include/stdlib.h", "libc6-dev")])?;
    println!("setup: WebAssembly (plugins)");
    std_library::ensure("wasm32-unknown-unknown")?;
    let arm = || for_target(workspace, &Target::read(workspace, ARM_TEST_TRIPLE)?);
    match purpose {
        Purpose::Demo => {}
        Purpose::Arm => arm()?,
        Purpose::Test => {
            arm()?;
            for_tests(workspace)?;
        }
        Purpose::All => {
            for triple in Target::known(workspace) {
                for_target(workspace, &Target::read(workspace, &triple)?)?;
            }
            for_tests(workspace)?;
        }
    }
    println!("setup: done");
    Ok(())
}

/// Installs what a build for `target` needs, and its emulator.
pub fn for_target(workspace: &Workspace, target: &Target) -> Result<()> {
    println!("setup: {}", target.triple);
    std_library::ensure(&target.triple)?;
    match target.how {
        How::Native => {}
        How::Debian => cross::ensure_debian(workspace, target)?,
        How::Zig => cross::ensure_zig(workspace)?,
    }
    match &target.qemu_user {
        Some(emulator) => apt::ensure_programs(&[(emulator, "qemu-user-static")]),
        None => Ok(()),
    }
}

/// Installs what makes images.
pub fn for_images() -> Result<()> {
    apt::ensure_programs(&[
        ("dpkg-deb", "dpkg"),
        ("mkfs.erofs", "erofs-utils"),
        ("sha256sum", "coreutils"),
        ("zstd", "zstd"),
        ("mcopy", "mtools"),
    ])?;
    apt::ensure_files(&[("/usr/sbin/mke2fs", "e2fsprogs")])
}

/// Installs what makes packages.
pub fn for_packages() -> Result<()> {
    apt::ensure_programs(&[
        ("dpkg-deb", "dpkg"),
        ("gzip", "gzip"),
        ("sha256sum", "coreutils"),
        ("tar", "tar"),
    ])
}

/// Installs what boots the image of a `qemu-` board.
pub fn for_qemu(qemu: &Qemu) -> Result<()> {
    let emulator = match qemu.program.as_str() {
        "qemu-system-x86_64" => "qemu-system-x86",
        _ => "qemu-system-arm",
    };
    let firmware = qemu.firmware.to_string_lossy();
    let package = match firmware.split('/').nth(3) {
        Some("AAVMF") => "qemu-efi-aarch64",
        Some("OVMF") => "ovmf",
        _ => "u-boot-qemu",
    };
    apt::ensure_programs(&[(&qemu.program, emulator)])?;
    apt::ensure_files(&[(&firmware, package)])
}

/// Installs what the fuzz crate needs: libFuzzer is C++.
pub fn for_fuzzing() -> Result<()> {
    apt::ensure_programs(&[("c++", "g++")])
}

/// Installs what the example of a device needs, and its emulator.
pub fn for_firmware() -> Result<()> {
    std_library::ensure(crate::firmware::TRIPLE)?;
    apt::ensure_programs(&[("qemu-system-arm", "qemu-system-arm"), ("socat", "socat")])
}

fn for_tests(workspace: &Workspace) -> Result<()> {
    println!("setup: Apache Kafka");
    kafka::ensure(workspace)?;
    println!("setup: clients");
    clients::ensure(workspace)?;
    println!("setup: images and packages");
    for_images()?;
    for_packages()?;
    apt::ensure_files(&[("/usr/sbin/debootstrap", "debootstrap")])?;
    for board in BOOTED_BY_TESTS {
        if let Some(qemu) = Board::read(workspace, board)?.qemu {
            for_qemu(&qemu)?;
        }
    }
    // Plugins in JavaScript and Python need what the clients need.
    println!("setup: plugins in C");
    apt::ensure_programs(&[("clang", "clang"), ("wasm-ld", "lld")])?;
    println!("setup: firmware");
    for_firmware()
}

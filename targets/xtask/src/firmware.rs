//! `cargo xtask firmware`: builds the example of a device for a Cortex-M4, and checks its sizes.

use std::path::PathBuf;
use std::{env, fs};

use crate::{
    error::{Error, Result},
    process,
    setup::{self, DEBIAN_RUSTC, Std},
    workspace::Workspace,
};

/// The processor of the example.
pub const TRIPLE: &str = "thumbv7em-none-eabi";

/// Bytes of flash, and of RAM for variables; the rest of 2 KiB of RAM is the stack's.
const FLASH_BYTES_MAX: u32 = 8 << 10;
const VARIABLES_BYTES_MAX: u32 = 1536;

/// Builds the firmware, prints where it is, and checks its sizes.
pub fn run(workspace: &Workspace) -> Result<()> {
    setup::for_firmware()?;
    let manifest = "broker/link/firmware/Cargo.toml";
    let mut build = workspace.cargo(&[
        "build",
        "--release",
        "--locked",
        "--manifest-path",
        manifest,
    ]);
    let target = workspace.root.join("target/firmware");
    build
        .args(["--target", TRIPLE, "--target-dir"])
        .arg(&target);
    if setup::find_std(TRIPLE) == Some(Std::Debian) {
        build.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
        let cargo = env::var_os("CARGO").map(PathBuf::from);
        let lld = cargo.and_then(|cargo| {
            let toolchain = cargo.parent()?.parent()?.to_path_buf();
            let lld = toolchain.join("lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld");
            lld.exists().then_some(lld)
        });
        if let Some(lld) = lld {
            build.env("CARGO_TARGET_THUMBV7EM_NONE_EABI_LINKER", lld);
        }
        build.arg("-Zbuild-std=core");
    }
    process::run(&mut build)?;
    let firmware = target.join(TRIPLE).join("release/firmware");
    let (flash, variables) = sizes(&fs::read(&firmware).map_err(Error::file(&firmware))?);
    println!(
        "{}: {flash} of {FLASH_BYTES_MAX} bytes of flash, {variables} of {VARIABLES_BYTES_MAX} \
         bytes of variables",
        firmware.display()
    );
    if flash <= FLASH_BYTES_MAX && variables <= VARIABLES_BYTES_MAX {
        Ok(())
    } else {
        Err(Error::Checks { failed: 1 })
    }
}

/// Returns the bytes that an ELF file has in flash, and those that it has in RAM.
fn sizes(elf: &[u8]) -> (u32, u32) {
    let number = |at: usize| {
        let bytes = elf.get(at..at + 4);
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .map_or(0, u32::from_le_bytes)
    };
    let half = |at: usize| (number(at) & 0xffff) as usize;
    // The program headers of a 32-bit file, little-endian: where they are, how large, how many.
    let (start, size, count) = (number(28) as usize, half(42), half(44));
    let headers = (0..count).map(|at| start + at * size);
    let loaded = headers.filter(|at| number(*at) == 1);
    loaded.fold((0, 0), |(flash, variables), at| {
        let (address, in_file, in_memory) = (number(at + 8), number(at + 16), number(at + 20));
        let is_ram = address >= 0x2000_0000;
        (
            flash + in_file,
            variables + if is_ram { in_memory } else { 0 },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_loaded_segments() {
        let mut elf = vec![0; 52];
        elf[28] = 52;
        (elf[42], elf[44]) = (32, 3);
        let mut segment = |kind: u32, address: u32, in_file: u32, in_memory: u32| {
            for number in [kind, 0, address, 0, in_file, in_memory, 0, 0] {
                elf.extend_from_slice(&number.to_le_bytes());
            }
        };
        segment(1, 0, 100, 100);
        segment(1, 0x2000_0000, 4, 20);
        segment(2, 0, 1000, 1000);
        assert_eq!(sizes(&elf), (104, 20));
        assert_eq!(sizes(&elf[..60]), (0, 0));
    }
}

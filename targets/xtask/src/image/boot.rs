//! The boot partition: what the firmware of a device looks for, and the kernel and initramfs of
//! each slot. A new image has slot A alone; slot B is for the first update.

use std::{fs, path::Path};

use sedge_init::{entries, settings::Slot};

use super::{Kernel, disk::FatFile};
use crate::{
    board_file::{Board, Boot},
    debian::Pins,
    error::{Error, Result},
    workspace::Workspace,
};

/// The slot of a new image, in the names of files.
const SLOT: char = Slot::A.letter();
/// The version of its entry; updates have later ones.
const VERSION: u32 = 1;

/// Returns the files of the boot partition.
pub fn files(
    workspace: &Workspace,
    board: &Board,
    pins: &Pins,
    kernel: Kernel,
) -> Result<Vec<FatFile>> {
    match board.boot {
        Boot::Uefi => uefi(workspace, board, pins, kernel),
        Boot::Raspberry => raspberry(workspace, board, pins, kernel),
        Boot::Uboot => Err(Error::Missing {
            what: format!("an image for {}", board.name),
            remedy: "images for boards with U-Boot are not built yet; boards/README.md says what \
                     is"
            .to_owned(),
        }),
    }
}

/// Returns the kernel's command line, without the slot.
pub fn command_line(board: &Board) -> String {
    let consoles = board.console.iter();
    let consoles: Vec<String> = consoles.map(|of| format!("console={of}")).collect();
    format!(
        // `gpt`: if the first partition table is torn, the kernel uses the one at the end.
        "{} quiet loglevel=3 panic=10 gpt sedge.watchdog={} sedge.data={}",
        consoles.join(" "),
        board.watchdog.timeout_s,
        board.data.mount,
    )
}

/// systemd-boot takes one of the entries (`sedge_init::entries`).
fn uefi(workspace: &Workspace, board: &Board, pins: &Pins, kernel: Kernel) -> Result<Vec<FatFile>> {
    let uefi = board
        .uefi
        .as_ref()
        .expect("checked when the board was read");
    let package = pins.pin(&uefi.package)?.unpacked(workspace)?;
    let loader = package.join(&uefi.loader);
    let entry = entries::text(Slot::A, VERSION, &command_line(board));
    Ok(vec![
        FatFile::new(&uefi.file, read(&loader)?),
        FatFile::new(
            "loader/loader.conf",
            "default sedge-*\ntimeout 0\neditor no\n",
        ),
        FatFile::new(format!("loader/entries/{}", entries::good(Slot::A)), entry),
        FatFile::new(format!("{SLOT}/vmlinuz"), kernel.image),
        FatFile::new(format!("{SLOT}/initrd"), kernel.initramfs),
    ])
}

/// The firmware reads `config.txt`, and with `os_prefix` the other files of the slot.
fn raspberry(
    workspace: &Workspace,
    board: &Board,
    pins: &Pins,
    kernel: Kernel,
) -> Result<Vec<FatFile>> {
    let raspberry = board
        .raspberry
        .as_ref()
        .expect("checked when the board was read");
    let package = pins.pin(&raspberry.package)?.unpacked(workspace)?;
    let firmware = package.join("usr/lib/raspi-firmware");
    let config = format!(
        "arm_64bit=1\nenable_uart=1\ndisable_splash=1\nos_prefix={SLOT}/\nkernel=vmlinuz\n\
         initramfs initrd followkernel\n"
    );
    let mut files = vec![
        FatFile::new("config.txt", config),
        FatFile::new(
            format!("{SLOT}/cmdline.txt"),
            format!("{} sedge.slot={SLOT}", command_line(board)),
        ),
        FatFile::new(format!("{SLOT}/vmlinuz"), kernel.image),
        FatFile::new(format!("{SLOT}/initrd"), kernel.initramfs),
    ];
    for name in &raspberry.firmware {
        files.push(FatFile::new(name, read(&firmware.join(name))?));
    }
    if let Some(tree) = kernel.devicetree {
        let name = tree.file_name().unwrap_or_default().to_string_lossy();
        files.push(FatFile::new(format!("{SLOT}/{name}"), read(&tree)?));
    }
    Ok(files)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(Error::file(path))
}

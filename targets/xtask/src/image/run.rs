//! `cargo xtask run`: boots the image of a `qemu-` board on this machine.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    board_file::{Board, Qemu},
    error::{Error, Result},
    process, setup,
    workspace::Workspace,
};

/// Size to which the card is extended: an image on a larger card, as on a device.
const CARD_BYTES: u64 = 1 << 30;

/// How to boot.
#[derive(Debug)]
pub struct Options {
    /// The card; a copy of the board's image if it is not there yet.
    pub card: Option<PathBuf>,
    /// Memory of the device, in MiB, instead of the board's.
    pub memory_mib: Option<u32>,
    /// Ports of this machine and of the device, `HOST:DEVICE`.
    pub forwards: Vec<String>,
    /// A file that gets all writes and flushes of the card, for power cuts.
    pub write_log: Option<PathBuf>,
}

/// Boots the image. Returns only on failure: QEMU takes the place of this process.
pub fn run(workspace: &Workspace, board: &Board, options: &Options) -> Result<()> {
    let qemu = board.qemu.as_ref().ok_or_else(|| Error::Unknown {
        kind: "emulator for the board",
        name: board.name.clone(),
        known: emulated(workspace),
    })?;
    setup::for_qemu(qemu)?;
    let directory = workspace.target.join("images");
    let card = options.card.clone();
    let card = card.unwrap_or_else(|| directory.join(format!("{}.card", board.name)));
    if !card.exists() {
        let image = directory.join(format!("{}.img", board.name));
        copy(&image, &card).map_err(|_| Error::Missing {
            what: image.display().to_string(),
            remedy: format!("make it: cargo xtask image --board {}", board.name),
        })?;
    }
    let mut command = Command::new(&qemu.program);
    command.args(arguments(qemu, options, &card)?);
    Err(process::become_one(&mut command))
}

/// Returns the boards that can be run.
fn emulated(workspace: &Workspace) -> Vec<String> {
    let boards = Board::known(workspace).into_iter();
    let is_emulated = |name: &String| {
        let board = Board::read(workspace, name);
        board.is_ok_and(|board| board.qemu.is_some())
    };
    boards.filter(is_emulated).collect()
}

/// Copies an image to a card that is larger.
fn copy(image: &Path, card: &Path) -> Result<()> {
    let mut command = Command::new("cp");
    command.args(["--sparse=always"]).args([image, card]);
    process::run_quietly(&mut command)?;
    let file = OpenOptions::new().write(true).open(card);
    let extended = file.and_then(|file| file.set_len(CARD_BYTES));
    extended.map_err(Error::file(card))
}

fn arguments(qemu: &Qemu, options: &Options, card: &Path) -> Result<Vec<String>> {
    let memory_mib = options.memory_mib.unwrap_or(qemu.memory_mib);
    let mut arguments = qemu.arguments.clone();
    let fixed = "-accel tcg -display none -serial stdio -monitor none \
                 -device virtio-rng-pci -device virtio-net-pci,netdev=net,romfile= \
                 -device virtio-blk-pci,drive=card,bootindex=0";
    arguments.extend(fixed.split_whitespace().map(str::to_owned));
    arguments.extend(["-m".to_owned(), memory_mib.to_string()]);
    let firmware = qemu.firmware.display();
    match &qemu.variables {
        None => arguments.extend(["-bios".to_owned(), firmware.to_string()]),
        Some(variables) => {
            let own = card.with_extension("vars");
            fs::copy(variables, &own).map_err(Error::file(&own))?;
            arguments.extend([
                "-drive".to_owned(),
                format!("if=pflash,format=raw,readonly=on,file={firmware}"),
                "-drive".to_owned(),
                format!("if=pflash,format=raw,file={}", own.display()),
            ]);
        }
    }
    let mut net = "user,id=net".to_owned();
    for forward in &options.forwards {
        let ports = forward
            .split_once(':')
            .filter(|(host, device)| host.parse::<u16>().is_ok() && device.parse::<u16>().is_ok());
        let (host, device) = ports.ok_or_else(|| Error::Missing {
            what: format!("`{forward}` as HOST:DEVICE"),
            remedy: "write two ports, such as 9092:9092".to_owned(),
        })?;
        net = format!("{net},hostfwd=tcp:127.0.0.1:{host}-:{device}");
    }
    arguments.extend(["-netdev".to_owned(), net]);
    let card = card.display();
    let drive = match &options.write_log {
        None => format!("driver=raw,node-name=card,file.driver=file,file.filename={card}"),
        Some(log) => format!(
            "driver=blklogwrites,node-name=card,file.driver=file,file.filename={card},\
             log.driver=file,log.filename={}",
            log.display()
        ),
    };
    arguments.extend(["-blockdev".to_owned(), drive]);
    Ok(arguments)
}

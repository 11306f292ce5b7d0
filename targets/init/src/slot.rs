//! The slot that the device started from: named good once its broker is well.
//!
//! On UEFI boards, systemd-boot counts the tries of an entry in the name of its file
//! (`sedge-b+2-1.conf`: two tries left, one made). An entry without a counter is good.

use std::fs;
use std::io;
use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags, unmount};
use sedge_init::settings::Slot;

use crate::{disks::Partition, say};

const MOUNTED: &str = "/boot";
const ENTRIES: &str = "/boot/loader/entries";

/// Removes the counter of the slot's entry.
pub fn name_good(slot: Slot) {
    match try_name_good(slot) {
        Ok(false) => {}
        Ok(true) => say!("slot {} is good", slot.letter()),
        Err(error) => say!("slot {} cannot be named good: {error}", slot.letter()),
    }
}

fn try_name_good(slot: Slot) -> io::Result<bool> {
    let flags = MountFlags::NOATIME | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Partition::wait_for("boot")?.mount(MOUNTED, "vfat", flags | MountFlags::SYNCHRONOUS, "")?;
    let renamed = rename(slot);
    unmount(MOUNTED, UnmountFlags::empty())?;
    renamed
}

fn rename(slot: Slot) -> io::Result<bool> {
    let entry = format!("sedge-{}", slot.letter());
    let counted = format!("{entry}+");
    let Ok(entries) = fs::read_dir(ENTRIES) else {
        // Other boot loaders than systemd-boot have no entries.
        return Ok(false);
    };
    for file in entries.flatten() {
        if file.file_name().to_string_lossy().starts_with(&counted) {
            fs::rename(
                file.path(),
                Path::new(ENTRIES).join(format!("{entry}.conf")),
            )?;
            return Ok(true);
        }
    }
    Ok(false)
}

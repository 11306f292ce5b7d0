//! The boot partition: the files of the slots, and the entries that say which one is started.
//!
//! Each step is flushed before the next one: first the entry of a slot goes, then its files change,
//! and its new entry comes last. So the boot loader never sees an entry of a slot that is half
//! written.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::mount::{MountFlags, UnmountFlags, unmount};
use sedge_init::entries::{self, EntryFile};
use sedge_init::settings::Slot;

use crate::disks::Partition;

const MOUNTED: &str = "/boot";
const ENTRIES: &str = "/boot/loader/entries";
/// A new entry while it is written; the boot loader reads `.conf` alone.
const NEW: &str = "/boot/loader/entries/new";

/// One thread has the partition at a time.
static IN_USE: Mutex<()> = Mutex::new(());

/// What the boot loader knows of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Good,
    OnTrial,
    /// There is no entry of it; other boot loaders than systemd-boot have none.
    Unknown,
}

/// Returns the state of a slot.
pub fn state(slot: Slot) -> io::Result<State> {
    with_boot(MountFlags::RDONLY, || {
        let mut state = State::Unknown;
        for (_, file) in listed()?.iter().filter(|(_, file)| file.slot == slot) {
            // If the power failed between the steps of a rename, there may be both names.
            state = match file.tries_left {
                None => return Ok(State::Good),
                Some(_) => State::OnTrial,
            };
        }
        Ok(state)
    })
}

/// Whether the device runs from a slot that is not good yet.
pub fn is_on_trial(slot: Slot) -> io::Result<bool> {
    Ok(state(slot)? == State::OnTrial)
}

/// Removes the counter of the slot's entry.
pub fn name_good(slot: Slot) -> io::Result<()> {
    with_boot(MountFlags::empty(), || {
        for (path, file) in listed()? {
            if file.slot == slot && file.tries_left.is_some() {
                fs::rename(path, Path::new(ENTRIES).join(entries::good(slot)))?;
            }
        }
        flush(ENTRIES)
    })
}

/// Removes the slot's entry, so that the slot can be written.
pub fn withdraw(slot: Slot) -> io::Result<()> {
    with_boot(MountFlags::empty(), || {
        for (path, file) in listed()? {
            if file.slot == slot {
                fs::remove_file(path)?;
            }
        }
        flush(ENTRIES)
    })
}

/// Adds an entry of the slot, which the next start tries before the others.
pub fn offer(slot: Slot, options: &str) -> io::Result<()> {
    with_boot(MountFlags::empty(), || {
        let mut newest = 0;
        for (path, _) in listed()? {
            let text = fs::read(path)?;
            newest = newest.max(entries::version(&String::from_utf8_lossy(&text)));
        }
        let mut entry = File::create(NEW)?;
        entry.write_all(entries::text(slot, newest + 1, options).as_bytes())?;
        entry.sync_all()?;
        fs::rename(NEW, Path::new(ENTRIES).join(entries::to_try(slot)))?;
        flush(ENTRIES)
    })
}

/// Does `work` with the directory of the slot's kernel, and flushes the directory after it.
pub fn with_files<T>(slot: Slot, work: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let directory = Path::new(MOUNTED).join(slot.letter().to_string());
    with_boot(MountFlags::empty(), || {
        fs::create_dir_all(&directory)?;
        let done = work(&directory)?;
        File::open(&directory)?.sync_all()?;
        Ok(done)
    })
}

/// Mounts the boot partition for `work`.
fn with_boot<T>(flags: MountFlags, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let _in_use = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
    let flags = flags | MountFlags::NOATIME | MountFlags::NOSUID;
    let flags = flags | MountFlags::NODEV | MountFlags::NOEXEC;
    Partition::wait_for("boot")?.mount(MOUNTED, "vfat", flags, "")?;
    let done = work();
    unmount(MOUNTED, UnmountFlags::empty())?;
    done
}

/// Returns the entries of the slots.
fn listed() -> io::Result<Vec<(PathBuf, EntryFile)>> {
    let mut listed = Vec::new();
    let files = match fs::read_dir(ENTRIES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(listed),
        files => files?,
    };
    for file in files {
        let file = file?;
        let read = EntryFile::read(&file.file_name().to_string_lossy());
        listed.extend(read.map(|entry| (file.path(), entry)));
    }
    Ok(listed)
}

fn flush(directory: &str) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

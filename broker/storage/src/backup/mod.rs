//! A copy of a data directory taken while a broker writes to it.
//!
//! The broker need not help, because segments only grow: a sealed one is linked (or copied, if the
//! target is on another file system), and one that is still being written is copied up to its last
//! whole frame. The copy has all that was in the log when the segments were listed, and the
//! beginning of what came since, so it is a state that the log was in: a broker started on it opens
//! as after a kill. If a listed segment is gone before it was taken, its live data has been moved,
//! perhaps to a segment that is not in the list; then the segments are listed again.
//!
//! Views are derived and not copied. A segment that the target has from an earlier backup, by
//! number, generation and footer, is not copied again.
//!
//! **Invariant:** the manifest is written after everything that it lists, replacing the earlier
//! one. Until then the target is unchanged, or its log continues beyond the manifest: complete
//! either way. The first backup is built in a folder that no broker opens, and renamed last.
//! **Invariant:** a link is trusted only if the linked file was checked after linking: by then it
//! has a second name, and a file with a second name is never overwritten.

mod manifest;
mod taking;

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use crate::api::Identity;
use crate::damage::guarded::Guarded;
use crate::damage::{DAMAGE, DamageList};
use crate::disk::directory::Directory;
use crate::disk::write_whole;
use crate::error::{Error, io_error};
use crate::ids::Sequence;
use crate::meta::{self, DirectoryLock};

use taking::{New, Taking, remove_if_there};

pub(crate) use manifest::{check_whole, make_ordinary};

/// The name of the manifest in a backup.
pub const MANIFEST: &str = "backup.toml";
const SEGMENTS: &str = "segments";
const FIRST: &str = "segments.new";

/// Options for taking a backup.
#[derive(Clone, Copy, Debug, Default)]
pub struct BackupOptions {
    /// Copy even if a link is possible: for a target that has to survive the disk.
    pub copy: bool,
}

/// The contents of a backup, and the work that it took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backup {
    pub cluster_id: String,
    pub node_id: i32,
    pub segments: u64,
    /// Bytes of all of them.
    pub bytes: u64,
    /// The last commit in the backup.
    pub last_sequence: Sequence,
    pub linked_segments: u64,
    pub copied_segments: u64,
    pub copied_bytes: u64,
    /// Segments that an earlier backup had already copied.
    pub kept_segments: u64,
    /// Segments that were removed because the log no longer has them.
    pub removed_segments: u64,
    /// Damaged places found while new segments were read. They are copied as they are.
    pub damaged: u64,
}

/// Brings `target` at least up to the state of the log in `data` at the time of the call. A broker
/// may be using `data`, but not `target`.
///
/// # Errors
/// [`Error::NoData`]; [`Error::Locked`] if a process uses `target`; [`Error::OtherOwner`] if it
/// belongs to another broker; [`Error::NoBackup`] if it is not a backup; or an error of either
/// disk.
pub fn back_up(data: &Path, target: &Path, options: BackupOptions) -> Result<Backup, Error> {
    let identity = meta::read(data)?;
    std::fs::create_dir_all(target)
        .map_err(|source| io_error("create the backup's directory", source))?;
    let _lock = DirectoryLock::take(target)?;
    check_target(target, &identity)?;
    let folder = if target.join(SEGMENTS).exists() {
        target.join(SEGMENTS)
    } else {
        target.join(FIRST)
    };
    let into = Directory::open(&folder)?;
    let from = Directory::existing(&data.join(SEGMENTS));
    // Known damage does not prevent copying the rest.
    let from = Guarded::new(Arc::new(from), Arc::new(DamageList::load(data)?));
    let mut taking = Taking {
        from_folder: data.join(SEGMENTS),
        from,
        folder,
        into,
        options,
        new: BTreeMap::new(),
        pointed_at: BTreeSet::new(),
    };
    let taken = taking.take_all()?;
    taking.sync_folder()?;
    meta::write(target, &identity, true).map_err(|source| io_error("write meta.toml", source))?;
    copy_damage(data, target)?;
    manifest::write(target, &identity, &taken)?;
    if taking.folder != target.join(SEGMENTS) {
        std::fs::rename(&taking.folder, target.join(SEGMENTS))
            .map_err(|source| io_error("name the backup's segments", source))?;
        taking.folder = target.join(SEGMENTS);
        taking.into = Directory::existing(&taking.folder);
    }
    let removed_segments = taking.remove_all_but(&taken)?;
    let new: Vec<New> = taken
        .keys()
        .filter_map(|id| taking.new.get(id).copied())
        .collect();
    let copied = || new.iter().filter(|of| !of.is_linked);
    Ok(Backup {
        cluster_id: identity.cluster_id,
        node_id: identity.node_id,
        segments: taken.len() as u64,
        bytes: taken.values().map(|of| of.bytes).sum(),
        last_sequence: taken
            .values()
            .map(|of| of.last_sequence)
            .max()
            .unwrap_or_default(),
        linked_segments: (new.len() - copied().count()) as u64,
        copied_segments: copied().count() as u64,
        copied_bytes: copied().map(|of| of.bytes).sum(),
        kept_segments: (taken.len() - new.len()) as u64,
        removed_segments,
        damaged: new.iter().map(|of| of.damaged).sum(),
    })
}

/// Checks that `directory` is not an unfinished first backup, on which no broker may start.
pub(crate) fn check_finished(directory: &Path) -> Result<(), Error> {
    if directory.join(FIRST).exists() && !directory.join(SEGMENTS).exists() {
        let directory = directory.to_owned();
        return Err(Error::UnfinishedBackup { directory });
    }
    Ok(())
}

/// Checks that the target is empty, or an earlier backup of the same broker on which no broker was
/// started.
fn check_target(target: &Path, identity: &Identity) -> Result<(), Error> {
    let refused = || Error::NoBackup {
        directory: target.to_owned(),
    };
    if target.join("views").exists() {
        return Err(refused());
    }
    match meta::read(target) {
        Ok(found) if found == *identity => Ok(()),
        Ok(found) => {
            let (key, found, asked) = if found.cluster_id == identity.cluster_id {
                let number = |of: i32| of.to_string();
                ("node.id", number(found.node_id), number(identity.node_id))
            } else {
                let asked = identity.cluster_id.clone();
                ("cluster.id", found.cluster_id, asked)
            };
            let directory = target.to_owned();
            Err(Error::OtherOwner {
                directory,
                key,
                found,
                asked,
            })
        }
        Err(Error::NoData { .. }) if !target.join(SEGMENTS).exists() => Ok(()),
        Err(Error::NoData { .. }) => Err(refused()),
        Err(error) => Err(error),
    }
}

/// Copies the list of damage: known damaged places stay known in the copy.
fn copy_damage(data: &Path, target: &Path) -> Result<(), Error> {
    let failed = |source| io_error("copy the list of damage", source);
    match std::fs::read(data.join(DAMAGE)) {
        Ok(bytes) => write_whole(&target.join(DAMAGE), &bytes).map_err(failed),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            remove_if_there(&target.join(DAMAGE)).map_err(failed)
        }
        Err(source) => Err(failed(source)),
    }
}

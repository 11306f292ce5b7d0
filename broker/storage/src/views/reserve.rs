//! Bytes of the volume that are reserved for the views.
//!
//! Freeing space changes views: log starts move, rows of deleted partitions are removed. The log
//! accepts such a commit on a full disk, as each segment keeps headroom for it. fjall's journal and
//! tables have no headroom of their own, and the segments that could be freed wait for the views.
//! So the views own a file that occupies space, which they give back to the volume when a flush
//! lets segments be freed.
//!
//! fjall cannot reopen a journal whose last write met a full disk, so no flush begins without room
//! for it.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use crate::limits::{VIEWS_FREE_BYTES_MIN, VIEWS_RESERVE_BYTES};

/// The file `views.reserve` beside the views.
#[derive(Debug)]
pub struct Reserve {
    path: PathBuf,
    /// A flush uses the bytes: they are not reserved again before it is done.
    is_lent: AtomicBool,
    /// The file system cannot allocate ahead (FAT, NFS): there is no reserve.
    is_unsupported: AtomicBool,
}

impl Reserve {
    /// Returns the reserve of the views at `views`. Creates nothing.
    pub(crate) fn of(views: &Path) -> Self {
        Self {
            path: views.with_extension("reserve"),
            is_lent: AtomicBool::new(false),
            is_unsupported: AtomicBool::new(false),
        }
    }

    /// Reserves the bytes, if they are not reserved and the volume has them. Returns whether they
    /// are.
    pub(crate) fn keep(&self) -> bool {
        let missing_bytes = self.missing_bytes();
        if missing_bytes == 0 {
            return true;
        }
        let free = self.free_bytes();
        let has_room = free.is_some_and(|free| free >= missing_bytes + VIEWS_FREE_BYTES_MIN);
        if self.is_lent.load(Ordering::Relaxed) || !has_room {
            return false;
        }
        match self.allocate() {
            Ok(()) => true,
            Err(error) => {
                log::debug!("no space can be reserved for the views: {error}");
                let _ = std::fs::remove_file(&self.path);
                let is_full = error.kind() == ErrorKind::StorageFull;
                self.is_unsupported.store(!is_full, Ordering::Relaxed);
                !is_full
            }
        }
    }

    fn allocate(&self) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        let file = options.open(&self.path)?;
        Ok(fallocate(
            file,
            FallocateFlags::empty(),
            0,
            VIEWS_RESERVE_BYTES,
        )?)
    }

    /// Lends the bytes to a flush, if the volume is full. Returns whether the views have more room
    /// now; [`Reserve::take_back`] ends the loan.
    pub(crate) fn lend(&self) -> bool {
        let free = self.free_bytes();
        if free.is_none_or(|free| free >= VIEWS_RESERVE_BYTES) {
            return false;
        }
        self.is_lent.store(true, Ordering::Relaxed);
        let is_lent = std::fs::remove_file(&self.path).is_ok();
        self.is_lent.store(is_lent, Ordering::Relaxed);
        if is_lent {
            log::info!(
                "the disk is full: the views now use the {VIEWS_RESERVE_BYTES} bytes that were \
                 reserved for them"
            );
        }
        is_lent
    }

    /// Ends a [`Reserve::lend`]. The next segment that is freed provides the bytes again.
    pub(crate) fn take_back(&self) {
        self.is_lent.store(false, Ordering::Relaxed);
        self.keep();
    }

    /// Returns whether bytes are missing that could be reserved.
    pub(crate) fn is_missing(&self) -> bool {
        self.missing_bytes() > 0
    }

    /// Returns the bytes that are missing for a full reserve.
    fn missing_bytes(&self) -> u64 {
        if self.is_unsupported.load(Ordering::Relaxed) {
            return 0;
        }
        let kept = std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        VIEWS_RESERVE_BYTES.saturating_sub(kept)
    }

    /// Returns whether the volume has room for a flush of `bytes`: once in the journal, once in a
    /// table.
    pub(crate) fn has_room_for(&self, bytes: u64) -> bool {
        let bytes = 2 * bytes + VIEWS_FREE_BYTES_MIN;
        self.free_bytes().is_none_or(|free| free >= bytes)
    }

    /// Returns the free bytes of the volume; `None` if the operating system does not report them.
    fn free_bytes(&self) -> Option<u64> {
        let volume = statvfs(self.path.parent()?).ok()?;
        Some(volume.f_bavail.saturating_mul(volume.f_frsize))
    }
}

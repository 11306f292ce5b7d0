//! Reuse of segment files: a freed one becomes a *spare*, and a new segment overwrites it. On flash
//! this wears least: the file's blocks are allocated already, so a commit is synced without the
//! file system's journal.
//!
//! This relies on the following:
//!
//! - **Generations tell old bytes from new ones.** Each use of a file has a new generation. The
//!   header names the generation of the use before, so that a
//!   [`Scanner`](crate::segment::scan::Scanner) recognises a whole frame of that use: nothing was
//!   synced over it, and the search for frames behind damaged bytes ends there. Old bytes are
//!   therefore neither reported as torn nor wiped.
//! - **A torn frame does not come back.** In a new file, zeros follow the last frame, and anything
//!   else is wiped. In a reused file a torn frame cannot be told from old bytes, so nothing is
//!   written behind it: the process that finds such a segment unsealed cuts it at its last frame
//!   and begins another one. A process that ends in order seals it.
//! - **Bytes given to a reader do not change.** Readers share one handle of a segment, and a reply
//!   keeps it until all of it is with the kernel. Even then the kernel may have pages of the file
//!   in a pipe or in a socket's queue, for as long as the peer likes, and sends what is in them at
//!   that moment. So a spare is overwritten only when its last handle is gone and none of its pages
//!   is in the page cache: `disk/page_cache.rs` says why that is enough. A spare that keeps pages
//!   is checked again each second, [`limits::SPARE_LOOKS_MAX`] times, and then unlinked, so that
//!   its pages are never overwritten.
//! - **Another name keeps its bytes**: a file with a second hard link (a backup's) is unlinked.
//! - **Old bytes are not read again**: the page cache has none of them, and a frame that ends
//!   inside a page is written with zeros up to the page's end. Otherwise the kernel would first
//!   read that page, and a commit would wait for it; and if the kernel still has the file in large
//!   pieces, it counts each whole piece that a commit touches as written by this process.
//! - Segment numbers are not reused: the file is renamed, durably, before it is written to, and a
//!   file whose header has another number was not begun.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use crate::disk::{Disk, SegmentFile};
use crate::error::Error;
use crate::format::{PAGE_BYTES, SegmentHeader};
use crate::ids::SegmentId;
use crate::limits;
use crate::segment::scan;
use crate::store::Store;
use crate::views::reserve::Reserve;

const ZEROS: [u8; PAGE_BYTES as usize] = [0; PAGE_BYTES as usize];

/// Returns the zeros to write behind a frame that ends at `end` of a reused file of `capacity`
/// bytes: the next frame overwrites them.
pub(crate) fn rest_of_page(end: u64, capacity: u64) -> &'static [u8] {
    let rest = end.next_multiple_of(PAGE_BYTES).min(capacity) - end.min(capacity);
    ZEROS.get(..rest as usize).unwrap_or_default()
}

/// A file that waits for reuse.
#[derive(Debug)]
pub(crate) struct Spare {
    id: SegmentId,
    bytes: u64,
    /// The handle that readers may still share.
    file: Option<Arc<dyn SegmentFile>>,
    /// No page of the file is in the page cache, and no handle is left that could load one.
    is_evicted: bool,
    /// Pages of the file were still in the page cache at the last check.
    is_lent: bool,
    /// Number of checks that found it in use.
    looks: u32,
}

/// All spares.
#[derive(Debug)]
pub(crate) struct Spares {
    files: Vec<Spare>,
    bytes_max: u64,
}

impl Default for Spares {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            bytes_max: u64::MAX,
        }
    }
}

impl Spares {
    fn bytes(&self) -> u64 {
        self.files.iter().map(|spare| spare.bytes).sum()
    }

    /// Returns a spare that may be overwritten. The writer does not ask the kernel twice about the
    /// same one.
    fn free(&mut self, disk: &dyn Disk) -> Option<usize> {
        let may_be_used =
            |spare: &mut Spare| spare.is_evicted || !spare.is_lent && spare.look(disk);
        self.files.iter_mut().position(may_be_used)
    }
}

/// A file that is reused, and the generation of its old frames.
pub(crate) struct Reused {
    pub file: Arc<dyn SegmentFile>,
    pub generation: u64,
}

impl Spare {
    fn new(id: SegmentId, bytes: u64, file: Option<Arc<dyn SegmentFile>>) -> Self {
        Self {
            id,
            bytes,
            file,
            is_evicted: false,
            is_lent: false,
            looks: 0,
        }
    }

    /// Returns whether no reader has a handle. No new handle can appear: the file has lost its
    /// name.
    fn is_unread(&mut self) -> bool {
        // Everything that a reader did with its handle happened before this.
        self.file.take_if(|file| Arc::get_mut(file).is_some());
        self.file.is_none()
    }

    /// Checks whether the file may be overwritten. Takes some milliseconds.
    fn look(&mut self, disk: &dyn Disk) -> bool {
        if !self.is_evicted {
            self.looks += 1;
            if self.is_unread() {
                self.is_evicted = disk.evict_spare(self.id).unwrap_or_else(|error| {
                    log::warn!(
                        "the file of segment {} cannot be reused: {error}",
                        self.id.0
                    );
                    self.looks = limits::SPARE_LOOKS_MAX;
                    false
                });
                self.is_lent = !self.is_evicted;
            }
        }
        self.is_evicted
    }
}

impl Store {
    fn lock_spares(&self) -> MutexGuard<'_, Spares> {
        self.spares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adopts the spares that an earlier process left, as far as they are wanted.
    pub(crate) fn find_spares(&self) -> Result<(), Error> {
        let disk = &self.files.disk;
        let mut spares = self.lock_spares();
        for (id, bytes) in disk.spares()? {
            if spares.files.len() >= self.options.spare_segments_max {
                if let Err(error) = disk.remove_spare(id) {
                    log::warn!("a spare segment file cannot be removed: {error}");
                }
                continue;
            }
            // The kernel may still be sending bytes that an earlier process gave it.
            spares.files.push(Spare::new(id, bytes, None));
        }
        Ok(())
    }

    /// Returns the number of waiting files and their bytes.
    pub(crate) fn spare_figures(&self) -> (u64, u64) {
        let spares = self.lock_spares();
        (spares.files.len() as u64, spares.bytes())
    }

    /// Turns the file of a segment without live data into a spare, or removes it. The views'
    /// reserve has priority over spares.
    pub(crate) fn free_file(&self, id: SegmentId, bytes: u64) -> Result<(), Error> {
        let disk = &self.files.disk;
        let mut spares = self.lock_spares();
        let full = self.options.segment_bytes;
        // A short file saves little, and a long one would stay long for ever.
        let fits = bytes <= full && bytes >= full / 2;
        let wanted = spares.files.len() < self.options.spare_segments_max
            && spares.bytes() + bytes <= spares.bytes_max
            && !self.catalog.reserve().is_some_and(Reserve::is_missing);
        if !fits || !wanted || disk.is_shared(id) {
            return self.files.remove(id);
        }
        let file = self.files.retire(id)?;
        spares.files.push(Spare::new(id, bytes, file));
        Ok(())
    }

    /// See [`crate::LogStore::evict_spares`].
    pub(crate) fn evict_spare_files(&self) -> Result<(), Error> {
        let waiting: Vec<SegmentId> = {
            let spares = self.lock_spares();
            let waiting = spares.files.iter().filter(|spare| !spare.is_evicted);
            waiting.map(|spare| spare.id).collect()
        };
        for id in waiting {
            // Locked for one check at a time, so that the writer waits for no more than that.
            let mut spares = self.lock_spares();
            let Some(at) = spares.files.iter().position(|spare| spare.id == id) else {
                continue;
            };
            let disk = &*self.files.disk;
            let spare = &mut spares.files[at];
            if !spare.look(disk) && spare.looks >= limits::SPARE_LOOKS_MAX {
                log::debug!(
                    "the file of segment {} cannot be reused: its pages are still being sent",
                    id.0
                );
                spares.files.swap_remove(at);
                disk.remove_spare(id)?;
            }
        }
        Ok(())
    }

    /// Returns a spare as the file of segment `id`; `None` if none is free.
    pub(crate) fn reuse_file(&self, id: SegmentId, bytes: u64) -> Result<Option<Reused>, Error> {
        if bytes != self.options.segment_bytes {
            return Ok(None);
        }
        let disk = &self.files.disk;
        let mut spares = self.lock_spares();
        while let Some(at) = spares.free(&**disk) {
            let spare = spares.files.swap_remove(at).id;
            let taken = disk.reuse(spare, id, bytes).and_then(|file| {
                let Some(file) = file else { return Ok(None) };
                let header = scan::read_header(&*file)?;
                Ok(header.map(|SegmentHeader { generation, .. }| Reused { file, generation }))
            });
            match taken {
                Ok(Some(taken)) => {
                    self.counters.recycled.fetch_add(1, Ordering::Relaxed);
                    return Ok(Some(taken));
                }
                // Unusable: its generation cannot be read, or a backup holds it.
                Ok(None) => {}
                Err(error) => {
                    log::warn!("the file of segment {} cannot be reused: {error}", spare.0);
                }
            }
            disk.remove_spare(spare)?;
            disk.remove(id)?;
        }
        Ok(None)
    }

    /// See [`crate::LogStore::limit_spares`].
    pub(crate) fn limit_spare_files(&self, bytes_max: u64) -> Result<(), Error> {
        let mut spares = self.lock_spares();
        spares.bytes_max = bytes_max;
        while spares.bytes() > bytes_max
            && let Some(spare) = spares.files.pop()
        {
            self.files.disk.remove_spare(spare.id)?;
        }
        Ok(())
    }

    /// Returns the space of the spares to the volume. Returns whether there were any.
    pub(crate) fn drop_spares(&self) -> Result<bool, Error> {
        let mut spares = self.lock_spares();
        let any = !spares.files.is_empty();
        for spare in spares.files.drain(..) {
            self.files.disk.remove_spare(spare.id)?;
        }
        Ok(any)
    }
}

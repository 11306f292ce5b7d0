//! Segment files that are used again: a freed one becomes a *spare*, and a new segment is written
//! over it. On flash that is what wears least: its blocks are there already, so a commit is synced
//! without the file system's journal.
//!
//! What this rests on:
//!
//! - **Old bytes are told from new ones by the generation**, made up anew for each use. The header
//!   names the generation of the use before, so that a [`Scanner`](crate::segment::scan::Scanner)
//!   knows a frame of that one when it meets it: if it is whole, nothing was synced over it, and
//!   the search for what may lie behind damaged bytes ends there. Old bytes are therefore neither
//!   reported as torn nor wiped.
//! - **What was torn does not come back.** Behind the last frame of a new file there are zeros, and
//!   what is not is wiped. Here a torn frame cannot be told from old bytes, so nothing is written
//!   behind it: the process that finds such a segment unsealed cuts it at its last frame and
//!   begins another one. A process that ends in order seals it.
//! - **No byte changes that a reader was given.** Readers share one handle of a segment, and a
//!   reply keeps it until all of it is with the kernel. The kernel may still have pages of the
//!   file in a pipe or in a socket's queue then, for as long as the peer likes, and sends what
//!   is in them at that moment. So a spare is written over when its last handle is gone and no
//!   page of it is in the page cache any more: `disk/page_cache.rs` says why that is enough.
//!   One that keeps pages is looked at again each second, [`limits::SPARE_LOOKS_MAX`] times,
//!   and then unlinked, so that nothing is written to them.
//! - **Another name keeps its bytes**: a file with a second hard link (a backup's) is unlinked.
//! - **Its old bytes are not read again**: the page cache has none of them, and a frame that ends
//!   inside a page is written with zeros up to the page's end. Otherwise the kernel would read that
//!   page first, which a commit would wait for; and if it still has the file in large pieces, it
//!   counts the whole of each that a commit touches as written by this process.
//! - Numbers are not used again: the file is renamed, which is durable before it is written to, and
//!   a file whose header has another number was not begun.

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

/// Returns the zeros that go behind a frame that ends at `end` of a file of `capacity` that was
/// used before: the next frame is written over them.
pub(crate) fn rest_of_page(end: u64, capacity: u64) -> &'static [u8] {
    let rest = end.next_multiple_of(PAGE_BYTES).min(capacity) - end.min(capacity);
    ZEROS.get(..rest as usize).unwrap_or_default()
}

/// A file that waits to be used again.
#[derive(Debug)]
pub(crate) struct Spare {
    id: SegmentId,
    bytes: u64,
    /// The handle that readers may still share.
    file: Option<Arc<dyn SegmentFile>>,
    /// No page of the file is in the page cache, and no handle of it is left to bring one there.
    is_evicted: bool,
    /// Pages of it stayed in the page cache at the last look.
    is_lent: bool,
    /// How many times it was found in use.
    looks: u32,
}

/// All of them.
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

    /// One that may be written over. The writer does not ask the kernel twice of the same.
    fn free(&mut self, disk: &dyn Disk) -> Option<usize> {
        let may_be_used =
            |spare: &mut Spare| spare.is_evicted || !spare.is_lent && spare.look(disk);
        self.files.iter_mut().position(may_be_used)
    }
}

/// One that is used again, and what its frames so far are told by.
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

    /// Whether no reader has a handle. There will be none again: the file has lost its name.
    fn is_unread(&mut self) -> bool {
        // What a reader did with its handle before it let go of it happened before this.
        self.file.take_if(|file| Arc::get_mut(file).is_some());
        self.file.is_none()
    }

    /// Whether it may be written over. Takes some milliseconds.
    fn look(&mut self, disk: &dyn Disk) -> bool {
        if !self.is_evicted {
            self.looks += 1;
            if self.is_unread() {
                self.is_evicted = disk.evict_spare(self.id).unwrap_or_else(|error| {
                    log::warn!("segment {} is not used again: {error}", self.id.0);
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

    /// The spares that an earlier process left, as far as they are wanted.
    pub(crate) fn find_spares(&self) -> Result<(), Error> {
        let disk = &self.files.disk;
        let mut spares = self.lock_spares();
        for (id, bytes) in disk.spares()? {
            if spares.files.len() >= self.options.spare_segments_max {
                if let Err(error) = disk.remove_spare(id) {
                    log::warn!("a spare segment file stays: {error}");
                }
                continue;
            }
            // The kernel may still send what an earlier process gave it.
            spares.files.push(Spare::new(id, bytes, None));
        }
        Ok(())
    }

    /// Files that wait, and their bytes.
    pub(crate) fn spare_figures(&self) -> (u64, u64) {
        let spares = self.lock_spares();
        (spares.files.len() as u64, spares.bytes())
    }

    /// A segment in which nothing lives any more becomes a spare, or goes. The views' reserve comes
    /// before spares.
    pub(crate) fn free_file(&self, id: SegmentId, bytes: u64) -> Result<(), Error> {
        let disk = &self.files.disk;
        let mut spares = self.lock_spares();
        let full = self.options.segment_bytes;
        // Of a short one little is saved, and a long one would stay so for ever.
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
            // Locked for one look at a time: the writer waits for no more.
            let mut spares = self.lock_spares();
            let Some(at) = spares.files.iter().position(|spare| spare.id == id) else {
                continue;
            };
            let disk = &*self.files.disk;
            let spare = &mut spares.files[at];
            if !spare.look(disk) && spare.looks >= limits::SPARE_LOOKS_MAX {
                log::debug!("segment {} is not used again: its bytes are in use", id.0);
                spares.files.swap_remove(at);
                disk.remove_spare(id)?;
            }
        }
        Ok(())
    }

    /// A spare as the file of segment `id`; `None` if none is free.
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
                // Without its generation its frames cannot be told; or a backup has it.
                Ok(None) => {}
                Err(error) => log::warn!("segment {} is not used again: {error}", spare.0),
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

    /// Gives the space of the spares back. Whether there was any.
    pub(crate) fn drop_spares(&self) -> Result<bool, Error> {
        let mut spares = self.lock_spares();
        let any = !spares.files.is_empty();
        for spare in spares.files.drain(..) {
            self.files.disk.remove_spare(spare.id)?;
        }
        Ok(any)
    }
}

//! Segment files that are used again: a freed one becomes a *spare*, and a new segment is written
//! over it. On flash that is what wears least: its blocks are there already, so a commit is synced
//! without the file system's journal.
//!
//! What this rests on:
//!
//! - **Old bytes are told from new ones by the generation**, made up anew for each use. The header
//!   names the generation of the use before, so that [`scan`](crate::scan) knows a frame of that
//!   one when it meets it: where it is whole, nothing was synced over it, and the search for what
//!   may lie behind damaged bytes ends there. Old bytes are therefore neither reported as torn
//!   nor wiped.
//! - **What was torn does not come back.** Behind the last frame of a new file there are zeros, and
//!   what is not is wiped. Here a torn frame cannot be told from old bytes, so nothing is written
//!   behind it: the process that finds such a segment unsealed cuts it at its last frame and
//!   begins another one. A process that ends in order seals it.
//! - **Nobody reads a file that is written over.** A spare is taken up when its last handle is gone
//!   (there is one a segment, which readers share) and, where bytes of it were sent from the page
//!   cache, when the network must be done with them: the kernel sends the pages as they are at that
//!   moment, again and again until the peer has them.
//! - **Another name keeps its bytes**: a file with a second hard link (a backup's) is unlinked.
//! - **Its old bytes are not read again**: the page cache forgets them, and a frame that ends
//!   inside a page is written with zeros up to the page's end. Otherwise the kernel would read that
//!   page first, which a commit would wait for; and where it still has the file in large pieces, it
//!   counts the whole of each that a commit touches as written by this process.
//! - Numbers are not used again: the file is renamed, which is durable before it is written to, and
//!   a file whose header has another number was not begun.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;

use crate::api::SegmentId;
use crate::disk::SegmentFile;
use crate::error::Error;
use crate::format::{PAGE_BYTES, SegmentHeader};
use crate::scan;
use crate::store::Store;

const ZEROS: [u8; PAGE_BYTES as usize] = [0; PAGE_BYTES as usize];

/// What goes behind a frame that ends at `end` of a file of `capacity` that was used before: the
/// next frame is written over it.
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
    rests_until: Option<Instant>,
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
}

/// One that is used again, and what its frames so far are told by.
pub(crate) struct Reused {
    pub file: Arc<dyn SegmentFile>,
    pub generation: u64,
}

impl Spare {
    fn is_free(&self) -> bool {
        let unread = self
            .file
            .as_ref()
            .is_none_or(|file| Arc::strong_count(file) == 1);
        unread && self.rests_until.is_none_or(|until| until <= Instant::now())
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
            spares.files.push(Spare {
                id,
                bytes,
                file: None,
                rests_until: disk.rests_until(id),
            });
        }
        Ok(())
    }

    /// Files that wait, and their bytes.
    pub(crate) fn spare_figures(&self) -> (u64, u64) {
        let spares = self.lock_spares();
        (spares.files.len() as u64, spares.bytes())
    }

    /// A segment in which nothing lives any more becomes a spare, or goes.
    pub(crate) fn free_file(&self, id: SegmentId, bytes: u64) -> Result<(), Error> {
        let disk = &self.files.disk;
        let mut spares = self.lock_spares();
        let full = self.options.segment_bytes;
        // Of a short one little is saved, and a long one would stay so for ever.
        let fits = bytes <= full && bytes >= full / 2;
        let wanted = spares.files.len() < self.options.spare_segments_max
            && spares.bytes() + bytes <= spares.bytes_max;
        if !fits || !wanted || disk.is_shared(id) {
            return self.files.remove(id);
        }
        let rests_until = disk.rests_until(id);
        let file = self.files.retire(id)?;
        spares.files.push(Spare {
            id,
            bytes,
            file,
            rests_until,
        });
        Ok(())
    }

    /// A spare as the file of segment `id`; `None` where none is free.
    pub(crate) fn reuse_file(&self, id: SegmentId, bytes: u64) -> Result<Option<Reused>, Error> {
        if bytes != self.options.segment_bytes {
            return Ok(None);
        }
        let disk = &self.files.disk;
        let mut spares = self.lock_spares();
        while let Some(at) = spares.files.iter().position(Spare::is_free) {
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

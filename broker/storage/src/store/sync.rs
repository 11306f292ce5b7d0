//! Bringing to the disk what was written, and then the footers of segments that are full.

use std::io::IoSlice;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::Store;
use crate::disk::SegmentFile;
use crate::error::Error;
use crate::ids::SegmentId;

/// A full segment whose frames are not yet synced.
#[derive(Debug)]
pub(crate) struct Sealing {
    pub id: SegmentId,
    pub file: Arc<dyn SegmentFile>,
    pub position: u64,
    pub footer: Vec<u8>,
}

impl Store {
    pub(crate) fn note_unsynced(&self, file: &Arc<dyn SegmentFile>) {
        let mut unsynced = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
        if !unsynced.last().is_some_and(|last| Arc::ptr_eq(last, file)) {
            unsynced.push(file.clone());
        }
    }

    /// Whether nothing was written since the last sync, or the one that is under way.
    pub(crate) fn is_synced(&self) -> bool {
        self.unsynced
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }

    pub(crate) fn sync_log(&self) -> Result<(), Error> {
        let _one = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_health()?;
        // Before the files: all frames of these are among them, or synced already.
        let sealing =
            std::mem::take(&mut *self.sealing.lock().unwrap_or_else(PoisonError::into_inner));
        let files =
            std::mem::take(&mut *self.unsynced.lock().unwrap_or_else(PoisonError::into_inner));
        for file in files {
            file.sync_data().map_err(|source| {
                // The kernel may have thrown the pages away: a second try would say yes to nothing.
                self.poison();
                Error::Io {
                    doing: "sync a segment",
                    source,
                }
            })?;
            self.counters.syncs.fetch_add(1, Ordering::Relaxed);
        }
        for full in sealing {
            self.write_footer(&full);
        }
        Ok(())
    }

    /// Writes a footer behind frames that are synced, and gives back the room that was not used.
    fn write_footer(&self, of: &Sealing) {
        let bytes = of.footer.len() as u64;
        let written = of
            .file
            .write_at(of.position, &[IoSlice::new(&of.footer)])
            .and_then(|()| of.file.truncate(of.position + bytes));
        match written {
            Ok(()) => {
                self.counters.log_bytes.fetch_add(bytes, Ordering::Relaxed);
                self.note_unsynced(&of.file);
            }
            Err(error) => {
                log::warn!("segment {} stays without a footer: {error}", of.id.0);
                // A full disk takes a part of it, which is of use to nobody. Where that cannot be
                // cut off either, a scan passes over it.
                let _ = of.file.truncate(of.position);
            }
        }
    }

    pub(crate) fn flush(&self, forced: bool) -> Result<(), Error> {
        self.catalog.flush(forced, &|| self.sync_log())
    }

    /// Flushes the views for the sake of space that comes back then: with the bytes that are set
    /// aside for them, if the volume has no others. No other flush may take these: on a full volume
    /// they would be gone before they are needed.
    pub(crate) fn flush_to_free(&self) -> Result<(), Error> {
        let flushed = self.flush(true);
        let Some(reserve) = self.catalog.reserve() else {
            return flushed;
        };
        if flushed.is_ok() || !reserve.lend() {
            return flushed;
        }
        let flushed = self.flush(true);
        reserve.take_back();
        flushed
    }
}

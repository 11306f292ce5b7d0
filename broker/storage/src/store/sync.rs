//! Syncs what was written, then writes the footers of full segments.

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

    /// Returns whether nothing was written since the last sync, or the one in progress.
    pub(crate) fn is_synced(&self) -> bool {
        self.unsynced
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }

    pub(crate) fn sync_log(&self) -> Result<(), Error> {
        let _one = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_health()?;
        // Taken before the files: all frames of these segments are in the files or synced already.
        let sealing =
            std::mem::take(&mut *self.sealing.lock().unwrap_or_else(PoisonError::into_inner));
        let files =
            std::mem::take(&mut *self.unsynced.lock().unwrap_or_else(PoisonError::into_inner));
        for file in files {
            file.sync_data().map_err(|source| {
                // The kernel may have dropped the pages: a second sync would succeed without
                // writing them.
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

    /// Writes a footer behind synced frames, and returns unused room to the volume.
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
                log::warn!("segment {} is left without a footer: {error}", of.id.0);
                // On a full disk, part of the footer may be written, which is useless. If it cannot
                // be cut off, a scan skips it.
                let _ = of.file.truncate(of.position);
            }
        }
    }

    pub(crate) fn flush(&self, forced: bool) -> Result<(), Error> {
        self.catalog.flush(forced, &|| self.sync_log())
    }

    /// Flushes the views so that space can be freed, using the bytes reserved for them if the
    /// volume has no others. No other flush may take these: on a full volume they would be gone
    /// before they are needed.
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

//! Frees the space of segments that have no live data any more.
//!
//! The tasks that moved log starts or emptied segments free these, on threads that may block: no
//! other request waits for the flushes. After a topic is deleted, the writer notifies
//! [`StorageState::dead`], and the upkeep frees its segments.
//!
//! [`StorageState::dead`]: super::storage_state::StorageState::dead

use log::warn;

use super::Log;
use crate::process::exit;

impl Log {
    /// Frees all segments without live data. Blocks for some flushes, while the writer goes on.
    pub fn free_segments(&self) {
        while self.free_some() {}
    }

    /// Frees some segments. Returns whether there are more.
    fn free_some(&self) -> bool {
        match self.store.free_segments() {
            Ok(freed) => {
                let segments = u64::from(freed.segments);
                self.metrics.segments_freed.add(segments);
                // Segments that cannot be freed on a full disk are left to the next round.
                freed.more && segments > 0
            }
            Err(refusal) if refusal.is_refusal() => {
                warn!(target: "sedge::retention", "segments cannot be freed: {refusal}");
                false
            }
            Err(failure) => exit::fatal("free segments", &failure),
        }
    }
}

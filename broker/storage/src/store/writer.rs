//! The writer's own state, behind its lock. The writing itself is in [`write`](crate::write).

use std::sync::Arc;

use crate::disk::SegmentFile;
use crate::format::{PAGE_BYTES, frame_starts};
use crate::ids::{SegmentId, Sequence};

/// The writer's own state. Everything else is in the catalog.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    pub sequence: Sequence,
    pub active: Option<Active>,
    pub last_segment: SegmentId,
    /// Bytes in the active segment for the commit that was reserved and is not written yet. Rows
    /// that are written meanwhile, to free segments, leave them.
    pub reserved: u64,
    pub closed: bool,
}

#[derive(Debug)]
pub(crate) struct Active {
    pub id: SegmentId,
    pub generation: u64,
    pub file: Arc<dyn SegmentFile>,
    /// Position of the next frame.
    pub position: u64,
    pub capacity: u64,
    /// The file has bytes of an earlier segment behind `position`.
    pub is_recycled: bool,
}

impl Writer {
    /// Returns the number for the next segment. It stays unused if the segment cannot be created.
    pub fn next_segment(&mut self) -> SegmentId {
        self.last_segment.0 += 1;
        self.last_segment
    }
}

impl Active {
    /// Returns the bytes to leave free before the next frame. The last page is on the disk already,
    /// and appending to it writes it once more: a frame that fits into fewer pages of its own
    /// begins on a new one.
    pub fn padding(&self, frame_bytes: u64, is_synced: bool) -> u16 {
        let [packed, aligned] = frame_starts(self.position);
        let pages = |start: u64| (start + frame_bytes).div_ceil(PAGE_BYTES) - start / PAGE_BYTES;
        let is_worth_it =
            is_synced && pages(aligned) < pages(packed) && aligned + frame_bytes <= self.capacity;
        if is_worth_it {
            (aligned - packed) as u16
        } else {
            0
        }
    }
}

//! Cold segments as a cleaner sees them: written past the writer, then adopted by a commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sedge_protocol::batch::Batch;
use sedge_protocol::ids::PartitionId;

use crate::disk::{Disk, SegmentFile};
use crate::error::Error;
use crate::format::FooterRun;
use crate::ids::SegmentId;

/// A cold segment that is being written.
pub trait ColdSegment: Send {
    /// Adds a batch: partitions together, each in the order of its offsets. `append_ms` is when the
    /// batch was appended to the log.
    fn push(&mut self, partition: PartitionId, batch: Batch, append_ms: i64) -> Result<(), Error>;

    /// Separates what is pushed next from what was pushed before, so that one may be adopted
    /// without the other: an [`Entry::Replace`](crate::Entry::Replace) begins and ends where this
    /// was called, or at another partition.
    fn cut(&mut self);

    /// Returns the bytes of the segment's batches so far.
    fn bytes(&self) -> u64;

    /// Brings the segment to the disk.
    fn finish(self: Box<Self>) -> Result<Cold, Error>;
}

/// A cold segment that is on the disk, for [`Entry::Replace`](crate::Entry::Replace). If it is
/// dropped before that, it is removed.
#[derive(Debug)]
pub struct Cold {
    pub(crate) segment: SegmentId,
    pub(crate) generation: u64,
    pub(crate) runs: Vec<FooterRun>,
    pub(crate) file: Option<ColdFile>,
    /// The batches themselves, if the store has no files.
    pub(crate) batches: Vec<(PartitionId, Batch, i64)>,
}

/// The file of a cold segment, removed on drop unless a commit adopted it.
#[derive(Debug)]
pub(crate) struct ColdFile {
    pub file: Arc<dyn SegmentFile>,
    pub disk: Arc<dyn Disk>,
    pub id: SegmentId,
    pub is_adopted: AtomicBool,
}

impl ColdFile {
    pub fn is_adopted(&self) -> bool {
        self.is_adopted.load(Ordering::Acquire)
    }

    pub fn adopt(&self) {
        self.is_adopted.store(true, Ordering::Release);
    }
}

impl Drop for ColdFile {
    fn drop(&mut self) {
        if !self.is_adopted()
            && let Err(error) = self.disk.remove(self.id)
        {
            log::warn!(
                "cold segment {} cannot be removed now, and is removed at the next start: {error}",
                self.id.0
            );
        }
    }
}

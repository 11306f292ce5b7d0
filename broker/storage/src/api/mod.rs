//! The interface of the log: the types and the trait that the broker is written against.

mod cold;
mod commit;
mod damage;
mod opening;
mod reading;
mod room;
mod usage;

use bytes::Bytes;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{Offset, PartitionId};

use crate::error::Error;
use crate::ids::{SegmentId, Sequence};

pub(crate) use cold::ColdFile;
pub use cold::{Cold, ColdSegment};
pub use commit::{Commit, Entry, View, ViewUpdate};
pub(crate) use damage::TO_THE_END;
pub use damage::{Damaged, LostRange, ScrubCursor, Scrubbed};
pub use opening::{Hole, Identity, OpenReport, Options, TornTail};
pub use reading::{Chunk, Located, LogBounds, ReadLimits, Slice, Wait};
pub(crate) use room::headroom_bytes;
pub use room::{Room, Urgency};
pub use usage::{Freed, SegmentUse, Usage};

/// Reads of the caller's views: pending updates over what is flushed.
pub trait ViewReader {
    fn view_get(&self, view: View, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;
    /// Calls `each` with the keys that have this prefix, in ascending order from `from` on, until
    /// it returns false.
    fn view_scan_from(
        &self,
        view: View,
        prefix: &[u8],
        from: &[u8],
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error>;
    /// Calls `each` with the keys that have this prefix, in ascending order.
    fn view_scan(
        &self,
        view: View,
        prefix: &[u8],
        each: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<(), Error> {
        self.view_scan_from(view, prefix, prefix, &mut |key, value| {
            each(key, value);
            true
        })
    }
}

/// The log. One writer calls the methods marked "Writer only"; the others may be called from any
/// thread at any time.
pub trait LogStore: ViewReader + Send + Sync + 'static {
    /// Reserves room for a commit: rolls and preallocates as needed. A following
    /// [`append`](LogStore::append) of that size finds the room. Each segment keeps headroom so
    /// that a full disk can be emptied; the urgency says how much of it the commit may take. Writer
    /// only.
    ///
    /// # Errors
    /// If [`Error::is_refusal`], the store is unchanged and the call may be retried later.
    fn reserve(&self, room: Room) -> Result<(), Error>;
    /// Writes a commit as one frame, with one vectored write, all or nothing. It is readable at
    /// once, and durable after [`LogStore::sync`]. Only what was reserved is written. An error
    /// other than `Full` and `ReadOnly` is final; those two come before anything is written, if
    /// nothing was reserved. Writer only.
    fn append(&self, commit: Commit) -> Result<Sequence, Error>;
    /// Syncs everything that was appended before the call (fdatasync). A failure is final: the
    /// caller ends the process.
    fn sync(&self) -> Result<(), Error>;

    fn bounds(&self, partition: PartitionId) -> Result<LogBounds, Error>;
    /// Returns every partition that has bounds, in order.
    fn partitions(&self) -> Result<Vec<PartitionId>, Error>;
    /// Returns the largest partition id that has bounds, or that a row named since the views were
    /// last made. A partition that was dropped counts; one that is
    /// [reserved](PartitionId::is_reserved) does not.
    fn newest_partition(&self) -> Result<Option<PartitionId>, Error>;
    /// Returns whole batches as stored, from the batch that contains `from`, of those that begin
    /// below `until`: at most `bytes_max`, but at least one batch if there is one. Each `Bytes`
    /// holds one or more whole batches. The answer is empty at or after the end, and before the log
    /// start. CRCs are not checked here.
    fn read(
        &self,
        partition: PartitionId,
        from: Offset,
        until: Offset,
        bytes_max: usize,
    ) -> Result<Vec<Bytes>, Error>;
    /// Like [`LogStore::read`], for batches that are only passed on: batches of large commits are
    /// returned as places in the file. Bytes that are not in memory are read into the operating
    /// system's page cache, through a small buffer, so that an unreadable place is detected here.
    fn locate(
        &self,
        partition: PartitionId,
        from: Offset,
        until: Offset,
        limits: ReadLimits,
        wait: Wait,
    ) -> Result<Located, Error> {
        let _ = wait;
        let read = self.read(partition, from, until, limits.bytes_max)?;
        let mut next_offset = Offset::ZERO;
        for mut bytes in read.iter().cloned() {
            while let Some(batch) = Batch::split_from(&mut bytes) {
                next_offset = batch.header.next_offset();
            }
        }
        Ok(Located {
            next_offset,
            chunks: read.into_iter().map(Chunk::Read).collect(),
            is_cut: false,
        })
    }
    /// Returns the first batch that holds records at or after `from` and the log start, begins
    /// below `until`, and whose header has a largest timestamp at or after `timestamp`. The caller
    /// finds the record with such a timestamp, if it has not been deleted.
    fn first_batch_at(
        &self,
        partition: PartitionId,
        timestamp: i64,
        from: Offset,
        until: Offset,
    ) -> Result<Option<Bytes>, Error>;
    /// Returns the batch with the largest timestamp in its header, the first one of several
    /// (ListOffsets -3). Only batches count that hold records at or after `from` and the log start
    /// and begin below `until`.
    fn max_timestamp_batch(
        &self,
        partition: PartitionId,
        from: Offset,
        until: Offset,
    ) -> Result<Option<Bytes>, Error>;
    /// Returns the slices that hold records at or after the log start, oldest first.
    fn slices(&self, partition: PartitionId) -> Result<Vec<Slice>, Error>;
    /// Returns the bytes of the partition's live slices.
    fn partition_bytes(&self, partition: PartitionId) -> Result<u64, Error>;

    /// Begins a cold segment with room for `bytes` of batches. Called from a cleaner's thread.
    fn begin_cold(&self, bytes: u64) -> Result<Box<dyn ColdSegment + '_>, Error>;
    /// Returns the active segment. It is never rewritten while it is active.
    fn active_segment(&self) -> Option<SegmentId>;
    /// Ends the active segment if it holds any commit: the next commit begins another one. Writer
    /// only.
    fn roll(&self) -> Result<(), Error>;
    /// Returns the segments that are full or cold.
    fn segments(&self) -> Result<Vec<SegmentUse>, Error>;
    /// Returns the live slices of some segments, by partition, in the order of the offsets.
    fn live_slices(&self, of: &[SegmentId]) -> Result<Vec<(PartitionId, Slice)>, Error>;

    /// Frees segments without live slices. The work per call is bounded. Blocks for flushes, and
    /// appends go on meanwhile.
    fn free_segments(&self) -> Result<Freed, Error>;
    /// Evicts freed files that wait for reuse from the page cache, so that none of their bytes is
    /// lent to a socket any more. Removes files whose pages stay lent for too long. Called every
    /// second, from a thread that may block for some milliseconds.
    fn evict_spares(&self) -> Result<(), Error> {
        Ok(())
    }
    /// Limits the files that wait for reuse to `bytes_max`; the others are removed.
    fn limit_spares(&self, bytes_max: u64) -> Result<(), Error> {
        let _ = bytes_max;
        Ok(())
    }
    /// Reads about `bytes_max` more of the sealed segments, past the page cache. Afterwards every
    /// read skips the damage that was found. Called from a background thread.
    fn scrub(&self, cursor: &mut ScrubCursor, bytes_max: u64) -> Result<Scrubbed, Error> {
        let _ = (cursor, bytes_max);
        Ok(Scrubbed {
            is_done: true,
            ..Scrubbed::default()
        })
    }
    /// Returns the places that are known to be damaged.
    fn damaged(&self) -> Vec<Damaged> {
        Vec::new()
    }
    /// Brings pending view updates to the disk. Called from a background thread, every second or
    /// so, and when it is [wanted](Self::wants_view_flush). Appends go on meanwhile. A failure
    /// loses nothing and is retried by the next call.
    fn flush_views(&self) -> Result<(), Error>;
    /// Returns whether so many view updates are pending that they should be flushed now.
    fn wants_view_flush(&self) -> bool {
        false
    }
    /// Makes the next start rebuild the views. Called if an entry of the caller's views cannot be
    /// read.
    fn distrust_views(&self) {}
    fn usage(&self) -> Usage;
    /// Flushes the views and syncs. Nothing may be appended afterwards.
    fn close(&self) -> Result<(), Error>;
}

/// Derives view updates during recovery: it is given every batch that the views do not have yet.
/// The batches of a partition come in the order of their offsets.
pub trait Recovery {
    /// The updates join the views before the next call, which sees them through `views`.
    fn replay(
        &mut self,
        views: &dyn ViewReader,
        partition: PartitionId,
        batches: &[Batch],
        append_ms: i64,
    ) -> Vec<ViewUpdate>;
    /// Returns the removal of a dropped partition's keys.
    fn dropped(&mut self, views: &dyn ViewReader, partition: PartitionId) -> Vec<ViewUpdate>;
    /// Returns the version of the keys and values that `replay` makes. Views of another version are
    /// discarded, and all batches are replayed.
    fn views_version(&self) -> u8 {
        0
    }
    /// Whether `replay` looks into this partition's bodies. If it does not (user topics: the
    /// producer state is in the headers), a rebuild of all views reads headers only, and
    /// `Batch::body` may be empty. Control batches have their bodies in any case: these say how a
    /// transaction ended.
    fn needs_bodies(&self, partition: PartitionId) -> bool {
        let _ = partition;
        true
    }
    /// Returns whether the log of this partition ends at its last whole frame, even if heads of
    /// damaged frames behind it name later offsets. Return true if the caller acknowledges only
    /// synced commits, and cannot start with gaps in the offsets.
    fn ends_at_whole_frames(&self, partition: PartitionId) -> bool {
        let _ = partition;
        false
    }
}

/// A `Recovery` for callers without views.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoViews;

impl Recovery for NoViews {
    fn replay(
        &mut self,
        _: &dyn ViewReader,
        _: PartitionId,
        _: &[Batch],
        _: i64,
    ) -> Vec<ViewUpdate> {
        Vec::new()
    }

    fn dropped(&mut self, _: &dyn ViewReader, _: PartitionId) -> Vec<ViewUpdate> {
        Vec::new()
    }

    fn needs_bodies(&self, _: PartitionId) -> bool {
        false
    }
}

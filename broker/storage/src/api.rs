//! What the log promises: the types and the trait that the broker is written against.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use bytes::Bytes;
use sedge_protocol::batch::Batch;
use sedge_protocol::fetch::Piece;
use sedge_protocol::ids::{LeaderEpoch, Offset, PartitionId};

use crate::cold::{Cold, ColdSegment};
use crate::disk::SegmentFile;
use crate::disk::directory::io_error;
use crate::error::Error;
use crate::known_damage::Damaged;
use crate::limits;
use crate::room::Room;
use crate::scrub::{ScrubCursor, Scrubbed};

/// Number of a commit, from 1, grows by 1. 0 is "nothing yet".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

/// Number of a segment file, from 1, never used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u64);

/// One part of a commit.
#[derive(Clone, Debug)]
pub enum Entry {
    /// Batches of one partition whose offsets follow each other; offset and leader epoch are
    /// patched in the headers already. Empty is nothing.
    Append {
        partition: PartitionId,
        batches: Vec<Batch>,
    },
    /// Records before `offset` are gone (retention, DeleteRecords). Never moves back. Beyond the
    /// log's end it moves the end as well.
    LogStart {
        partition: PartitionId,
        offset: Offset,
    },
    /// The topic was deleted: the partition's records, its bounds, all of it. Its id is never used
    /// again. The caller's own views of the partition go by `updates`.
    Drop { partition: PartitionId },
    /// What the partition has from `base` to `next` is now what a cold segment has of it, if
    /// anything. Nothing, where the partition was dropped or all of it is below the log start.
    Replace {
        cold: Arc<Cold>,
        partition: PartitionId,
        base: Offset,
        next: Offset,
        /// That of the last batch before `next`, kept or not.
        leader_epoch: Option<LeaderEpoch>,
        /// Up to `next`, older values of keys were looked for.
        is_compacted: bool,
    },
}

/// A view that the caller derives from records and the store keeps. The index and the slices are
/// the store's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum View {
    Offsets = 1,
    Producers = 2,
    Epochs = 3,
    Aborted = 4,
    CompactionKeys = 5,
    Metadata = 6,
}

/// One change of a view; `None` removes the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewUpdate {
    pub view: View,
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
}

/// What is written, and becomes visible, at once.
///
/// `updates` are not in the log: they are what [`Recovery::replay`] would derive from `entries`.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    pub entries: Vec<Entry>,
    pub updates: Vec<ViewUpdate>,
    /// The broker's append clock, stored in the frame.
    pub append_ms: i64,
}

/// What a partition holds. An unknown partition holds 0..0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogBounds {
    pub log_start: Offset,
    /// The log end offset.
    pub next_offset: Offset,
    /// That of the last batch.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Up to here compaction has been. A hint: where it is lost, it begins anew.
    pub compacted_until: Offset,
}

/// A stretch of one partition's records in one segment: what retention counts and frees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    pub segment: SegmentId,
    pub first_offset: Offset,
    pub next_offset: Offset,
    /// Bytes of its batches.
    pub bytes: u64,
    /// The largest timestamp of its records.
    pub max_timestamp: i64,
    /// The append clock at its newest batch.
    pub append_ms: i64,
    /// And at its oldest, or, after a rebuild, somewhat later.
    pub oldest_ms: i64,
}

/// Whether a look may take as long as the disk does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    ForDisk,
    /// [`Error::NotCached`] instead. The index may still have to be read.
    Never,
}

/// How much [`LogStore::locate`] may give. Each bound is kept but for the first batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// Bytes of batches, wherever they are.
    pub bytes_max: usize,
    /// Bytes of memory that the chunks hold.
    pub memory_max: usize,
    /// Bytes of batches that are left where they are and are not in the page cache yet.
    pub cold_max: usize,
}

impl ReadLimits {
    /// At most `bytes_max` of batches, wherever they are.
    pub const fn of(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            memory_max: usize::MAX,
            cold_max: usize::MAX,
        }
    }
}

/// What [`LogStore::locate`] found.
#[derive(Clone, Debug, Default)]
pub struct Located {
    pub chunks: Vec<Chunk>,
    /// There is more, and `bytes_max` has room for it: `memory_max` or `cold_max` ended it.
    pub is_cut: bool,
}

/// One or more whole batches of a partition, in memory or where they lie.
#[derive(Clone, Debug)]
pub enum Chunk {
    Read(Bytes),
    Placed(Placed),
}

impl From<Bytes> for Chunk {
    fn from(bytes: Bytes) -> Self {
        Self::Read(bytes)
    }
}

impl Piece for Chunk {
    fn bytes(&self) -> usize {
        match self {
            Self::Read(bytes) => bytes.len(),
            Self::Placed(placed) => placed.bytes,
        }
    }

    fn in_memory(&self) -> Option<&[u8]> {
        match self {
            Self::Read(bytes) => Some(bytes),
            Self::Placed(_) => None,
        }
    }
}

impl Chunk {
    /// Bytes of memory that it holds.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.in_memory().map_or(0, <[u8]>::len)
    }

    /// The batches themselves.
    pub fn read(self) -> Result<Bytes, Error> {
        match self {
            Self::Read(bytes) => Ok(bytes),
            Self::Placed(placed) => placed.read(),
        }
    }
}

/// A place in a segment. It keeps the file, so its bytes stay when the segment is freed.
#[derive(Clone, Debug)]
pub struct Placed {
    file: Arc<dyn SegmentFile>,
    segment: SegmentId,
    position: u64,
    bytes: usize,
}

impl Placed {
    pub(crate) fn new(
        file: Arc<dyn SegmentFile>,
        segment: SegmentId,
        position: u64,
        bytes: usize,
    ) -> Self {
        Self {
            file,
            segment,
            position,
            bytes,
        }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The segment, and where in its file the bytes begin.
    pub fn place(&self) -> (SegmentId, u64) {
        (self.segment, self.position)
    }

    /// File and position, to send from; `None` where the disk is not one of the operating system's.
    pub fn file(&self) -> Option<(BorrowedFd<'_>, u64)> {
        Some((self.file.descriptor()?, self.position))
    }

    pub fn read(&self) -> Result<Bytes, Error> {
        self.read_part(0, self.bytes)
    }

    /// Has the operating system read it into memory.
    pub(crate) fn warm(&self) -> Result<(), Error> {
        let mut at = 0;
        while at < self.bytes {
            let bytes = (self.bytes - at).min(limits::WARM_READ_BYTES);
            self.read_part(at, bytes)?;
            at += bytes;
        }
        Ok(())
    }

    fn read_part(&self, at: usize, bytes: usize) -> Result<Bytes, Error> {
        let position = self.position + at as u64;
        let read = self
            .file
            .read_at(position, bytes)
            .map_err(|source| io_error("read a segment", source))?;
        if read.len() == bytes {
            Ok(read)
        } else {
            Err(Error::Corrupt {
                segment: self.segment,
                position,
                what: "the segment ends within a commit",
            })
        }
    }
}

/// What [`LogStore::free_segments`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freed {
    pub bytes: u64,
    pub segments: u32,
    /// The call stopped at its bound: call again.
    pub more: bool,
}

/// How much of a segment is of use: what a cleaner chooses by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentUse {
    pub id: SegmentId,
    pub file_bytes: u64,
    pub live_bytes: u64,
    pub live_slices: u64,
    pub is_cold: bool,
}

/// What the store takes up, for metrics and `DescribeLogDirs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of the segment files.
    pub disk_bytes: u64,
    /// Bytes of batches at or after their partition's log start, by slice.
    pub live_bytes: u64,
    pub segments: u64,
    /// Bytes of batches written since open.
    pub payload_bytes_written: u64,
    /// Bytes of segments written since open: payload, frame heads, segment headers, footers.
    pub log_bytes_written: u64,
    /// Of those, what went into cold segments.
    pub cleaned_bytes_written: u64,
    /// Bytes of keys and values handed to the views since open.
    pub view_bytes_written: u64,
    /// What the views take on disk.
    pub view_disk_bytes: u64,
    /// Bytes of segment files that [`LogStore::free_segments`] gives back as things stand.
    pub reclaimable_bytes: u64,
    /// Files of freed segments that wait to be used again, and their bytes.
    pub spare_segments: u64,
    pub spare_bytes: u64,
    /// Segments since open that were written over such a file.
    pub segments_recycled: u64,
    /// Where commits go; its space comes back only when it is full.
    pub active_segment: Option<SegmentId>,
    /// Size of a segment file before it is cut to what it holds.
    pub segment_bytes: u64,
    /// `None` where the volume does not say.
    pub volume_bytes: Option<u64>,
    pub volume_free_bytes: Option<u64>,
    /// Entries and bytes that wait for the next flush of the views.
    pub pending_entries: u64,
    pub pending_bytes: u64,
    /// The views could not be flushed last time; appends go on while there is room for what waits.
    pub degraded: bool,
    pub view_flushes: u64,
    pub syncs: u64,
    /// Commits, or parts of them, that reads found damaged and passed over since open.
    pub damaged: u64,
}

/// Reads of the caller's views: pending updates over what is flushed.
pub trait ViewReader {
    fn view_get(&self, view: View, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;
    /// Keys with this prefix in ascending order, from `from` on, as long as `each` says to go on.
    fn view_scan_from(
        &self,
        view: View,
        prefix: &[u8],
        from: &[u8],
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error>;
    /// Keys with this prefix in ascending order.
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

/// The log. One writer calls the methods marked so; everything else may be called from any thread
/// at any time.
pub trait LogStore: ViewReader + Send + Sync + 'static {
    /// Makes room for a commit: rolls and preallocates as needed. An [`append`](LogStore::append)
    /// of so much that follows finds it. How much of the segment's headroom it may take, so that a
    /// full disk can be emptied, its urgency says. Writer only.
    ///
    /// # Errors
    /// One that [`Error::is_refusal`] leaves the store as it was: ask again later.
    fn reserve(&self, room: Room) -> Result<(), Error>;
    /// One frame, one vectored write, atomic. Readable at once; durable after [`LogStore::sync`].
    /// Writes nothing that was not reserved. An error other than `Full` and `ReadOnly` (which come
    /// before anything is written, where nothing was reserved) is final.
    /// Writer only.
    fn append(&self, commit: Commit) -> Result<Sequence, Error>;
    /// fdatasync of everything appended before the call. A failure is final: the caller ends the
    /// process.
    fn sync(&self) -> Result<(), Error>;

    fn bounds(&self, partition: PartitionId) -> Result<LogBounds, Error>;
    /// Every partition that has bounds, in order.
    fn partitions(&self) -> Result<Vec<PartitionId>, Error>;
    /// The largest partition id that has bounds, or that a row named since the views were last
    /// made: one that was dropped counts too, and one that is
    /// [reserved](PartitionId::is_reserved) does not.
    fn newest_partition(&self) -> Result<Option<PartitionId>, Error>;
    /// Whole batches as stored, from the batch that contains `from`, of batches that begin below
    /// `until`, at most `bytes_max` but at least one batch where there is one. Each `Bytes` holds
    /// one or more whole batches. Empty at or after the end, and before the log start. The CRCs are
    /// not checked here.
    fn read(
        &self,
        partition: PartitionId,
        from: Offset,
        until: Offset,
        bytes_max: usize,
    ) -> Result<Vec<Bytes>, Error>;
    /// The same for what is only passed on: batches of large commits stay where they are. What the
    /// operating system does not have in memory is read into its page cache, through a small
    /// buffer, so that a place that cannot be read is found here.
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
        Ok(Located {
            chunks: read.into_iter().map(Chunk::Read).collect(),
            is_cut: false,
        })
    }
    /// The first batch that holds records at or after `from` and the log start, begins below
    /// `until`, and whose header has a largest timestamp at or after `timestamp`. Which of its
    /// records has such a time, if any that is still there, is for the caller to see.
    fn first_batch_at(
        &self,
        partition: PartitionId,
        timestamp: i64,
        from: Offset,
        until: Offset,
    ) -> Result<Option<Bytes>, Error>;
    /// Of the batches that hold records at or after `from` and the log start and begin below
    /// `until`: the first of those whose headers have the largest timestamp (ListOffsets -3).
    fn max_timestamp_batch(
        &self,
        partition: PartitionId,
        from: Offset,
        until: Offset,
    ) -> Result<Option<Bytes>, Error>;
    /// Oldest first, those that hold records at or after the log start.
    fn slices(&self, partition: PartitionId) -> Result<Vec<Slice>, Error>;
    /// Bytes of the partition's live slices.
    fn partition_bytes(&self, partition: PartitionId) -> Result<u64, Error>;

    /// Begins a cold segment, with room for `bytes` of batches. From a cleaner's thread.
    fn begin_cold(&self, bytes: u64) -> Result<Box<dyn ColdSegment + '_>, Error>;
    /// The segment that is written to: what is in it stays where it is.
    fn active_segment(&self) -> Option<SegmentId>;
    /// Ends the active segment, where anything is in it: the next commit begins another one. Writer
    /// only.
    fn roll(&self) -> Result<(), Error>;
    /// The segments that are full, or cold.
    fn segments(&self) -> Result<Vec<SegmentUse>, Error>;
    /// What lives in some of them, by partition, in the order of the offsets.
    fn live_slices(&self, of: &[SegmentId]) -> Result<Vec<(PartitionId, Slice)>, Error>;

    /// Frees segments without live slices. Bounded work per call. Writer only.
    fn free_segments(&self) -> Result<Freed, Error>;
    /// Takes freed files that wait to be used again out of the page cache, so that none of their
    /// bytes is lent any more, and removes those where that does not come to an end. Call it every
    /// second, from a thread that may wait for some milliseconds.
    fn evict_spares(&self) -> Result<(), Error> {
        Ok(())
    }
    /// Files that wait to be used again take at most so much; what is more goes.
    fn limit_spares(&self, bytes_max: u64) -> Result<(), Error> {
        let _ = bytes_max;
        Ok(())
    }
    /// Reads on through the sealed segments, about `bytes_max` of them, without taking the place of
    /// what is cached. What is damaged is passed over by every read from then on. From a background
    /// thread.
    fn scrub(&self, cursor: &mut ScrubCursor, bytes_max: u64) -> Result<Scrubbed, Error> {
        let _ = (cursor, bytes_max);
        Ok(Scrubbed {
            is_done: true,
            ..Scrubbed::default()
        })
    }
    /// The places that are known to be damaged.
    fn damaged(&self) -> Vec<Damaged> {
        Vec::new()
    }
    /// Brings pending view updates to disk. From a background thread at intervals (a second or so);
    /// append does it by itself where much is pending. A failure loses nothing and is retried by
    /// the next call.
    fn flush_views(&self) -> Result<(), Error>;
    fn usage(&self) -> Usage;
    /// Flushes the views and syncs. Nothing may be appended afterwards.
    fn close(&self) -> Result<(), Error>;
}

/// What recovery hands to the caller: every batch that the views have not seen, so that the caller
/// derives their updates again. Within a partition in offset order.
pub trait Recovery {
    /// The updates join the views before the next call, which sees them through `views`.
    fn replay(
        &mut self,
        views: &dyn ViewReader,
        partition: PartitionId,
        batches: &[Batch],
        append_ms: i64,
    ) -> Vec<ViewUpdate>;
    /// The partition was dropped: its keys in the views go.
    fn dropped(&mut self, views: &dyn ViewReader, partition: PartitionId) -> Vec<ViewUpdate>;
    /// Whether `replay` looks into this partition's bodies. Where it does not (user topics: the
    /// producer state is in the headers), a rebuild of all views reads headers only and
    /// `Batch::body` may be empty.
    fn needs_bodies(&self, partition: PartitionId) -> bool {
        let _ = partition;
        true
    }
}

/// For who keeps no views of the caller's own.
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

/// How to open.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size of a segment file: 16 MiB in the small profile, 64 MiB otherwise.
    pub segment_bytes: u64,
    /// Block cache of the views.
    pub cache_bytes: u64,
    /// Pending view updates beyond this are flushed by `append` itself.
    pub views_flush_bytes: usize,
    /// Files of freed segments that are kept to be used again.
    pub spare_segments_max: usize,
    /// The cluster that the directory must belong to. A new directory takes it, or makes up one.
    pub cluster_id: Option<String>,
    pub node_id: i32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 16 << 20,
            cache_bytes: 1 << 20,
            views_flush_bytes: 512 << 10,
            spare_segments_max: limits::SPARE_SEGMENTS_MAX,
            cluster_id: None,
            node_id: 0,
        }
    }
}

/// Whose data this is: what `meta.toml` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub cluster_id: String,
    pub node_id: i32,
}

/// A last frame that was cut because it was not whole: nothing that was synced is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TornTail {
    pub segment: SegmentId,
    pub position: u64,
    pub bytes: u64,
}

/// Offsets of a partition that a hole took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostRange {
    pub partition: PartitionId,
    pub base_offset: Offset,
    pub next_offset: Offset,
}

/// Bytes that should be frames and are not, with valid frames behind them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    pub segment: SegmentId,
    pub position: u64,
    pub bytes: u64,
    /// What was in it, as far as its heads could be read or what follows tells.
    pub lost: Vec<LostRange>,
}

/// What opening found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Commits after the views' applied sequence.
    pub frames_replayed: u64,
    pub torn_tail: Option<TornTail>,
    pub holes: Vec<Hole>,
    /// Segments whose header is damaged, and which are read by what their frames say.
    pub damaged_headers: Vec<SegmentId>,
    /// Cold segments of which the footer is damaged, and which have all of their frames.
    pub damaged_footers: Vec<SegmentId>,
    /// The views were missing, unreadable or ahead of the log, and were made anew.
    pub views_rebuilt: bool,
    /// The log ended before what the views had seen: a disk that did not keep what it had synced.
    pub lost_tail: bool,
    /// The largest append clock of the commits found; `None` in a new log.
    pub newest_append_ms: Option<i64>,
    /// The last segment was not closed in order, in a file that had held another one: what may have
    /// been behind its last commit, unsynced, cannot be told.
    pub tail_unknown: bool,
    pub ms: u64,
}

//! Space figures: of segments, of the volume, and since the start.

use crate::ids::SegmentId;

/// The result of [`LogStore::free_segments`](crate::LogStore::free_segments).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freed {
    pub bytes: u64,
    pub segments: u32,
    /// The call stopped at its bound: call again.
    pub more: bool,
}

/// The live share of a segment, by which a cleaner chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentUse {
    pub id: SegmentId,
    pub file_bytes: u64,
    pub live_bytes: u64,
    pub live_slices: u64,
    pub is_cold: bool,
}

/// The space that the store takes, for metrics and `DescribeLogDirs`.
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
    /// Bytes of those that went into cold segments.
    pub cleaned_bytes_written: u64,
    /// Bytes of keys and values handed to the views since open.
    pub view_bytes_written: u64,
    /// Bytes that the views take on disk.
    pub view_disk_bytes: u64,
    /// Bytes of segment files that [`LogStore::free_segments`](crate::LogStore::free_segments)
    /// would free now.
    pub reclaimable_bytes: u64,
    /// Files of freed segments that wait for reuse, and their bytes.
    pub spare_segments: u64,
    pub spare_bytes: u64,
    /// Segments since open that reused such a file.
    pub segments_recycled: u64,
    /// The active segment; its space can be freed only after it is full.
    pub active_segment: Option<SegmentId>,
    /// Size of a segment file before it is cut to its contents.
    pub segment_bytes: u64,
    /// `None` if the volume does not report it.
    pub volume_bytes: Option<u64>,
    pub volume_free_bytes: Option<u64>,
    /// Entries and bytes that wait for the next flush of the views.
    pub pending_entries: u64,
    pub pending_bytes: u64,
    /// The last flush of the views failed; appends continue while there is room for pending
    /// updates.
    pub degraded: bool,
    pub view_flushes: u64,
    pub syncs: u64,
    /// Commits, or parts of them, that reads found damaged and skipped since open.
    pub damaged: u64,
}

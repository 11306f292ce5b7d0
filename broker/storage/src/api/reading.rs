//! Types of reads: the contents of a partition, the limits of a read, and its result.

use bytes::Bytes;
use sedge_protocol::ids::{LeaderEpoch, Offset};
use sedge_protocol::parts::Piece;

use crate::disk::Placed;
use crate::error::Error;
use crate::ids::SegmentId;

/// The offsets that a partition holds. An unknown partition holds 0..0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogBounds {
    pub log_start: Offset,
    /// The log end offset.
    pub next_offset: Offset,
    /// Leader epoch of the last batch.
    pub leader_epoch: Option<LeaderEpoch>,
    /// The offset up to which the partition was compacted. A hint: if it is lost, compaction begins
    /// anew.
    pub compacted_until: Offset,
}

/// A partition's part of one segment: the unit that retention counts and frees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    pub segment: SegmentId,
    pub first_offset: Offset,
    pub next_offset: Offset,
    /// Bytes of its batches.
    pub bytes: u64,
    /// The largest timestamp of its records.
    pub max_timestamp: i64,
    /// Append clock of its newest batch.
    pub append_ms: i64,
    /// Append clock of its oldest batch; after a rebuild somewhat later.
    pub oldest_ms: i64,
}

/// Whether a read may wait for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    ForDisk,
    /// Returns [`Error::NotCached`] instead. The index may still have to be read.
    Never,
}

/// Bounds of what [`LogStore::locate`](crate::LogStore::locate) returns. The first batch may exceed
/// each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// Bytes of batches, in memory or as places.
    pub bytes_max: usize,
    /// Bytes of memory that the chunks hold.
    pub memory_max: usize,
    /// Bytes of batches that are returned as places and are not in the page cache yet.
    pub cold_max: usize,
    /// Whether batches may be returned as places. Otherwise all of them are read into memory.
    pub takes_places: bool,
}

impl ReadLimits {
    /// Returns limits of `bytes_max` bytes of batches, in memory or as places.
    pub const fn of(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            memory_max: usize::MAX,
            cold_max: usize::MAX,
            takes_places: true,
        }
    }
}

/// The result of [`LogStore::locate`](crate::LogStore::locate).
#[derive(Clone, Debug, Default)]
pub struct Located {
    pub chunks: Vec<Chunk>,
    /// The offset after the batches; 0 if there are none.
    pub next_offset: Offset,
    /// `memory_max` or `cold_max` ended the read: there is more, and `bytes_max` has room for it.
    pub is_cut: bool,
}

/// One or more whole batches of a partition, in memory or as a place in a file.
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
            Self::Placed(placed) => placed.bytes(),
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
    /// Returns the bytes of memory that the chunk holds.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.in_memory().map_or(0, <[u8]>::len)
    }

    /// Returns the batches themselves. Blocks if they are still on the disk.
    pub fn read(self) -> Result<Bytes, Error> {
        match self {
            Self::Read(bytes) => Ok(bytes),
            Self::Placed(placed) => placed.read(),
        }
    }
}

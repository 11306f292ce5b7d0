//! What is read: what a partition holds, how much of it is wanted, and what was found.

use bytes::Bytes;
use sedge_protocol::fetch::Piece;
use sedge_protocol::ids::{LeaderEpoch, Offset};

use crate::disk::Placed;
use crate::error::Error;
use crate::ids::SegmentId;

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

//! What a link and its caller exchange.

use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{Offset, PartitionId};

use crate::backoff::Backoff;

/// Bounds of a link's memory and waits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes in flight, over all partitions.
    pub window_bytes: usize,
    /// Bytes of one read.
    pub read_bytes: usize,
    /// How long a partition may fail before it is held, ms.
    pub held_after_ms: u64,
    pub backoff: Backoff,
}

/// The position of a partition when a link opens it.
#[derive(Clone, Copy, Debug)]
pub struct Position {
    /// The last committed cursor; `None` begins at the log start.
    pub cursor: Option<Offset>,
    /// The cursor is from here, and the upstream's transactions do not have it yet.
    pub is_moved: bool,
    pub log_start: Offset,
    pub high_watermark: Offset,
}

/// A read to perform: batches of `partition` from `from` on, below `until`; return at most
/// `batches_max` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    pub partition: PartitionId,
    pub generation: u32,
    pub from: Offset,
    pub until: Offset,
    pub bytes_max: usize,
    pub batches_max: usize,
}

/// A batch to send to the partition's upstream twin, behind all that came out before it.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub partition: PartitionId,
    pub generation: u32,
    /// The offset in the local log; it names the batch in [`Link::handle_outcome`].
    pub base: Offset,
    pub batch: Batch,
}

/// Totals since the link began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub sent_records: u64,
    pub sent_bytes: u64,
    /// Batches that were sent again.
    pub retries: u64,
    pub lost_to_retention: u64,
    /// Records of local topics that were deleted before the records were acknowledged.
    pub lost_to_deletion: u64,
    /// Records that the cursor was moved past from outside.
    pub skipped: u64,
    /// Transactions that were committed upstream.
    pub committed: u64,
    /// Transactions whose records were sent again.
    pub aborted: u64,
}

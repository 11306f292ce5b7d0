//! What a link and its caller exchange.

use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_protocol::records::Compression;

use super::BATCHES_IN_FLIGHT_MAX;
use super::spread::{Spread, Target};
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
    /// How long new records of a partition wait for others that go with them, ms.
    pub linger_ms: u64,
    pub packing: Packing,
    pub backoff: Backoff,
}

/// How the batches of a link are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packing {
    /// Bytes of stored batches that become one; 0 joins none.
    pub batch_bytes: usize,
    /// The codec for records that were produced without compression; `None` leaves them as they
    /// are.
    pub compression: Option<Compression>,
}

/// The position of a partition when a link opens it.
#[derive(Clone, Copy, Debug)]
pub struct Position {
    /// The last committed cursor; `None` begins at the log start.
    pub cursor: Option<Offset>,
    /// The cursor is from here, and the upstream's transactions do not have it yet.
    pub is_moved: bool,
    /// They should: the cursor here only follows them. One that they get meanwhile, from another
    /// instance of the link, wins.
    pub is_forgotten: bool,
    pub log_start: Offset,
    pub high_watermark: Offset,
}

/// A read to perform: batches of `partition` from `from` on, below `until`;
/// [`pack`](super::pack) makes at most `batches_max` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    pub partition: PartitionId,
    pub generation: u32,
    pub from: Offset,
    pub until: Offset,
    pub bytes_max: usize,
    pub batches_max: usize,
    /// How the batches are packed.
    pub packing: Packing,
    /// Batches below this offset are sent as they are stored.
    pub apart_until: Offset,
    /// Batches whose records are older than this timestamp are left out.
    pub late_before: Option<i64>,
    /// Where the records go, if not all of them go to one partition: [`Prepared::spread`] splits
    /// the batches.
    ///
    /// [`Prepared::spread`]: super::Prepared::spread
    pub spread: Option<Spread>,
    /// The ends of batches that the upstream may have under the sequences to come, rising: each
    /// of them is sent again with the same records.
    pub ends: [Option<Offset>; BATCHES_IN_FLIGHT_MAX],
}

/// A batch to send to `target`, behind all that came out before it.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub partition: PartitionId,
    pub generation: u32,
    /// The offset in the local log; it names the batch in [`Link::handle_outcome`]. A joined batch
    /// has the offset of its first record.
    pub base: Offset,
    pub target: Target,
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
    /// Records that were left out because their topic's deadline was over.
    pub late: u64,
    /// Records that the cursor was moved past from outside.
    pub skipped: u64,
    /// Transactions that were committed upstream.
    pub committed: u64,
    /// Transactions whose records were sent again.
    pub aborted: u64,
}

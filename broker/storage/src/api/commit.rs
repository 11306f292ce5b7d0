//! Commits: their parts, and the changes of views that go with them.

use std::sync::Arc;

use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{LeaderEpoch, Offset, PartitionId};

use super::cold::Cold;

/// One part of a commit.
#[derive(Clone, Debug)]
pub enum Entry {
    /// Batches of one partition whose offsets follow each other; offset and leader epoch are
    /// already patched in the headers. No batches append nothing.
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
    /// The topic was deleted: removes the partition's records and bounds. Its id is never used
    /// again. The caller's own views of the partition are removed by `updates`.
    Drop { partition: PartitionId },
    /// Replaces what the partition has from `base` to `next` by what a cold segment has of it, if
    /// anything. Nothing happens if the partition was dropped or all of the stretch is below the
    /// log start.
    Replace {
        cold: Arc<Cold>,
        partition: PartitionId,
        base: Offset,
        next: Offset,
        /// Leader epoch of the last batch before `next`, kept or not.
        leader_epoch: Option<LeaderEpoch>,
        /// Whether records superseded by newer ones of the same key were removed up to `next`.
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

/// A unit that is written, and becomes visible, at once.
///
/// `updates` are not in the log: [`Recovery::replay`](crate::Recovery::replay) would derive them
/// from `entries`.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    pub entries: Vec<Entry>,
    pub updates: Vec<ViewUpdate>,
    /// The broker's append clock, stored in the frame.
    pub append_ms: i64,
}

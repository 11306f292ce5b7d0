//! The readers' view of each partition in use: its log start and its high watermark, published by
//! the writer thread when the promised durability is reached.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::{Error, LogBounds, LogStore};

use super::followers::{FollowedBy, Follower};

/// The published end of a partition.
#[derive(Debug)]
pub struct Partition {
    pub id: PartitionId,
    log_start: AtomicI64,
    high_watermark: AtomicI64,
    pub(super) followers: FollowedBy,
}

impl Partition {
    pub(super) fn new(id: PartitionId, bounds: &LogBounds) -> Self {
        Self {
            id,
            log_start: AtomicI64::new(bounds.log_start.get()),
            high_watermark: AtomicI64::new(bounds.next_offset.get()),
            followers: FollowedBy::default(),
        }
    }

    pub fn log_start(&self) -> Offset {
        Offset(self.log_start.load(Ordering::Acquire))
    }

    /// Returns the offset after the last record that consumers may see.
    pub fn high_watermark(&self) -> Offset {
        Offset(self.high_watermark.load(Ordering::Acquire))
    }

    /// KIP-98: returns the offset below which every transaction is decided. There are no
    /// transactions yet, so it is the high watermark.
    pub fn last_stable_offset(&self) -> Offset {
        self.high_watermark()
    }

    /// Wakes `follower` when this partition grows, from now until the partition is dropped.
    pub fn add_follower(&self, follower: &Follower) {
        follower.follow(&self.followers);
    }

    pub(crate) fn publish_log_start(&self, offset: Offset) {
        self.log_start.fetch_max(offset.get(), Ordering::AcqRel);
    }

    pub(crate) fn publish_high_watermark(&self, offset: Offset) {
        self.high_watermark
            .fetch_max(offset.get(), Ordering::AcqRel);
    }
}

/// The partitions in use. The first use reads the store.
///
/// **Invariant:** the writer adds a partition to the table before it appends to it, so a reader
/// that finds none may take the store's end as the high watermark.
#[derive(Debug, Default)]
pub struct Partitions(RwLock<HashMap<PartitionId, Arc<Partition>>>);

impl Partitions {
    /// Returns the partition's published end.
    ///
    /// # Errors
    /// The store cannot read the partition's bounds.
    pub fn get(&self, store: &dyn LogStore, id: PartitionId) -> Result<Arc<Partition>, Error> {
        let found = self
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
            .cloned();
        if let Some(partition) = found {
            return Ok(partition);
        }
        // Read before taking the lock, which every produce and fetch takes, since the bounds may
        // have to be read from disk. They lack what was appended meanwhile; but then the writer has
        // already added the partition to the table.
        let bounds = store.bounds(id)?;
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let partition = table
            .entry(id)
            .or_insert_with(|| Arc::new(Partition::new(id, &bounds)));
        Ok(Arc::clone(partition))
    }

    /// Forgets a deleted partition. Returns it if it was in use.
    pub fn remove(&self, id: PartitionId) -> Option<Arc<Partition>> {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&id)
    }
}

//! What readers know of each partition that has been touched: its log start and its high watermark,
//! published by the writer thread when the promised durability holds.

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

    /// The offset after the last record that consumers may see.
    pub fn high_watermark(&self) -> Offset {
        Offset(self.high_watermark.load(Ordering::Acquire))
    }

    /// KIP-98: below it every transaction is decided. There are no transactions yet, so it is the
    /// high watermark.
    pub fn last_stable_offset(&self) -> Offset {
        self.high_watermark()
    }

    /// Wakes `follower` from here on when this partition grows, until it is dropped.
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

/// The touched partitions. The first touch reads the store; nothing is done for the others.
///
/// **Invariant:** the writer has a partition in the table before it appends to it, so a reader that
/// finds none may take the store's end as the high watermark.
#[derive(Debug, Default)]
pub struct Partitions(RwLock<HashMap<PartitionId, Arc<Partition>>>);

impl Partitions {
    /// The partition's published end.
    ///
    /// # Errors
    /// The store cannot read its bounds.
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
        // Before the lock, which every produce and fetch takes, since it may have to be read. What
        // was appended meanwhile is not in it: then the writer has put the partition in the table.
        let bounds = store.bounds(id)?;
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let partition = table
            .entry(id)
            .or_insert_with(|| Arc::new(Partition::new(id, &bounds)));
        Ok(Arc::clone(partition))
    }

    /// Forgets a deleted partition. Returns it if it was touched.
    pub fn remove(&self, id: PartitionId) -> Option<Arc<Partition>> {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&id)
    }
}

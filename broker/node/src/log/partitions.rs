//! The readers' view of each partition in use: its log start, its high watermark and its last
//! stable offset, published by the writer thread when the promised durability is reached.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use sedge_core::log::derive::prefix;
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::{Error, LogBounds, LogStore, View};

use super::followers::{FollowedBy, Follower};
use super::views::each_producer;

/// The published end of a partition.
#[derive(Debug)]
pub struct Partition {
    pub id: PartitionId,
    log_start: AtomicI64,
    high_watermark: AtomicI64,
    last_stable_offset: AtomicI64,
    /// The marker of the newest aborted transaction, or -1; `i64::MAX` if there is one somewhere.
    newest_aborted: AtomicI64,
    pub(super) followers: FollowedBy,
}

impl Partition {
    fn load(store: &dyn LogStore, id: PartitionId) -> Result<Self, Error> {
        let bounds = store.bounds(id)?;
        if bounds == LogBounds::default() {
            return Ok(Self::new(id, &bounds, bounds.next_offset, false));
        }
        let mut stable = bounds.next_offset;
        let known = each_producer(store, id, |_, entry| {
            stable = entry.open_since().map_or(stable, |first| first.min(stable));
        });
        if known.is_err() {
            // The next start rebuilds the views. Until then, what is decided is not known.
            stable = bounds.log_start;
        }
        let mut has_aborted = false;
        let prefix = prefix(id);
        store.view_scan_from(View::Aborted, &prefix, &prefix, &mut |_, _| {
            has_aborted = true;
            false
        })?;
        let stable = stable.max(bounds.log_start);
        Ok(Self::new(id, &bounds, stable, has_aborted))
    }

    pub(super) fn new(
        id: PartitionId,
        bounds: &LogBounds,
        stable: Offset,
        has_aborted: bool,
    ) -> Self {
        let newest_aborted = if has_aborted { i64::MAX } else { -1 };
        Self {
            id,
            log_start: AtomicI64::new(bounds.log_start.get()),
            high_watermark: AtomicI64::new(bounds.next_offset.get()),
            last_stable_offset: AtomicI64::new(stable.get()),
            newest_aborted: AtomicI64::new(newest_aborted),
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

    /// KIP-98: returns the offset below which every transaction is decided. Read it before the high
    /// watermark, which is never below it.
    pub fn last_stable_offset(&self) -> Offset {
        Offset(self.last_stable_offset.load(Ordering::Acquire))
    }

    /// Returns false if no aborted transaction ends at or behind `from`.
    pub fn may_have_aborted(&self, from: Offset) -> bool {
        self.newest_aborted.load(Ordering::Acquire) >= from.get()
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

    /// Call this after the high watermark is published, and after the aborted transactions.
    pub(crate) fn publish_last_stable_offset(&self, offset: Offset) {
        self.last_stable_offset
            .fetch_max(offset.get(), Ordering::AcqRel);
    }

    pub(crate) fn publish_aborted(&self, marker: Offset) {
        self.newest_aborted
            .fetch_max(marker.get(), Ordering::AcqRel);
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
        let loaded = Partition::load(store, id)?;
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let partition = table.entry(id).or_insert_with(|| Arc::new(loaded));
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

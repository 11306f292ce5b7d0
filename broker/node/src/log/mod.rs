//! The log as this node publishes it: the readable part of each partition, and the waiters to wake
//! when it grows.
//!
//! Only the writer changes it. All others read: handlers, coordinators, links, plugins, the cleaner
//! and the upkeep take an `Arc<Log>`, and in addition a [`Writer`](crate::writer::Writer) if they
//! write.
//!
//! | module | contents |
//! | --- | --- |
//! | `partitions` | log start and high watermark of each partition |
//! | `followers` | tasks that wait for growth of some partitions |
//! | `purgatory` | fetches that wait for bytes |
//! | `published` | the metadata image |
//! | `metadata_growth` | when `__cluster_metadata` needs a snapshot |
//! | `storage_state` | whether the disk accepts writes |
//! | `space` | freeing of segments without live data |
//! | `clock` | the wall clock and the append clock |
//! | `views` | views that are derived from batches |
//! | `transactions` | the aborted transactions of a partition |

pub mod clock;
pub mod followers;
pub mod metadata_growth;
pub mod partitions;
pub mod published;
pub mod purgatory;
mod space;
pub mod storage_state;
pub mod transactions;
pub mod views;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use event_listener::{Event, EventListener};
use sedge_core::config::TopicConfig;
use sedge_core::metadata::Image;
use sedge_protocol::ids::PartitionId;
use sedge_storage::{Error, LogStore};

use crate::config::Durability;
use crate::metrics::Metrics;
use clock::Clock;
use followers::{Follower, Followers};
use metadata_growth::MetadataGrowth;
use partitions::{Partition, Partitions};
use published::Published;
use purgatory::Parking;
use storage_state::StorageState;

/// The log as this node publishes it; see the module.
pub struct Log {
    pub store: Arc<dyn LogStore>,
    pub metadata: Published<Image>,
    pub clock: Clock,
    pub metrics: Arc<Metrics>,
    pub storage: StorageState,
    pub metadata_growth: MetadataGrowth,
    /// Fetches that wait for bytes.
    pub parking: Arc<Parking>,
    partitions: Partitions,
    followers: Arc<Followers>,
    /// Notified when log starts moved or partitions were dropped: some segment may be sparse now.
    shrunk: Event,
    /// Durability of topics that do not set their own.
    durability: Durability,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}

impl Log {
    pub fn new(
        store: Arc<dyn LogStore>,
        image: Image,
        clock: Clock,
        durability: Durability,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            store,
            metadata: Published::new(image),
            clock,
            metrics,
            storage: StorageState::default(),
            metadata_growth: MetadataGrowth::default(),
            parking: Arc::default(),
            partitions: Partitions::default(),
            followers: Arc::default(),
            shrunk: Event::new(),
            durability,
        }
    }

    /// Returns the published end of a partition.
    ///
    /// # Errors
    /// The store cannot read the partition's bounds.
    pub fn partition(&self, id: PartitionId) -> Result<Arc<Partition>, Error> {
        self.partitions.get(&*self.store, id)
    }

    /// Returns whether a write to the topic is flushed before it is acknowledged.
    pub fn is_sync(&self, topic: &TopicConfig) -> bool {
        topic
            .is_sync()
            .unwrap_or(self.durability == Durability::Sync)
    }

    /// Returns the interval between two rounds of a background task, from a key in milliseconds.
    pub fn interval(&self, key: &str) -> Duration {
        let ms = self.metadata.load().defaults().number(key);
        Duration::from_millis(u64::try_from(ms).unwrap_or(0).max(1))
    }

    /// Creates a follower, which follows no partition yet.
    pub fn follower(&self) -> Follower {
        Follower::new(Arc::clone(&self.followers))
    }

    /// Returns a listener for the next change of the metadata. Listen first, then look.
    pub fn image_changed(&self) -> EventListener {
        self.metadata.listen()
    }

    /// Returns a listener for moved log starts and dropped partitions. Listen first, then look.
    pub fn shrunk(&self) -> EventListener {
        self.shrunk.listen()
    }

    /// Wakes the fetches and followers of a partition of which the writer published `bytes` more.
    pub fn appended(&self, partition: &Partition, bytes: usize) {
        self.parking.wake(partition.id, bytes);
        self.followers.wake(&partition.followers);
    }

    /// Forgets a partition that the writer dropped, and wakes its fetches and followers.
    pub fn dropped(&self, id: PartitionId) {
        let partition = self.partitions.remove(id);
        self.parking.wake(id, 0);
        if let Some(partition) = partition {
            self.followers.wake(&partition.followers);
        }
    }

    /// Notifies that the writer moved log starts or dropped partitions.
    pub fn has_shrunk(&self) {
        self.shrunk.notify(usize::MAX);
    }
}

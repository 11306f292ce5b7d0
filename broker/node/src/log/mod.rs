//! The log as this node publishes it: what readers see of each partition, and whom to wake when
//! they can see more.
//!
//! The writer alone changes it. Everyone else reads: handlers, coordinators, links, plugins, the
//! cleaner and the upkeep take an `Arc<Log>`, and a [`Writer`](crate::writer::Writer) beside it if
//! they write.
//!
//! | module | what |
//! | --- | --- |
//! | `partitions` | log start and high watermark of each partition |
//! | `followers` | tasks that wait for growth of some partitions |
//! | `purgatory` | fetches that wait for bytes |
//! | `published` | the metadata image |
//! | `metadata_growth` | when `__cluster_metadata` needs a snapshot |
//! | `storage_state` | whether the disk takes writes |
//! | `clock` | the wall clock and the append clock |
//! | `views` | views that follow from batches |

pub mod clock;
pub mod followers;
pub mod metadata_growth;
pub mod partitions;
pub mod published;
pub mod purgatory;
pub mod storage_state;
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

/// See the module.
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
    /// Log starts moved, or partitions went: some segment may be sparse now.
    shrunk: Event,
    /// Of topics that do not say.
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

    /// The published end of a partition.
    ///
    /// # Errors
    /// The store cannot read its bounds.
    pub fn partition(&self, id: PartitionId) -> Result<Arc<Partition>, Error> {
        self.partitions.get(&*self.store, id)
    }

    /// Whether a write to the topic is flushed before it is acknowledged.
    pub fn is_sync(&self, topic: &TopicConfig) -> bool {
        topic
            .is_sync()
            .unwrap_or(self.durability == Durability::Sync)
    }

    /// How long lies between two rounds of something, by a key in milliseconds.
    pub fn interval(&self, key: &str) -> Duration {
        let ms = self.metadata.load().defaults().number(key);
        Duration::from_millis(u64::try_from(ms).unwrap_or(0).max(1))
    }

    /// A follower of no partition yet.
    pub fn follower(&self) -> Follower {
        Follower::new(Arc::clone(&self.followers))
    }

    /// Hears of the next change of the metadata. Listen first, then look.
    pub fn image_changed(&self) -> EventListener {
        self.metadata.listen()
    }

    /// Hears when log starts move or partitions go. Listen first, then look.
    pub fn shrunk(&self) -> EventListener {
        self.shrunk.listen()
    }

    /// The writer published `bytes` more of a partition: wakes its fetches and followers.
    pub fn appended(&self, partition: &Partition, bytes: usize) {
        self.parking.wake(partition.id, bytes);
        self.followers.wake(&partition.followers);
    }

    /// The writer dropped a partition: forgets it, and has its fetches and followers look again.
    pub fn dropped(&self, id: PartitionId) {
        let partition = self.partitions.remove(id);
        self.parking.wake(id, 0);
        if let Some(partition) = partition {
            self.followers.wake(&partition.followers);
        }
    }

    /// The writer moved log starts or dropped partitions.
    pub fn has_shrunk(&self) {
        self.shrunk.notify(usize::MAX);
    }
}

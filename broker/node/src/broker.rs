//! The broker: what all handlers share, and nothing that decides.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use event_listener::{Event, EventListener};
use log::info;
use sedge_core::config::TopicConfig;
use sedge_core::fetch::session::Sessions;
use sedge_core::groups::Coordinator;
use sedge_core::metadata::{Command, Image};
use sedge_protocol::ErrorCode;
use sedge_protocol::ids::{NodeId, PartitionId};
use sedge_protocol::kafka::KafkaUuid;
use sedge_storage::LogStore;

use crate::config::{Config, Durability};
use crate::coordinator::Groups;
use crate::disk_work::DiskWork;
use crate::limits::DISK_WORK_AT_ONCE;
use crate::log::clock::Clock;
use crate::log::partitions::Partitions;
use crate::log::published::Published;
use crate::log::purgatory::Parking;
use crate::log::storage_state::StorageState;
use crate::metrics::Metrics;
use crate::net::Net;
use crate::openers::Openers;
use crate::plugins::Plugins;
use crate::producer_ids::ProducerIds;
use crate::runtime::Runtime;
use crate::told::Told;
use crate::upkeep::logbook::Logbook;
use crate::writer::Writer;

/// Everything that lives as long as the process serves.
pub struct Broker {
    pub config: Config,
    pub node_id: NodeId,
    pub cluster_id: String,
    pub runtime: Runtime,
    pub clock: Clock,
    pub logbook: Logbook,
    pub store: Arc<dyn LogStore>,
    pub metadata: Published<Image>,
    pub partitions: Partitions,
    pub disk_work: DiskWork,
    pub writer: Writer,
    pub net: Arc<Net>,
    pub openers: Arc<Openers>,
    pub parking: Arc<Parking>,
    pub fetch_sessions: Mutex<Sessions>,
    pub producer_ids: ProducerIds,
    /// Clients that asked for transactions.
    pub told_transactions: Told,
    pub groups: Groups,
    pub plugins: Plugins,
    pub metrics: Arc<Metrics>,
    /// A high watermark moved, some partition's.
    pub grown: Event,
    /// Log starts moved, or partitions went: some segment may be sparse now.
    pub shrunk: Event,
    pub storage: StorageState,
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker")
            .field("node_id", &self.node_id)
            .finish_non_exhaustive()
    }
}

/// Why the broker does not do what it was asked, in the terms of most responses.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    pub code: ErrorCode,
    pub message: String,
}

impl Refusal {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// The broker is shutting down.
    pub fn stopping() -> Self {
        Self::new(
            ErrorCode::BrokerNotAvailable,
            "The broker is shutting down.",
        )
    }
}

/// What a [`Broker`] is made of.
pub struct Parts {
    pub config: Config,
    pub cluster_id: String,
    pub runtime: Runtime,
    pub clock: Clock,
    pub logbook: Logbook,
    pub store: Arc<dyn LogStore>,
    pub image: Image,
    pub groups: Coordinator,
    pub writer: Writer,
    pub plugins: Plugins,
    pub metrics: Arc<Metrics>,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parts")
    }
}

impl Broker {
    pub fn new(parts: Parts) -> Self {
        let Parts {
            config,
            cluster_id,
            runtime,
            clock,
            logbook,
            store,
            image,
            groups,
            writer,
            plugins,
            metrics,
        } = parts;
        Self {
            node_id: NodeId(config.node_id),
            cluster_id,
            net: Net::new(&config, Arc::clone(&metrics), runtime.clone()),
            runtime,
            clock,
            logbook,
            store,
            metadata: Published::new(image),
            partitions: Partitions::default(),
            disk_work: DiskWork::new(DISK_WORK_AT_ONCE),
            writer,
            openers: Arc::default(),
            parking: Arc::default(),
            fetch_sessions: Mutex::new(Sessions::new(crate::limits::FETCH_SESSIONS_MAX)),
            producer_ids: ProducerIds::default(),
            told_transactions: Told::default(),
            groups: Groups::new(groups),
            plugins,
            metrics,
            grown: Event::new(),
            shrunk: Event::new(),
            storage: StorageState::default(),
            config,
        }
    }

    /// Whether a write to the topic is flushed before it is acknowledged.
    pub fn is_sync(&self, topic: &TopicConfig) -> bool {
        topic
            .is_sync()
            .unwrap_or(self.config.durability == Durability::Sync)
    }

    /// How long lies between two rounds of something, by a key in milliseconds.
    pub fn interval(&self, key: &str) -> Duration {
        let ms = self.metadata.load().defaults().number(key);
        Duration::from_millis(u64::try_from(ms).unwrap_or(0).max(1))
    }

    pub fn auto_creates_topics(&self) -> bool {
        self.metadata.load().defaults().auto_creates_topics()
    }

    pub fn default_partitions(&self) -> i32 {
        self.metadata.load().defaults().num_partitions()
    }

    /// Creates a topic that a client named, with the broker's defaults.
    ///
    /// # Errors
    /// The name is not valid, or the disk is full.
    pub async fn auto_create(&self, name: &str) -> Result<(), Refusal> {
        let created = self
            .create_topic(name, self.default_partitions(), Vec::new())
            .await;
        if created.is_ok() {
            info!(target: "sedge::metadata", "topic {name} created because a client asked for it");
        }
        created
    }

    /// Creates a topic where there is none of this name.
    ///
    /// # Errors
    /// The name or a configuration is not valid, or the disk is full.
    pub async fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        configs: Vec<(String, String)>,
    ) -> Result<(), Refusal> {
        let command = Command::CreateTopic {
            name: name.to_owned(),
            id: random_uuid(),
            partitions,
            configs,
            validate_only: false,
        };
        match self.writer.metadata(command).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if error.code == ErrorCode::TopicAlreadyExists => Ok(()),
            Ok(Err(error)) => Err(Refusal::new(error.code, error.message)),
            Err(_) => Err(Refusal::stopping()),
        }
    }

    /// The writer made `bytes` more of a partition visible, or, with none, something else happened
    /// to it.
    pub fn appended(&self, partition: PartitionId, bytes: usize) {
        self.parking.wake(partition, bytes);
        self.grown.notify(usize::MAX);
    }

    /// Hears of the next growth of any partition. Listen first, then look.
    pub fn listen_for_growth(&self) -> EventListener {
        self.grown.listen()
    }

    pub fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.fetch_sessions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A topic id: of version 4, never one that Kafka reserves.
pub fn random_uuid() -> KafkaUuid {
    loop {
        let high = fastrand::u64(..) & !0xf000 | 0x4000;
        let low = fastrand::u64(..) & !(0b11 << 62) | (0b10 << 62);
        let id = KafkaUuid::from_parts(high, low);
        if !id.is_reserved() {
            return id;
        }
    }
}

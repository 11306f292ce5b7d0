//! The broker: state shared by all handlers, without decisions. Only the handlers and the start
//! take all of it.

pub mod audit;
pub mod openers;
pub mod producer_ids;
pub mod quotas;
pub mod telemetry;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use log::{info, warn};
use sedge_core::fetch::session::Sessions;
use sedge_protocol::ErrorCode;
use sedge_protocol::ids::NodeId;

use crate::config::Config;
use crate::config::connection_limits::ConnectionLimits;
use crate::coordinator::{Groups, Transactions};
use crate::limits::DISK_WORK_AT_ONCE;
use crate::log::Log;
use crate::metrics::Metrics;
use crate::mirror::{Local, Network};
use crate::net::Net;
use crate::plugins::Plugins;
use crate::process::disk_work::DiskWork;
use crate::process::runtime::Runtime;
use crate::upkeep::logbook::Logbook;
use crate::writer::Writer;
use audit::Audit;
use openers::Openers;
use producer_ids::ProducerIds;
use quotas::ClientQuotas;
use telemetry::ClientTelemetry;

/// State shared by all handlers.
pub struct Broker {
    pub config: Config,
    pub node_id: NodeId,
    pub cluster_id: String,
    pub runtime: Runtime,
    pub log: Arc<Log>,
    pub logbook: Arc<Logbook>,
    pub disk_work: DiskWork,
    pub writer: Writer,
    pub net: Arc<Net>,
    pub openers: Arc<Openers>,
    pub fetch_sessions: Mutex<Sessions>,
    pub producer_ids: ProducerIds,
    /// The log of denied operations.
    pub audit: Audit,
    /// What clients use, against their quotas.
    pub quotas: ClientQuotas,
    /// The clients that push metrics.
    pub telemetry: ClientTelemetry,
    pub groups: Arc<Groups>,
    pub transactions: Transactions,
    pub plugins: Arc<Plugins>,
    pub metrics: Arc<Metrics>,
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker")
            .field("node_id", &self.node_id)
            .finish_non_exhaustive()
    }
}

/// The error code and message of a refused request.
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

    /// Returns the refusal while the broker shuts down.
    pub fn stopping() -> Self {
        Self::new(
            ErrorCode::BrokerNotAvailable,
            "The broker is shutting down.",
        )
    }
}

/// The parts of a [`Broker`].
pub struct Parts {
    pub config: Config,
    pub cluster_id: String,
    pub runtime: Runtime,
    pub log: Arc<Log>,
    pub logbook: Logbook,
    pub groups: Arc<Groups>,
    pub transactions: Transactions,
    pub writer: Writer,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parts")
    }
}

impl Broker {
    /// Returns the broker as mirror links see it.
    pub fn local(&self) -> Local {
        Local {
            log: Arc::clone(&self.log),
            groups: Arc::clone(&self.groups),
            runtime: self.runtime.clone(),
            cluster_id: self.cluster_id.clone(),
            plugins: Arc::clone(&self.plugins),
            writer: self.writer.clone(),
            network: Network::default(),
        }
    }

    pub fn new(parts: Parts) -> Self {
        let Parts {
            config,
            cluster_id,
            runtime,
            log,
            logbook,
            groups,
            transactions,
            writer,
        } = parts;
        let metrics = Arc::clone(&log.metrics);
        let image = log.metadata.load();
        let quotas = ClientQuotas::new(image.defaults(), Arc::clone(&metrics));
        quotas.set(image.quotas());
        let broker = Self {
            node_id: NodeId(config.node_id),
            cluster_id,
            net: Net::new(&config, Arc::clone(&metrics), runtime.clone()),
            runtime,
            log,
            logbook: Arc::new(logbook),
            disk_work: DiskWork::new(DISK_WORK_AT_ONCE),
            writer,
            openers: Arc::default(),
            fetch_sessions: Mutex::new(Sessions::new(crate::limits::FETCH_SESSIONS_MAX)),
            producer_ids: ProducerIds::default(),
            audit: Audit::default(),
            quotas,
            telemetry: ClientTelemetry::default(),
            groups,
            transactions,
            plugins: Arc::new(Plugins::new(&config, Arc::clone(&metrics))),
            metrics,
            config,
        };
        broker.set_connection_limits();
        broker
    }

    /// Applies the limits of connections that were set while the broker ran. Blocks while names of
    /// hosts are resolved.
    pub fn set_connection_limits(&self) {
        let image = self.log.metadata.load();
        match ConnectionLimits::of(image.defaults(), &self.config) {
            Ok(limits) => self.net.set_limits(limits),
            Err(why) => warn!(
                target: "sedge::net",
                "the limits of connections stay as they are: {why}; set them again with \
                 kafka-configs"
            ),
        }
    }

    /// Creates a topic that a client named, with the broker's defaults.
    ///
    /// # Errors
    /// The name is invalid, or the disk is full.
    pub async fn auto_create(&self, name: &str) -> Result<(), Refusal> {
        let partitions = self.log.metadata.load().defaults().num_partitions();
        let created = self.create_topic(name, partitions, Vec::new()).await;
        if created.is_ok() {
            info!(
                target: "sedge::metadata",
                "topic {name} is created, because a client asked for it"
            );
        }
        created
    }

    /// Creates a topic if none of this name exists.
    ///
    /// # Errors
    /// The name or a configuration is invalid, or the disk is full.
    pub async fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        configs: Vec<(String, String)>,
    ) -> Result<(), Refusal> {
        match self.writer.create_topic(name, partitions, configs).await {
            Ok(created) => created.map_err(|error| Refusal::new(error.code, error.message)),
            Err(_) => Err(Refusal::stopping()),
        }
    }

    pub fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.fetch_sessions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

//! The start: reads the data directory and builds the broker from it. There are no listeners and no
//! tasks yet.

use std::fmt;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use log::error;
use sedge_core::config::BrokerDefaults;
use sedge_core::metadata::{Image, MetadataMachine};
use sedge_protocol::ids::NodeId;
use sedge_storage::{LogStore as _, OpenReport, Options, Store};

use crate::broker::{Broker, Parts};
use crate::config::Config;
use crate::coordinator::{self, Coordinators, Journal};
use crate::log::Log;
use crate::log::clock::Clock;
use crate::log::views::HeaderReplay;
use crate::metadata::controller::Controller;
use crate::metadata::replay::{self as metadata_replay, Copies, ReplayError, Replayed};
use crate::metrics::Metrics;
use crate::process::failure::{Exit, Failure};
use crate::process::runtime::Runtime;
use crate::upkeep::logbook::{self, Logbook};
use crate::writer::{State, Writer};

/// Reason why the broker does not start.
#[derive(Debug)]
pub enum ServeError {
    /// The data directory cannot be created.
    Directory {
        path: PathBuf,
        source: std::io::Error,
    },
    /// The data directory cannot be opened.
    Store(sedge_storage::Error),
    /// `__cluster_metadata` cannot be read.
    Metadata(ReplayError),
    /// The broker cannot listen on an address.
    Listen {
        address: String,
        source: std::io::Error,
    },
    /// A listener that other machines can reach does not authenticate clients.
    Insecure(String),
    /// The operating system refuses a thread or a signal handler.
    System {
        doing: &'static str,
        source: std::io::Error,
    },
    /// The leader epoch cannot be raised, because the disk refuses writes.
    LeaderEpoch(String),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory { path, source } => write!(
                f,
                "cannot create the data directory {}: {source}; choose another with --data",
                path.display()
            ),
            Self::Store(error) => error.fmt(f),
            Self::Metadata(error) => error.fmt(f),
            Self::Listen { address, source } => {
                let what_to_do = match source.kind() {
                    ErrorKind::AddrInUse => {
                        "stop the process that listens there, or choose another address"
                    }
                    ErrorKind::AddrNotAvailable => {
                        "this machine does not have that address: choose one that it has, or \
                         0.0.0.0 for all of them,"
                    }
                    ErrorKind::PermissionDenied => {
                        "ports below 1024 need a privilege (CAP_NET_BIND_SERVICE): choose a higher \
                         port"
                    }
                    _ => "choose another address",
                };
                write!(
                    f,
                    "cannot listen on {address}: {source}; {what_to_do} with --listen or --console"
                )
            }
            Self::Insecure(why) => f.write_str(why),
            Self::System { doing, source } => write!(f, "cannot {doing}: {source}"),
            Self::LeaderEpoch(why) => write!(f, "cannot raise the leader epoch: {why}"),
        }
    }
}

impl std::error::Error for ServeError {}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        let exit = match &error {
            ServeError::Store(
                sedge_storage::Error::NewerFormat { .. }
                | sedge_storage::Error::OtherOwner { .. }
                | sedge_storage::Error::BadMeta { .. }
                | sedge_storage::Error::UnfinishedBackup { .. }
                | sedge_storage::Error::IncompleteBackup { .. },
            )
            | ServeError::Metadata(_) => Exit::Data,
            ServeError::Store(sedge_storage::Error::Locked { .. }) => Exit::Temporary,
            ServeError::Directory { .. } | ServeError::Store(_) | ServeError::LeaderEpoch(_) => {
                Exit::Io
            }
            ServeError::Listen { .. } => Exit::Unavailable,
            ServeError::Insecure(_) => Exit::Config,
            ServeError::System { .. } => Exit::Software,
        };
        let failure = Self::new(exit, error.to_string());
        match &error {
            ServeError::Store(unread) if unread.is_unreadable() => failure.advise(
                "restore a backup, or let `sedge doctor` name what the device cannot read: after \
                 `sedge doctor --repair damage` a start passes over it",
            ),
            ServeError::Metadata(
                ReplayError::Lost(_) | ReplayError::Snapshots { .. } | ReplayError::Unknown { .. },
            ) => failure.advise(
                "restore a backup, or keep what is left: `sedge doctor --repair metadata` rewrites \
                 the topics with all records that are there, and says what is unknown",
            ),
            _ => failure,
        }
    }
}

/// The state read from the data directory.
#[derive(Debug)]
pub struct Opened {
    pub config: Config,
    pub report: OpenReport,
    cluster_id: String,
    store: Store,
    clock: Clock,
    logbook: Logbook,
    metadata: Replayed,
    coordinators: Coordinators,
}

impl Opened {
    /// Opens the log and replays the internal topics.
    ///
    /// # Errors
    /// The data directory cannot be created, opened or read.
    pub fn read(config: Config) -> Result<Self, ServeError> {
        std::fs::create_dir_all(&config.data).map_err(|source| ServeError::Directory {
            path: config.data.clone(),
            source,
        })?;
        let (store, report) = open_store(&config).map_err(ServeError::Store)?;
        let (saved, wear) = logbook::read(&config.data).unzip();
        let clock = Clock::start(saved.as_ref(), report.newest_append_ms);
        let logbook = Logbook::start(&config.data, &config.disk, wear, &clock);
        let defaults = BrokerDefaults::new(&config.broker);
        let blank = MetadataMachine::new(NodeId(config.node_id), defaults);
        let metadata = metadata_replay::replay(&store, blank).map_err(ServeError::Metadata)?;
        metadata
            .extend_log(&store, clock.append_ms())
            .map_err(ServeError::Store)?;
        let image = metadata.machine.image();
        let coordinators =
            coordinator::restore(&store, image, clock.now()).map_err(ServeError::Store)?;
        Ok(Self {
            config,
            report,
            cluster_id: store.identity().cluster_id.clone(),
            store,
            clock,
            logbook,
            metadata,
            coordinators,
        })
    }

    /// Returns the topics.
    pub fn image(&self) -> &Image {
        self.metadata.machine.image()
    }

    /// Starts the threads.
    ///
    /// # Errors
    /// The operating system refuses a thread.
    pub fn start(self) -> Result<Started, ServeError> {
        let Self {
            config, metadata, ..
        } = self;
        let system = |source| ServeError::System {
            doing: "start a thread",
            source,
        };
        let (writer, queue) = Writer::new();
        let metrics = Arc::new(Metrics::default());
        let log = Arc::new(Log::new(
            Arc::new(self.store),
            metadata.machine.image().clone(),
            self.clock,
            config.durability,
            metrics,
        ));
        let broker = Arc::new(Broker::new(Parts {
            cluster_id: self.cluster_id,
            runtime: Runtime::start(config.num_network_threads).map_err(system)?,
            log: Arc::clone(&log),
            logbook: self.logbook,
            groups: self.coordinators.groups,
            transactions: self.coordinators.transactions,
            writer: writer.clone(),
            config,
        }));
        log.metadata_growth.add(metadata.record_bytes);
        tell_copies(&log, &metadata.copies);
        let state = State::new(Controller::new(metadata.machine));
        Ok(Started {
            writer: writer.start(log, state, queue).map_err(system)?,
            broker,
            report: self.report,
            journal: self.coordinators.journal,
        })
    }
}

/// Logs damage to copies of the metadata's snapshot. It costs nothing as long as one copy is whole;
/// both are soon written again.
fn tell_copies(log: &Log, copies: &Copies) {
    for (copy, lost) in copies.damaged() {
        let what = if lost.is_empty() {
            "is missing".to_owned()
        } else {
            format!("has lost {lost}")
        };
        error!(
            target: "sedge::log",
            "copy {copy} of the snapshot of __cluster_metadata {what}; nothing is lost, because \
             the other copy is whole: a new snapshot is being written"
        );
        log.metrics.metadata_damaged.add(1);
    }
    if !copies.are_sound() {
        log.metadata_growth.damaged();
    }
}

/// Opens the store, and rebuilds the views if an entry of them cannot be read.
fn open_store(config: &Config) -> Result<(Store, OpenReport), sedge_storage::Error> {
    let mut replay = HeaderReplay::default();
    let opened = sedge_storage::open(&config.data, options(config), &mut replay)?;
    if !replay.has_unread() {
        return Ok(opened);
    }
    let (store, mut report) = opened;
    error!(target: "sedge::views", "the views have an entry that cannot be read; they are rebuilt from the log");
    store.distrust_views();
    drop(store);
    let mut replay = HeaderReplay::default();
    let (store, again) = sedge_storage::open(&config.data, options(config), &mut replay)?;
    report.views_rebuilt = again.views_rebuilt;
    report.ms += again.ms;
    Ok((store, report))
}

/// Returns the options with which a broker of this configuration opens its store.
pub fn options(config: &Config) -> Options {
    let storage = &config.storage;
    Options {
        segment_bytes: storage.segment_bytes,
        cache_bytes: storage.cache_bytes,
        views_flush_bytes: storage.views_flush_bytes as usize,
        cluster_id: config.cluster_id.clone(),
        node_id: config.node_id,
        spare_segments_max: storage.spare_segments_max,
    }
}

/// A broker with running threads.
#[derive(Debug)]
pub struct Started {
    pub broker: Arc<Broker>,
    pub writer: JoinHandle<()>,
    pub report: OpenReport,
    /// The coordinators' records that wait to be written, with the task that writes them.
    pub journal: Journal,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_fits_why_an_address_cannot_be_listened_on() {
        let check = |kind: ErrorKind, part: &str| {
            let address = "10.9.8.7:9092".to_owned();
            let source = kind.into();
            let said = ServeError::Listen { address, source }.to_string();
            assert!(said.contains(part), "{said}");
        };
        check(ErrorKind::AddrInUse, "stop the process that listens there");
        check(ErrorKind::AddrNotAvailable, "does not have that address");
        check(ErrorKind::PermissionDenied, "ports below 1024");
        check(ErrorKind::Other, "choose another address");
    }
}

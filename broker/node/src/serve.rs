//! `sedge serve`: opens the log, replays what is replayed, starts the threads and tasks, and says
//! when it is ready.

use std::fmt;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_io::Timer;
use futures_lite::future;
use log::{error, info, warn};
use sedge_core::config::BrokerDefaults;
use sedge_core::groups::GroupConfig;
use sedge_core::metadata::{Command, MetadataMachine};
use sedge_protocol::ids::NodeId;
use sedge_storage::{LogStore, OpenReport, Options};

use crate::broker::{Broker, Parts};
use crate::cleaner;
use crate::cli::{Exit, Failure};
use crate::clock::Clock;
use crate::config::{Config, Durability};
use crate::console;
use crate::coordinator;
use crate::disk_cap;
use crate::limits::{LOGBOOK_ENTER_EVERY, SHUTDOWN_GRACE, VIEWS_FLUSH_EVERY};
use crate::logbook::{self, Logbook};
use crate::metadata_log;
use crate::metrics::Metrics;
use crate::mirror::{LinkTopics, Mirror, MirrorConfig};
use crate::net::listener;
use crate::plugins::{self, Plugins, Registry};
use crate::producer_expiry;
use crate::recovery::HeaderReplay;
use crate::retention;
use crate::runtime::Runtime;
use crate::scrub;
use crate::signals::Signals;
use crate::writer::{ActivePartitions, State, Writer};

/// Why the broker does not start.
#[derive(Debug)]
pub enum ServeError {
    /// The data directory cannot be made.
    Directory {
        path: PathBuf,
        source: std::io::Error,
    },
    /// The data directory cannot be opened.
    Store(sedge_storage::Error),
    /// `__cluster_metadata` cannot be read.
    Metadata(metadata_log::ReplayError),
    /// An address cannot be listened on.
    Listen {
        address: String,
        source: std::io::Error,
    },
    /// The operating system refuses a thread or a signal handler.
    System {
        doing: &'static str,
        source: std::io::Error,
    },
    /// The leader epoch cannot be raised, because the disk takes nothing.
    LeaderEpoch(String),
    /// A link is configured in a way that cannot work.
    Mirror(crate::client::config::ConfigError),
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
            Self::Listen { address, source } => write!(
                f,
                "cannot listen on {address}: {source}; stop what listens there, or choose another \
                 address with --listen or --console"
            ),
            Self::System { doing, source } => write!(f, "cannot {doing}: {source}"),
            Self::LeaderEpoch(why) => write!(f, "cannot raise the leader epoch: {why}"),
            Self::Mirror(error) => error.fmt(f),
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
            ServeError::System { .. } => Exit::Software,
            ServeError::Mirror(_) => Exit::Config,
        };
        let failure = Self::new(exit, error.to_string());
        match &error {
            ServeError::Store(unread) if unread.is_unreadable() => failure.advise(
                "restore a backup, or see with `sedge doctor` what the device does not give: with \
                 `--repair damage` a start goes around it",
            ),
            _ => failure,
        }
    }
}

/// Serves until a signal, then shuts down in order.
///
/// # Errors
/// The broker cannot start.
pub fn run(config: Config) -> Result<(), Failure> {
    let started = Instant::now();
    let mut signals = Signals::install().map_err(|source| ServeError::System {
        doing: "handle signals",
        source,
    })?;
    let running = Running::start(config)?;
    running.announce(started);
    future::block_on(async {
        let stop = signals.stop().await;
        info!(target: "sedge", "{stop:?}: shutting down");
        signals.finish(running.stop()).await;
    });
    Ok(())
}

/// A broker whose threads run.
struct Running {
    broker: Arc<Broker>,
    writer: JoinHandle<()>,
    mirror: Option<Mirror>,
    kafka: String,
    console: String,
    tasks: Vec<async_executor::Task<()>>,
}

impl Running {
    fn start(config: Config) -> Result<Self, ServeError> {
        let links = config
            .mirrors
            .iter()
            .map(MirrorConfig::from_table)
            .collect::<Result<Vec<_>, _>>()
            .map_err(ServeError::Mirror)?;
        let options = Options {
            segment_bytes: config.storage.segment_bytes,
            cache_bytes: config.storage.cache_bytes,
            views_flush_bytes: config.storage.views_flush_bytes as usize,
            cluster_id: config.cluster_id.clone(),
            node_id: config.node_id,
            spare_segments_max: config.storage.spare_segments_max,
            sent_rest: Duration::from_millis(config.storage.sent_rest_ms),
        };
        std::fs::create_dir_all(&config.data).map_err(|source| ServeError::Directory {
            path: config.data.clone(),
            source,
        })?;
        let (store, report) =
            sedge_storage::open(&config.data, options, &mut HeaderReplay::default())
                .map_err(ServeError::Store)?;
        tell(&report);
        let (saved, wear) = logbook::read(&config.data).unzip();
        let clock = Clock::start(saved.as_ref(), report.newest_append_ms);
        let logbook = Logbook::start(&config.data, wear, &clock);
        let cluster_id = store.identity().cluster_id.clone();
        let store: Arc<dyn LogStore> = Arc::new(store);
        let defaults = BrokerDefaults::new(&config.broker);
        let mut machine = MetadataMachine::new(NodeId(config.node_id), defaults);
        metadata_log::replay(&*store, &mut machine).map_err(ServeError::Metadata)?;

        let system = |doing| move |source| ServeError::System { doing, source };
        let runtime =
            Runtime::start(config.num_network_threads).map_err(system("start a thread"))?;
        let settings = GroupConfig::of(machine.image().defaults());
        let restored = coordinator::restore(&*store, machine.image(), settings, clock.now())
            .map_err(ServeError::Store)?;
        let (writer, queue) = Writer::new();
        let metrics = Arc::new(Metrics::default());
        let listeners = bind(&config)?;
        let console = bind_console(&config)?;
        let broker = Arc::new(Broker::new(Parts {
            cluster_id,
            runtime,
            clock,
            logbook,
            store,
            image: machine.image().clone(),
            groups: restored.coordinator,
            writer,
            plugins: Plugins::new(Registry::new(&config), Arc::clone(&metrics)),
            metrics,
            config,
        }));
        let state = State {
            metadata: machine,
            partitions: ActivePartitions::default(),
            must_free: false,
        };
        let thread = Writer::start(Arc::clone(&broker), state, queue)
            .map_err(system("start the writer thread"))?;
        if may_have_lost_records(&report, &broker.config) {
            raise_leader_epoch(&broker)?;
        }
        let local = listeners
            .first()
            .and_then(|listener| listener.get_ref().local_addr().ok());
        let kafka = local.map_or_else(String::new, |address| address.to_string());
        let deployed = plugins::watch::start(&broker).map_err(ServeError::Store)?;
        let mut tasks = background(&broker);
        let copied = links.iter().map(LinkTopics::of).collect();
        tasks.push(
            broker
                .runtime
                .spawn(disk_cap::run(Arc::clone(&broker), copied)),
        );
        tasks.push(
            broker
                .runtime
                .spawn(plugins::watch::run(Arc::clone(&broker), deployed)),
        );
        let owed = restored.owed;
        tasks.push(
            broker
                .runtime
                .spawn(coordinator::write(Arc::clone(&broker), owed)),
        );
        tasks.push(
            broker
                .runtime
                .spawn(coordinator::keep_time(Arc::clone(&broker))),
        );
        for listener in listeners {
            tasks.push(
                broker
                    .runtime
                    .spawn(listener::accept(listener, Arc::clone(&broker))),
            );
        }
        let console = console.map(|listener| {
            let address = listener.get_ref().local_addr();
            let source = Arc::clone(&broker) as Arc<dyn console::Source>;
            let serving = console::serve(listener, source, Arc::clone(&broker.metrics));
            tasks.push(broker.runtime.spawn(async move { match serving.await {} }));
            address.map_or_else(|_| String::new(), |address| address.to_string())
        });
        let mirror = local.map(|local| Mirror::start(&broker, links, local));
        Ok(Self {
            broker,
            writer: thread,
            mirror,
            kafka,
            console: console.unwrap_or_else(|| "off".to_owned()),
            tasks,
        })
    }

    /// The one line that says so.
    fn announce(&self, started: Instant) {
        let line = format!(
            "sedge ready: kafka={} console={} data={} in {} ms\n",
            self.kafka,
            self.console,
            self.broker.config.data.display(),
            started.elapsed().as_millis()
        );
        let mut out = std::io::stdout().lock();
        // Nobody reads it: then nobody waits for it either.
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }

    /// No new connections, then the queued requests, then the disk.
    async fn stop(self) {
        let Self {
            broker,
            writer,
            mirror,
            tasks,
            ..
        } = self;
        // The links commit their cursors through a listener.
        if let Some(mirror) = mirror {
            mirror.stop().await;
        }
        drop(tasks);
        let stopped = async {
            broker.writer.stop().await;
            blocking::unblock(move || writer.join()).await
        };
        let over = async {
            Timer::after(SHUTDOWN_GRACE).await;
            Ok(())
        };
        if future::or(stopped, over).await.is_err() {
            error!(target: "sedge", "the writer thread panicked");
        }
        broker.logbook.enter(&broker);
        broker.logbook.save(&broker.clock, broker.clock.append_ms());
        let store = Arc::clone(&broker.store);
        if let Err(failure) = blocking::unblock(move || store.close()).await {
            error!(
                target: "sedge",
                "the log is not closed in order: {failure}; the next start replays more"
            );
        }
        info!(target: "sedge", "stopped");
    }
}

fn bind(config: &Config) -> Result<Vec<async_io::Async<std::net::TcpListener>>, ServeError> {
    let mut listeners = Vec::new();
    for endpoint in &config.listeners {
        let refused = |source| ServeError::Listen {
            address: endpoint.address.to_string(),
            source,
        };
        let address = endpoint
            .address
            .resolve()
            .map_err(refused)?
            .into_iter()
            .next()
            .ok_or_else(|| refused(std::io::ErrorKind::AddrNotAvailable.into()))?;
        listeners.push(listener::bind(address, config.socket_buffers).map_err(refused)?);
    }
    Ok(listeners)
}

fn bind_console(
    config: &Config,
) -> Result<Option<async_io::Async<std::net::TcpListener>>, ServeError> {
    let Some(address) = &config.console else {
        return Ok(None);
    };
    console::bind(address)
        .map(Some)
        .map_err(|source| ServeError::Listen {
            address: address.to_string(),
            source,
        })
}

/// Whether records that clients may have seen are gone.
fn may_have_lost_records(report: &OpenReport, config: &Config) -> bool {
    // What interval durability has acknowledged need not be on flash when the power goes.
    let is_tail_acknowledged = config.durability == Durability::Interval;
    report.lost_tail
        || !report.holes.is_empty()
        || (is_tail_acknowledged && (report.torn_tail.is_some() || report.tail_unknown))
}

/// KIP-101: clients must be able to tell what comes now from what was lost.
fn raise_leader_epoch(broker: &Broker) -> Result<(), ServeError> {
    match future::block_on(broker.writer.metadata(Command::BumpLeaderEpoch)) {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(ServeError::LeaderEpoch(error.message)),
        Err(_) => Err(ServeError::LeaderEpoch("the writer stopped".to_owned())),
    }
}

fn background(broker: &Arc<Broker>) -> Vec<async_executor::Task<()>> {
    let mut tasks = Vec::new();
    let views = Arc::clone(broker);
    tasks.push(broker.runtime.spawn(async move {
        loop {
            Timer::after(VIEWS_FLUSH_EVERY).await;
            if let Some(bytes) = views.storage.probe_bytes() {
                views.writer.probe(bytes);
            }
            let store = Arc::clone(&views.store);
            if let Err(failure) = blocking::unblock(move || store.flush_views()).await {
                warn!(target: "sedge::views", "not flushed: {failure}; trying again");
            }
        }
    }));
    let flushing = Arc::clone(broker);
    if broker.config.durability == Durability::Interval {
        tasks.push(broker.runtime.spawn(async move {
            loop {
                Timer::after(Duration::from_millis(flushing.config.flush_ms)).await;
                flushing.writer.flush_if_dirty();
            }
        }));
    }
    tasks.push(broker.runtime.spawn(retention::run(Arc::clone(broker))));
    let keeping = Arc::clone(broker);
    tasks.push(broker.runtime.spawn(async move {
        loop {
            Timer::after(LOGBOOK_ENTER_EVERY).await;
            let broker = Arc::clone(&keeping);
            blocking::unblock(move || broker.logbook.enter(&broker)).await;
        }
    }));
    tasks.push(broker.runtime.spawn(cleaner::run(Arc::clone(broker))));
    tasks.push(broker.runtime.spawn(scrub::run(Arc::clone(broker))));
    let expiring = producer_expiry::run(Arc::clone(broker));
    tasks.push(broker.runtime.spawn(expiring));
    tasks
}

fn tell(report: &OpenReport) {
    if let Some(torn) = &report.torn_tail {
        info!(
            target: "sedge::log",
            "the last write was not whole and is cut: segment {} at {}, {} bytes",
            torn.segment.0, torn.position, torn.bytes
        );
    }
    for hole in &report.holes {
        error!(
            target: "sedge::log",
            "segment {} is damaged at {}, {} bytes: records are lost: {:?}",
            hole.segment.0, hole.position, hole.bytes, hole.lost
        );
    }
    for id in &report.damaged_headers {
        error!(
            target: "sedge::log",
            "segment {} has a damaged header, and is read by what its frames say; \
             `sedge doctor --repair headers` writes it again",
            id.0
        );
    }
    if report.views_rebuilt {
        warn!(target: "sedge::views", "the views were rebuilt from the log");
    }
    if report.lost_tail {
        warn!(target: "sedge::log", "the disk lost writes that it had confirmed");
    }
}

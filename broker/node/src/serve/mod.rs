//! `sedge serve`: starts the broker and its background tasks, announces when it is ready, and stops
//! it in order.

mod descriptors;
pub mod start;
mod status;

use std::io::Write as _;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use async_channel::Sender;
use async_executor::Task;
use async_io::{Async, Timer};
use futures_lite::future;
use log::{debug, error, info, warn};
use sedge_core::metadata::{Command, Image};
use sedge_storage::OpenReport;

use crate::broker::Broker;
use crate::config::listeners::{CONSOLE, INSECURE_ALLOWED};
use crate::config::{Config, ConsoleConfig, Durability, Place};
use crate::console;
use crate::coordinator::Journal;
use crate::gateway;
use crate::handlers::Handlers;
use crate::limits::{MAPPED_BLOCK_BYTES, SHUTDOWN_GRACE};
use crate::mirror::Mirror;
use crate::net::certificates::{self, Secure};
use crate::net::listener::{self, Listener};
use crate::oauth::Jwks;
use crate::plugins::watch;
use crate::process::failure::Failure;
use crate::process::notify::Manager;
use crate::process::signals::Signals;
use crate::process::{allocator, code_pages};
use crate::upkeep::{self, scrub};
use start::{Opened, ServeError, Started};

/// Serves until a signal, then shuts down in order.
///
/// # Errors
/// The broker cannot start.
pub fn run(mut config: Config) -> Result<(), Failure> {
    let started = Instant::now();
    allocator::map_blocks_from(MAPPED_BLOCK_BYTES);
    descriptors::share_out(&mut config);
    let mut signals = Signals::install().map_err(|source| ServeError::System {
        doing: "handle signals",
        source,
    })?;
    let manager = Manager::of_this_process().map(Arc::new);
    let mut running = Running::start(config)?;
    running.announce(started);
    if let Some(manager) = &manager {
        manager.ready();
        let manager = Arc::clone(manager);
        let telling = async move { manager.keep_alive().await };
        running.tasks.push(running.broker.runtime.spawn(telling));
    }
    if let Err(why) = code_pages::release() {
        debug!(target: "sedge", "the pages of the start stay in memory: {why}");
    }
    future::block_on(async {
        // One that is not taken yet is enough.
        let reload = || {
            let _ = running.reload.try_send(());
        };
        let stop = signals.stop(reload).await;
        info!(target: "sedge", "{stop}: shutting down");
        if let Some(manager) = &manager {
            manager.stopping();
        }
        signals.finish(running.stop()).await;
    });
    Ok(())
}

/// A broker with its running tasks.
struct Running {
    broker: Arc<Broker>,
    writer: JoinHandle<()>,
    mirror: Mirror,
    kafka: String,
    console: String,
    /// Asks for certificates to be loaded again.
    reload: Sender<()>,
    tasks: Vec<Task<()>>,
}

impl Running {
    fn start(config: Config) -> Result<Self, ServeError> {
        let opened = Opened::read(config)?;
        tell(&opened.report, opened.image());
        let listeners = bind(&opened.config)?;
        warn_of_strangers(&listeners);
        let console = bind_console(&opened.config)?;
        let gateways = bind_gateways(&opened.config)?;
        let Started {
            broker,
            writer,
            report,
            journal,
        } = opened.start()?;
        if may_have_lost_records(&report, &broker.config) {
            raise_leader_epoch(&broker)?;
        }
        let bound = listeners.iter().filter_map(|of| of.local_addr().ok());
        let bound: Vec<String> = bound.map(|address| address.to_string()).collect();
        let kafka = bound.join(",");
        watch::start(&broker.plugins, &broker.log).map_err(ServeError::Store)?;
        let mut tasks = background(&broker, journal);
        let (reload, asked) = async_channel::bounded(1);
        let secure = secure(&listeners, broker.config.console.as_ref());
        let metrics = Arc::clone(&broker.metrics);
        if !secure.is_empty() {
            let watch = certificates::watch(secure, metrics, asked);
            tasks.push(broker.runtime.spawn(watch));
        }
        for jwks in documents(&listeners) {
            if let Some(why) = jwks.insecurity() {
                warn!(target: "sedge", "{why}");
            }
            tasks.push(broker.runtime.spawn(jwks.keep()));
        }
        for listener in listeners {
            let (net, service) = (Arc::clone(&broker.net), Handlers(Arc::clone(&broker)));
            tasks.push(
                broker
                    .runtime
                    .spawn(listener::accept(listener, net, service)),
            );
        }
        let console = console.map(|(listener, config)| {
            let address = listener.get_ref().local_addr();
            let source = Arc::clone(&broker) as Arc<dyn console::Source>;
            let metrics = Arc::clone(&broker.metrics);
            let secure = config.tls.map(|tls| (tls, Arc::clone(&broker.net)));
            let serving = async move {
                console::serve(listener, source, metrics, &config.tokens, secure).await
            };
            tasks.push(broker.runtime.spawn(async move { match serving.await {} }));
            address.map_or_else(|_| String::new(), |address| address.to_string())
        });
        tasks.extend(gateway::start(&broker, gateways));
        let mirror = mirror(&broker);
        Ok(Self {
            broker,
            writer,
            mirror,
            kafka,
            console: console.unwrap_or_else(|| "off".to_owned()),
            reload,
            tasks,
        })
    }

    /// Prints the one line that says that the broker is ready.
    fn announce(&self, started: Instant) {
        let line = format!(
            "sedge ready: kafka={} console={} data={} in {} ms\n",
            self.kafka,
            self.console,
            self.broker.config.data.display(),
            started.elapsed().as_millis()
        );
        let mut out = std::io::stdout().lock();
        // A closed stdout means that no reader is waiting for this line.
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }

    /// Stops accepting connections, then finishes queued requests, then syncs the disk.
    async fn stop(self) {
        let Self {
            broker,
            writer,
            mirror,
            tasks,
            ..
        } = self;
        // The links commit their cursors, for which the coordinator must still run.
        mirror.stop().await;
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
        let log = &broker.log;
        broker.logbook.enter(&log.clock, &*log.store);
        broker.logbook.save(&log.clock, log.clock.append_ms());
        let store = Arc::clone(&log.store);
        if let Err(failure) = blocking::unblock(move || store.close()).await {
            error!(
                target: "sedge",
                "the log cannot be closed cleanly: {failure}; the next start replays more of it"
            );
        }
        info!(target: "sedge", "stopped");
    }
}

fn bind(config: &Config) -> Result<Vec<Listener>, ServeError> {
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
        if let Some(why) = endpoint.insecurity(address.ip())
            && !config.insecure_listeners_allowed
        {
            return Err(ServeError::Insecure(why));
        }
        let listener = Listener::bind(Arc::new(endpoint.clone()), address, config.socket_buffers);
        listeners.push(listener.map_err(refused)?);
    }
    Ok(listeners)
}

/// Returns the TLS listeners, the console among them.
fn secure(listeners: &[Listener], console: Option<&ConsoleConfig>) -> Vec<Secure> {
    let configs = listeners.iter().map(Listener::config);
    let secure = configs.filter_map(|of| Some((of.name.clone(), of.tls.clone()?)));
    let console = console.and_then(|of| Some((CONSOLE.to_owned(), of.tls.clone()?)));
    secure.chain(console).collect()
}

/// Returns the key documents of the listeners with OAUTHBEARER.
fn documents(listeners: &[Listener]) -> Vec<Arc<Jwks>> {
    let sasl = listeners.iter().filter_map(|of| of.config().sasl.as_ref());
    let validators = sasl.filter_map(|of| of.oauth.as_ref());
    validators.map(|of| Arc::clone(of.jwks())).collect()
}

/// Warns of each listener that is open to everyone because of `sedge.insecure.listeners.allowed`.
fn warn_of_strangers(listeners: &[Listener]) {
    for listener in listeners {
        let address = listener.local_addr().ok();
        if let Some(why) = address.and_then(|address| listener.config().insecurity(address.ip())) {
            warn!(target: "sedge", "{INSECURE_ALLOWED}=true: {why}");
        }
        let shown = address.and_then(|of| listener.config().shows_passwords(of.ip()));
        if let Some(why) = shown {
            warn!(target: "sedge", "{why}");
        }
    }
}

/// Binds the console's port, if it has one.
fn bind_console(
    config: &Config,
) -> Result<Option<(Async<TcpListener>, ConsoleConfig)>, ServeError> {
    let Some(console) = &config.console else {
        return Ok(None);
    };
    let refused = |source| ServeError::Listen {
        address: console.address.to_string(),
        source,
    };
    let listener = console::bind(&console.address).map_err(refused)?;
    let bound = listener.get_ref().local_addr().map_err(refused)?.ip();
    if let Some(why) = console.tokens.insecurity(bound) {
        if !config.insecure_listeners_allowed {
            return Err(ServeError::Insecure(why));
        }
        warn!(target: "sedge", "{INSECURE_ALLOWED}=true: {why}");
    }
    if console.tls.is_none()
        && let Some(why) = console.tokens.are_shown(bound)
    {
        warn!(target: "sedge", "{why}");
    }
    Ok(Some((listener, console.clone())))
}

fn bind_gateways(config: &Config) -> Result<Vec<gateway::Bound>, ServeError> {
    let mut bound = Vec::new();
    for of in &config.gateways {
        let Place::Listen(address) = &of.place else {
            bound.push(gateway::Bound::serial(of));
            continue;
        };
        let refused = |source| ServeError::Listen {
            address: address.to_string(),
            source,
        };
        let resolved = address.resolve().map_err(refused)?.into_iter().next();
        let resolved =
            resolved.ok_or_else(|| refused(std::io::ErrorKind::AddrNotAvailable.into()))?;
        if let Some(why) = of.insecurity(resolved.ip()) {
            if !config.insecure_listeners_allowed {
                return Err(ServeError::Insecure(why));
            }
            warn!(target: "sedge", "{INSECURE_ALLOWED}=true: {why}");
        }
        bound.push(gateway::Bound::bind(of, resolved).map_err(refused)?);
    }
    Ok(bound)
}

/// Returns whether records that clients may have seen are lost.
fn may_have_lost_records(report: &OpenReport, config: &Config) -> bool {
    // Writes acknowledged with interval durability need not be on flash when the power fails.
    let is_tail_acknowledged = config.durability == Durability::Interval;
    report.lost_tail
        || !report.holes.is_empty()
        || (is_tail_acknowledged && (report.torn_tail.is_some() || report.tail_unknown))
}

/// KIP-101: clients must be able to tell new records from lost ones.
fn raise_leader_epoch(broker: &Broker) -> Result<(), ServeError> {
    match future::block_on(broker.writer.metadata(Command::BumpLeaderEpoch)) {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(ServeError::LeaderEpoch(error.message)),
        Err(_) => Err(ServeError::LeaderEpoch(
            "the writer thread stopped".to_owned(),
        )),
    }
}

/// Starts the background tasks: the upkeep, plugins and the coordinators.
fn background(broker: &Broker, journal: Journal) -> Vec<Task<()>> {
    let Broker {
        config,
        runtime,
        log,
        writer,
        logbook,
        groups,
        plugins,
        ..
    } = broker;
    let with_log = || Arc::clone(log);
    let mut tasks = upkeep::start(log, writer, groups, logbook, config, runtime);
    tasks.extend([
        runtime.spawn(watch::run(Arc::clone(plugins), with_log(), writer.clone())),
        runtime.spawn(watch::release(
            Arc::clone(plugins),
            with_log(),
            writer.clone(),
        )),
        runtime.spawn(watch::tell(Arc::clone(plugins), with_log(), writer.clone())),
        runtime.spawn(journal.clone().write(with_log(), writer.clone())),
        runtime.spawn(journal.keep_time(with_log())),
    ]);
    tasks
}

fn mirror(broker: &Broker) -> Mirror {
    Mirror::start(&broker.config.links, &broker.local())
}

fn tell(report: &OpenReport, image: &Image) {
    if let Some(torn) = &report.torn_tail {
        info!(
            target: "sedge::log",
            "the last write was incomplete and is cut off: segment {} at {}, {} bytes",
            torn.segment.0, torn.position, torn.bytes
        );
    }
    for hole in &report.holes {
        let place = match (hole.segment.0, hole.bytes) {
            (0, _) => "a segment is missing".to_owned(),
            (segment, 0) => format!(
                "segment {segment} ends early, or lacks bytes, at {}",
                hole.position
            ),
            (segment, bytes) => {
                format!(
                    "segment {segment} is damaged at {}, {bytes} bytes",
                    hole.position
                )
            }
        };
        if hole.lost.is_empty() {
            error!(target: "sedge::log", "{place}: its content is unknown");
        }
        for lost in &hole.lost {
            error!(
                target: "sedge::log",
                "{place}: {}: offsets {} to {} are lost; reads pass over them",
                scrub::name_in(image, lost.partition),
                lost.base_offset,
                lost.next_offset.plus(-1)
            );
        }
    }
    for id in &report.damaged_footers {
        error!(
            target: "sedge::log",
            "segment {} has a damaged footer, but all of its frames; \
             `sedge doctor --repair footers` rewrites the footer",
            id.0
        );
    }
    for id in &report.damaged_headers {
        error!(
            target: "sedge::log",
            "segment {} has a damaged header, and is read from its frames; \
             `sedge doctor --repair headers` rewrites the header",
            id.0
        );
    }
    if report.views_rebuilt {
        warn!(target: "sedge::views", "the views were rebuilt from the log");
    }
    if report.lost_tail {
        warn!(
            target: "sedge::log",
            "the disk lost writes that it had confirmed; records that were acknowledged may be lost"
        );
    }
}

//! Gateways: the broker's side of microcontrollers, on serial lines and over TCP.
//!
//! A device speaks the protocol of `broker/link` (`broker/link/FORMAT.md`). Its readings become
//! records of the topics that it announced, and are acknowledged when they are committed. The
//! commit has the device's last sequence number too ([`appends`]), so a reading is written once,
//! over resets of the device and kills of the broker. Records of topics that it subscribes to are
//! delivered one at a time ([`deliveries`]).
//!
//! **Invariant:** what a device may do is what a client of the principal `User:IDENTITY` may do, on
//! topics that its gateway selects (`handlers/device.rs`, `GatewayConfig`).

mod appends;
mod conversation;
mod deliveries;
mod devices;
mod limits;
mod line_settings;
mod login;
mod open;
mod wire;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_executor::Task;
use async_io::{Async, Timer};
use log::{debug, info, warn};
use sedge_core::security_protocol::SecurityProtocol;

use crate::broker::Broker;
use crate::config::{GatewayConfig, HostPort, ListenerConfig, Place, SerialConfig};
use crate::process::logging::told::Told;
use conversation::Conversation;
use devices::Devices;
use limits::{DEVICES_MAX, REOPEN_MAX, REOPEN_MIN};
use wire::Wire;

/// A gateway that runs.
#[derive(Debug)]
pub struct Gateway {
    broker: Arc<Broker>,
    config: GatewayConfig,
    /// The devices of all gateways.
    devices: Arc<Devices>,
    /// What sessions of devices show as their listener.
    listener: Arc<ListenerConfig>,
    connected: AtomicUsize,
    /// Identities that a warning named.
    told: Told,
}

/// A gateway that is bound, if it listens.
#[derive(Debug)]
pub struct Bound {
    config: GatewayConfig,
    socket: Option<Async<TcpListener>>,
}

impl Bound {
    /// Returns a gateway with a serial line.
    pub fn serial(config: &GatewayConfig) -> Self {
        Self {
            config: config.clone(),
            socket: None,
        }
    }

    /// Binds a gateway to `address`.
    ///
    /// # Errors
    /// The address is taken, or is not one of this machine's.
    pub fn bind(config: &GatewayConfig, address: SocketAddr) -> std::io::Result<Self> {
        let socket = Async::<TcpListener>::bind(address)?;
        let bound = socket.get_ref().local_addr()?;
        info!(target: "sedge::gateway", "gateway {} listens on {bound}", config.name);
        Ok(Self {
            config: config.clone(),
            socket: Some(socket),
        })
    }
}

/// Starts the gateways.
pub fn start(broker: &Arc<Broker>, all: Vec<Bound>) -> Vec<Task<()>> {
    let devices = Arc::<Devices>::default();
    let start = |bound: Bound| {
        let Bound { config, socket } = bound;
        let place = config.place.clone();
        let gateway = Arc::new(Gateway {
            broker: Arc::clone(broker),
            devices: Arc::clone(&devices),
            listener: Arc::new(listener(&config)),
            config,
            connected: AtomicUsize::new(0),
            told: Told::default(),
        });
        match (socket, place) {
            (Some(socket), _) => broker.runtime.spawn(accept(gateway, socket)),
            (None, Place::Serial(serial)) => broker.runtime.spawn(keep_open(gateway, serial)),
            (None, Place::Listen(_)) => unreachable!("a gateway that listens is bound"),
        }
    };
    all.into_iter().map(start).collect()
}

/// Returns the listener that filters and access rules are told.
fn listener(config: &GatewayConfig) -> ListenerConfig {
    let address = match &config.place {
        Place::Listen(address) => address.clone(),
        Place::Serial(serial) => HostPort {
            host: serial.device.display().to_string(),
            port: 0,
        },
    };
    ListenerConfig {
        name: format!("GATEWAY-{}", config.name.to_uppercase()),
        protocol: SecurityProtocol::Plaintext,
        tls: None,
        sasl: None,
        address,
        advertised: None,
        max_connections: None,
    }
}

/// Accepts connections until the task is dropped.
async fn accept(gateway: Arc<Gateway>, socket: Async<TcpListener>) {
    loop {
        match socket.accept().await {
            Ok((stream, remote)) => {
                let Some(place) = Connected::enter(&gateway) else {
                    debug!(
                        target: "sedge::gateway",
                        "gateway {}: {remote} is refused: {DEVICES_MAX} devices are connected",
                        gateway.config.name
                    );
                    continue;
                };
                let task = serve(place, stream, remote);
                gateway.broker.runtime.spawn(task).detach();
            }
            Err(error) => {
                let name = &gateway.config.name;
                warn!(target: "sedge::gateway", "gateway {name} cannot accept: {error}; retrying");
                Timer::after(REOPEN_MIN).await;
            }
        }
    }
}

async fn serve(place: Connected, stream: Async<TcpStream>, remote: SocketAddr) {
    let gateway = &place.0;
    // An acknowledgement does not wait for another one.
    let _ = stream.get_ref().set_nodelay(true);
    let ended = Conversation::new(gateway, Wire::Tcp(stream), remote)
        .run()
        .await;
    debug!(target: "sedge::gateway", "gateway {}: {remote}: {ended}", gateway.config.name);
}

/// Serves the device at a serial line, and opens the line again after a hang-up.
async fn keep_open(gateway: Arc<Gateway>, serial: SerialConfig) {
    let name = &gateway.config.name;
    let path = serial.device.display();
    let mut pause = REOPEN_MIN;
    let mut is_told = false;
    loop {
        let config = serial.clone();
        match blocking::unblock(move || Wire::open(&config)).await {
            Ok(wire) => {
                info!(target: "sedge::gateway", "gateway {name}: {path} is open");
                is_told = false;
                let Some(place) = Connected::enter(&gateway) else {
                    continue;
                };
                let began = Instant::now();
                let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                let ended = Conversation::new(&place.0, wire, nowhere).run().await;
                info!(target: "sedge::gateway", "gateway {name}: {path} is closed: {ended}");
                if began.elapsed() > REOPEN_MAX {
                    pause = REOPEN_MIN;
                }
            }
            Err(error) if !is_told => {
                is_told = true;
                warn!(
                    target: "sedge::gateway",
                    "gateway {name} cannot open {path}: {error}; it tries again until it can"
                );
            }
            Err(_) => {}
        }
        Timer::after(pause).await;
        pause = Duration::min(pause * 2, REOPEN_MAX);
    }
}

/// One of the places of connected devices.
struct Connected(Arc<Gateway>);

impl Connected {
    fn enter(gateway: &Arc<Gateway>) -> Option<Self> {
        let before = gateway.connected.fetch_add(1, Ordering::Relaxed);
        gateway.broker.metrics.gateways.connected.add(1);
        let place = Self(Arc::clone(gateway));
        (before < DEVICES_MAX).then_some(place)
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connected.fetch_sub(1, Ordering::Relaxed);
        self.0.broker.metrics.gateways.connected.add(-1);
    }
}

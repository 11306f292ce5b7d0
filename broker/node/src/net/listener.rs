//! The listening socket: accepts connections, counts them, and passes them to the executor.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_io::{Async, Timer};
use futures_lite::future;
use log::{debug, warn};
use rustix::net::sockopt;
use sedge_core::security::Principal;

use super::activity::WatchedSocket;
use super::open_connections::{Closed, Full, Place};
use super::pipes::Pipes;
use super::reply::PlainSocket;
use super::service::{Service, Session};
use super::tls::Secured;
use super::when_woken::WhenWoken;
use super::{Net, connection, tls};
use crate::config::{ListenerConfig, SocketBuffers};
use crate::limits::CONNECTIONS_PUT_OFF_MAX;
use crate::tls::ServerTls;

/// Pause of accepting after the process ran out of file descriptors or memory.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// The file with TCP's default congestion control.
const CONGESTION_CONTROL: &str = "/proc/sys/net/ipv4/tcp_congestion_control";

/// A socket that listens.
#[derive(Debug)]
pub struct Listener {
    socket: Async<TcpListener>,
    config: Arc<ListenerConfig>,
    /// Whether packets of its connections may wait for further data.
    fills_packets: bool,
}

impl Listener {
    /// Binds the listener of `config` to `address`, to which its host has resolved.
    ///
    /// # Errors
    /// The address is taken, or is not one of this machine's.
    pub fn bind(
        config: Arc<ListenerConfig>,
        address: SocketAddr,
        buffers: SocketBuffers,
    ) -> io::Result<Self> {
        let socket = Async::<TcpListener>::bind(address)?;
        // Accepted sockets inherit these options.
        if let Some(bytes) = buffers.send {
            sockopt::set_socket_send_buffer_size(&socket, bytes)?;
        }
        if let Some(bytes) = buffers.receive {
            sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
        }
        // Loopback needs no pacing. Set before accept: accepted sockets inherit it.
        let is_unpaced = !is_paced()
            || (address.ip().is_loopback() && sockopt::set_tcp_congestion(&socket, "reno").is_ok());
        Ok(Self {
            socket,
            config,
            fills_packets: is_unpaced,
        })
    }

    pub fn config(&self) -> &ListenerConfig {
        &self.config
    }

    /// Returns the address on which it listens.
    ///
    /// # Errors
    /// The operating system cannot tell the address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().local_addr()
    }
}

/// Returns whether a packet that waits for more data costs a timer, which is more expensive than
/// the packets that are saved: true under BBR, for which TCP itself does the pacing.
fn is_paced() -> bool {
    let by_default = std::fs::read_to_string(CONGESTION_CONTROL);
    by_default.is_ok_and(|name| name.starts_with("bbr"))
}

/// Accepts connections until the task is dropped; `service` answers their requests.
pub async fn accept(listener: Listener, net: Arc<Net>, service: impl Service) {
    let name = &listener.config.name;
    loop {
        net.rates.wait(name, &net.metrics).await;
        match listener.socket.accept().await {
            Ok((stream, remote)) if let Some(delay) = service.refuses(remote.ip()) => {
                put_off(stream, remote, delay, &net);
            }
            Ok((stream, remote)) => {
                match admit(remote, &listener, &net).await {
                    Ok(place) => {
                        net.rates.accepted(name);
                        welcome(stream, place, remote, &listener, &net, &service);
                    }
                    Err(full) => refuse(remote, &full, &net),
                }
                // However many connect at once, those that are connected get their turn (KIP-402).
                future::yield_now().await;
            }
            Err(error) => {
                warn!(target: "sedge::net", "cannot accept a connection: {error}; retrying");
                // If descriptors or memory are short, closing a silent connection frees some.
                if let Some(closed) = net.connections.close_silent() {
                    tell(&closed, "a new connection cannot be accepted", &net);
                }
                Timer::after(ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// Closes a connection of an address that opens too many: after a while, since its client would
/// open another at once (KIP-612).
fn put_off(stream: Async<TcpStream>, remote: SocketAddr, delay: Duration, net: &Arc<Net>) {
    debug!(
        target: "sedge::net",
        "peer={remote} refused: its address opens more connections than connection_creation_rate"
    );
    let Some(held) = Held::take(net) else {
        return;
    };
    let put_off = async move {
        Timer::after(delay).await;
        drop(stream);
        drop(held);
    };
    net.runtime.spawn(put_off).detach();
}

/// One of the connections that are put off.
struct Held(Arc<Net>);

impl Held {
    fn take(net: &Arc<Net>) -> Option<Self> {
        let held = net.put_off.fetch_add(1, Ordering::Relaxed);
        // Gives its place back when it is dropped.
        let this = Self(Arc::clone(net));
        (held < CONNECTIONS_PUT_OFF_MAX).then_some(this)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.put_off.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn admit(remote: SocketAddr, listener: &Listener, net: &Net) -> Result<Place, Full> {
    let displaced = |closed: &Closed, full: &Full| tell(closed, &full.to_string(), net);
    net.connections
        .admit(remote, &listener.config, displaced)
        .await
}

fn tell(closed: &Closed, why: &str, net: &Net) {
    net.metrics.connections_displaced.increment();
    let Closed { remote, silent_for } = closed;
    warn!(
        target: "sedge::net",
        "peer={remote} closed after being idle for {} s: {why}", silent_for.as_secs()
    );
}

fn refuse(remote: SocketAddr, full: &Full, net: &Net) {
    net.metrics.connections_refused.increment();
    let why = match full {
        Full::Address { .. } => "",
        Full::Broker { .. } | Full::Listener { .. } => " and none is idle",
    };
    warn!(target: "sedge::net", "peer={remote} refused: {full}{why}");
}

fn welcome(
    stream: Async<TcpStream>,
    place: Place,
    remote: SocketAddr,
    listener: &Listener,
    net: &Arc<Net>,
    service: &impl Service,
) {
    let local = match stream
        .get_ref()
        .set_nodelay(true)
        .and_then(|()| stream.get_ref().local_addr())
    {
        Ok(local) => local,
        Err(error) => {
            debug!(target: "sedge::net", "peer={remote} closed before it was served: {error}");
            return;
        }
    };
    net.metrics.connections_accepted.increment();
    let config = Arc::clone(&listener.config);
    let pipes = listener.fills_packets.then(|| Arc::clone(&net.pipes));
    let session = Session::new(remote, local, config, Arc::clone(place.activity()));
    let open = Open {
        stream,
        place,
        session,
        pipes,
    };
    let (shared, service) = (Arc::clone(net), service.clone());
    match listener.config.tls.clone() {
        None => net
            .runtime
            .spawn(serve(open, None, shared, service))
            .detach(),
        Some(tls) => net.handshakes.spawn(secure(open, tls, shared, service)),
    }
}

/// A connection with a place. The socket is dropped first: the next holder of the place may need
/// its descriptor.
struct Open {
    stream: Async<TcpStream>,
    place: Place,
    session: Session,
    pipes: Option<Arc<Pipes>>,
}

/// Performs the TLS handshake, and passes the connection to the executor of the requests.
async fn secure(open: Open, tls: Arc<ServerTls>, net: Arc<Net>, service: impl Service) {
    let socket = WatchedSocket::new(&open.stream, open.place.activity());
    let shaken = async { Some(tls::handshake(socket, &tls, &net).await) };
    let displaced = async {
        open.place.wanted().await;
        None
    };
    match future::or(shaken, displaced).await {
        Some(Ok(secured)) => {
            // With SASL, a certificate only lets a client come as far as the login.
            if let Some(name) = &secured.principal
                && !open.session.listener.protocol.has_sasl()
            {
                open.session.identify(Principal::user(name));
            }
            let serve = serve(open, Some(secured), Arc::clone(&net), service);
            net.runtime.spawn(serve).detach();
        }
        Some(Err(reason)) => connection::tell(open.session.remote, reason, &net),
        None => {}
    }
}

/// Serves a connection until it closes or has to give its place to another.
async fn serve(open: Open, secured: Option<Secured>, net: Arc<Net>, service: impl Service) {
    let Open {
        stream,
        place,
        session,
        pipes,
    } = open;
    let socket = WatchedSocket::new(&stream, place.activity());
    let serve = async {
        let session = Arc::new(session);
        let Some(secured) = secured else {
            let writer = PlainSocket::new(socket, pipes);
            return connection::serve(socket, writer, session, &net, &service).await;
        };
        let tls = tls::Stream::new(socket, secured);
        let (reader, writer) = tls.halves();
        connection::serve(reader, writer, session, &net, &service).await;
        tls.close();
    };
    future::or(WhenWoken::new(serve), WhenWoken::new(place.wanted())).await;
    drop(stream);
    drop(place);
}

#[cfg(test)]
mod tests {
    use sedge_core::security_protocol::SecurityProtocol;

    use super::*;
    use crate::config::HostPort;

    /// Whichever congestion control this machine uses elsewhere.
    #[test]
    fn connections_of_a_loopback_listener_are_not_paced() {
        let buffers = SocketBuffers {
            send: None,
            receive: None,
        };
        let config = Arc::new(ListenerConfig {
            name: "PLAINTEXT".to_owned(),
            protocol: SecurityProtocol::Plaintext,
            tls: None,
            sasl: None,
            address: HostPort::parse("127.0.0.1:0").unwrap(),
            advertised: None,
            max_connections: None,
        });
        let address = "127.0.0.1:0".parse().unwrap();
        let listener = Listener::bind(config, address, buffers).unwrap();
        assert!(listener.fills_packets);
        let used = sockopt::tcp_congestion(&listener.socket).unwrap();
        assert!(!used.starts_with("bbr"), "{used}");
    }
}

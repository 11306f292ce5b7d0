//! The listening socket: accepts, counts, and hands connections to the executor.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_io::{Async, Timer};
use log::{debug, warn};
use rustix::net::sockopt;

use super::activity::{Activity, WatchedSocket};
use super::connection::{self, Peer};
use super::reply::PlainSocket;
use crate::broker::Broker;
use crate::config::SocketBuffers;

/// How long accepting rests after the process ran out of file descriptors or memory.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Where TCP's congestion control by default is told.
const CONGESTION_CONTROL: &str = "/proc/sys/net/ipv4/tcp_congestion_control";

/// A socket that listens.
#[derive(Debug)]
pub struct Listener {
    socket: Async<TcpListener>,
    /// Whether packets of its connections may wait for what comes next.
    fills_packets: bool,
}

impl Listener {
    /// Binds it.
    ///
    /// # Errors
    /// The address is taken, or is not one of this machine's.
    pub fn bind(address: SocketAddr, buffers: SocketBuffers) -> io::Result<Self> {
        let socket = Async::<TcpListener>::bind(address)?;
        // Accepted sockets inherit them.
        if let Some(bytes) = buffers.send {
            sockopt::set_socket_send_buffer_size(&socket, bytes)?;
        }
        if let Some(bytes) = buffers.receive {
            sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
        }
        // Only this machine comes to loopback: there is nothing to pace. It is too late for that
        // when a connection is there.
        let is_unpaced = !is_paced()
            || (address.ip().is_loopback() && sockopt::set_tcp_congestion(&socket, "reno").is_ok());
        Ok(Self {
            socket,
            fills_packets: is_unpaced,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().local_addr()
    }
}

/// Whether a packet that may wait for more costs a timer, which is dearer than the packets that are
/// saved: so it is under BBR where TCP paces by itself.
fn is_paced() -> bool {
    let by_default = std::fs::read_to_string(CONGESTION_CONTROL);
    by_default.is_ok_and(|name| name.starts_with("bbr"))
}

/// Accepts connections until the task is dropped.
pub async fn accept(listener: Listener, broker: Arc<Broker>) {
    loop {
        match listener.socket.accept().await {
            Ok((stream, remote)) => welcome(stream, remote, listener.fills_packets, &broker),
            Err(error) => {
                warn!(target: "sedge::net", "accept failed: {error}; trying again");
                Timer::after(ACCEPT_BACKOFF).await;
            }
        }
    }
}

fn welcome(
    stream: Async<TcpStream>,
    remote: SocketAddr,
    fills_packets: bool,
    broker: &Arc<Broker>,
) {
    let open = broker.connections.fetch_add(1, Ordering::Relaxed);
    let guard = OpenConnection(Arc::clone(broker));
    if open >= broker.config.max_connections {
        broker.metrics.connections_refused.increment();
        warn!(
            target: "sedge::net",
            "peer={remote} refused: max.connections={} are open", broker.config.max_connections
        );
        return;
    }
    let local = match stream
        .get_ref()
        .set_nodelay(true)
        .and_then(|()| stream.get_ref().local_addr())
    {
        Ok(local) => local,
        Err(error) => {
            debug!(target: "sedge::net", "peer={remote} is gone already: {error}");
            return;
        }
    };
    broker.metrics.connections_accepted.increment();
    let broker = Arc::clone(broker);
    let runtime = broker.runtime.clone();
    runtime
        .spawn(async move {
            let _open = guard;
            let pipes = fills_packets.then(|| Arc::clone(&broker.pipes));
            let activity = Activity::default();
            let socket = WatchedSocket::new(&stream, &activity);
            let writer = PlainSocket::new(socket, pipes);
            connection::serve(socket, writer, &activity, Peer { remote, local }, broker).await;
        })
        .detach();
}

struct OpenConnection(Arc<Broker>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever this machine uses elsewhere.
    #[test]
    fn connections_of_a_loopback_listener_are_not_paced() {
        let buffers = SocketBuffers {
            send: None,
            receive: None,
        };
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), buffers).unwrap();
        assert!(listener.fills_packets);
        let used = sockopt::tcp_congestion(&listener.socket).unwrap();
        assert!(!used.starts_with("bbr"), "{used}");
    }
}

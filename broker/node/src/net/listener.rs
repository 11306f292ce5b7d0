//! The listening socket: accepts, counts, and hands connections to the executor.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_io::{Async, Timer};
use log::{debug, warn};
use rustix::net::sockopt;

use super::connection::{self, Peer};
use super::reply::PlainSocket;
use crate::broker::Broker;
use crate::config::SocketBuffers;

/// How long accepting rests after the process ran out of file descriptors or memory.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Binds the listener.
///
/// # Errors
/// The address is taken, or is not one of this machine's.
pub fn bind(address: SocketAddr, buffers: SocketBuffers) -> io::Result<Async<TcpListener>> {
    let listener = Async::<TcpListener>::bind(address)?;
    // Accepted sockets inherit them.
    if let Some(bytes) = buffers.send {
        sockopt::set_socket_send_buffer_size(&listener, bytes)?;
    }
    if let Some(bytes) = buffers.receive {
        sockopt::set_socket_recv_buffer_size(&listener, bytes)?;
    }
    // Only this machine comes here: there is nothing to pace. It is too late for that when a
    // connection is there.
    if address.ip().is_loopback() && !fills_packets(&listener) {
        let _ = sockopt::set_tcp_congestion(&listener, "reno");
    }
    Ok(listener)
}

/// Accepts connections until the task is dropped.
pub async fn accept(listener: Async<TcpListener>, broker: Arc<Broker>) {
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => welcome(stream, remote, &broker),
            Err(error) => {
                warn!(target: "sedge::net", "accept failed: {error}; trying again");
                Timer::after(ACCEPT_BACKOFF).await;
            }
        }
    }
}

fn welcome(stream: Async<TcpStream>, remote: SocketAddr, broker: &Arc<Broker>) {
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
            let fills = fills_packets(&stream);
            let writer = PlainSocket::new(&stream, fills.then(|| Arc::clone(&broker.pipes)));
            connection::serve(&stream, writer, Peer { remote, local }, broker).await;
        })
        .detach();
}

/// Whether a packet may wait for what comes next. Not under BBR where TCP paces by itself: a timer
/// is set for every packet that waited, which costs more than the packets that are saved.
fn fills_packets(socket: impl AsFd) -> bool {
    sockopt::tcp_congestion(socket).is_ok_and(|name| !name.starts_with("bbr"))
}

struct OpenConnection(Arc<Broker>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::{block_on, zip};

    use super::*;

    /// Whatever this machine uses elsewhere.
    #[test]
    fn connections_of_a_loopback_listener_are_not_paced() {
        let buffers = SocketBuffers {
            send: None,
            receive: None,
        };
        let listener = bind("127.0.0.1:0".parse().unwrap(), buffers).unwrap();
        let address = listener.get_ref().local_addr().unwrap();
        let connected = zip(listener.accept(), Async::<TcpStream>::connect(address));
        let (accepted, _client) = block_on(connected);
        assert!(fills_packets(accepted.unwrap().0));
    }
}

//! Sockets: listeners, connections and their limit, the order of replies, and the bounds of their
//! memory. A [`service::Service`] answers the requests.
//!
//! **Invariant:** this module knows neither the broker nor the handlers: it serves a `Service`
//! (`tests.rs` serves a made-up one).
//! **Invariant:** before its TLS handshake is complete, a connection uses bounded memory and time
//! (`tls`, `tests/tls/bad_input.rs`). Before a client has logged in by SASL, only ApiVersions and
//! its login are answered, and its frames are small (`tests/sasl/hostile.rs`).
//! **Invariant:** clients cannot take the file descriptors that the broker needs
//! (`DESCRIPTORS_OWN`). A process that runs out of descriptors refuses what needs one
//! (`Error::is_refusal` of storage) and continues.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use sedge_protocol::parts::frame_bytes;
use sedge_storage::Chunk;

use crate::config::Config;
use crate::config::connection_limits::ConnectionLimits;
use crate::limits::{CONNECTION_ANSWER_BYTES, TLS_PIECE_BYTES_MAX};
use crate::metrics::Metrics;
use crate::process::logging::told::Told;
use crate::process::runtime::Runtime;
use handshakes::Handshakes;
use memory::{Admission, Memory, Pool};
use open_connections::OpenConnections;
use pipes::Pipes;
use rates::Rates;
use reply::ReplySocket;

mod activity;
pub mod certificates;
mod connection;
pub mod frames;
mod handshakes;
pub mod listener;
pub mod memory;
mod open_connections;
mod pipes;
mod rates;
mod reply;
pub(crate) mod secure_socket;
pub mod service;
mod spares;
mod tls;
pub mod unsupported;
mod when_woken;

#[cfg(test)]
mod tests;

/// State shared by the connections of all listeners.
#[derive(Debug)]
pub struct Net {
    pub memory: Memory,
    connections: Arc<OpenConnections>,
    rates: Rates,
    handshakes: Handshakes,
    pipes: Arc<Pipes>,
    /// Clients that were logged because they asked for something unsupported.
    told_unsupported: Told,
    /// Connections that are held for a while before they are closed unserved.
    put_off: AtomicUsize,
    request_bytes_max: usize,
    /// Of a frame before authentication.
    login_bytes_max: usize,
    idle_ms: u64,
    metrics: Arc<Metrics>,
    runtime: Runtime,
}

impl Net {
    pub fn new(config: &Config, metrics: Arc<Metrics>, runtime: Runtime) -> Arc<Self> {
        let limits = ConnectionLimits::of_file(config);
        Arc::new(Self {
            memory: Memory::new(config.queued_max_request_bytes, config.answer_bytes),
            connections: OpenConnections::new(limits.max, limits.of_address),
            rates: Rates::new(&config.creation_rates),
            handshakes: Handshakes::new(config.num_network_threads, runtime.clone()),
            pipes: Arc::default(),
            told_unsupported: Told::default(),
            put_off: AtomicUsize::new(0),
            request_bytes_max: config.socket_request_max_bytes,
            login_bytes_max: config.sasl_server_max_receive_size,
            idle_ms: config.connections_max_idle_ms,
            metrics,
            runtime,
        })
    }

    /// Replaces the limits of connections. Connections that are open stay.
    pub fn set_limits(&self, limits: ConnectionLimits) {
        self.rates.set_broker(limits.creation_rate);
        self.connections.set_limits(limits.max, limits.of_address);
    }

    /// Reserves memory for the two buffers that TLS needs to send an answer. If memory is short,
    /// the buffers are smaller. Returns `None` without TLS, or for a small answer.
    fn room_for_copies(&self, socket: &mut impl ReplySocket, frame: &[Chunk]) -> Option<Admission> {
        socket.piece_bytes()?;
        if frame_bytes(frame) <= CONNECTION_ANSWER_BYTES {
            return None;
        }
        // One buffer has bytes from the segment, the other has the encrypted bytes.
        let room = self.memory.answers.take_share(2 * TLS_PIECE_BYTES_MAX);
        socket.set_piece_bytes(room.bytes() / 2);
        Some(room)
    }

    /// Sets the gauges of what clients hold.
    pub fn measure(&self, metrics: &Metrics) {
        metrics.connections.set(self.connections.count() as i64);
        let bytes = |pool: &Pool| pool.used_bytes() as i64;
        metrics
            .request_memory_bytes
            .set(bytes(&self.memory.requests));
        metrics.answer_memory_bytes.set(bytes(&self.memory.answers));
    }
}

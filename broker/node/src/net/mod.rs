//! Sockets: the listeners, the connections and how many there may be, the order of replies, and the
//! bounds of their memory. What is served is a [`service::Service`].

use std::sync::Arc;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::process::logging::told::Told;
use crate::process::runtime::Runtime;
use memory::Memory;
use open_connections::OpenConnections;
use pipes::Pipes;

mod activity;
mod connection;
pub mod listener;
pub mod memory;
mod open_connections;
mod pipes;
mod reply;
pub mod service;
pub mod unsupported;
mod when_woken;

#[cfg(test)]
mod tests;

/// What the connections of all listeners share.
#[derive(Debug)]
pub struct Net {
    pub memory: Memory,
    connections: Arc<OpenConnections>,
    pipes: Arc<Pipes>,
    /// Clients that asked for what is not supported.
    told_unsupported: Told,
    request_bytes_max: usize,
    idle_ms: u64,
    metrics: Arc<Metrics>,
    runtime: Runtime,
}

impl Net {
    pub fn new(config: &Config, metrics: Arc<Metrics>, runtime: Runtime) -> Arc<Self> {
        Arc::new(Self {
            memory: Memory::new(config.queued_max_request_bytes, config.answer_bytes),
            connections: OpenConnections::new(config.max_connections),
            pipes: Arc::default(),
            told_unsupported: Told::default(),
            request_bytes_max: config.socket_request_max_bytes,
            idle_ms: config.connections_max_idle_ms,
            metrics,
            runtime,
        })
    }

    /// Returns how many connections are open.
    pub fn open_connections(&self) -> usize {
        self.connections.count()
    }
}

//! The threads of TLS handshakes, which have low priority (KIP-402).
//!
//! A step of a handshake takes as much computing as tens of requests. If hundreds of clients
//! connect at once, requests would wait behind their steps. So handshakes run beside the executor
//! of the requests, and a thread that answers requests goes first.

use std::sync::OnceLock;

use log::warn;

use crate::process::runtime::{LowPriority, Runtime};

/// The executor of handshakes. Its threads start with the first one.
#[derive(Debug)]
pub struct Handshakes {
    threads: usize,
    executor: OnceLock<Option<LowPriority>>,
    /// Runs the handshakes if the operating system refuses threads.
    runtime: Runtime,
}

impl Handshakes {
    pub const fn new(threads: usize, runtime: Runtime) -> Self {
        Self {
            threads,
            executor: OnceLock::new(),
            runtime,
        }
    }

    /// Runs a handshake in the background.
    pub fn spawn(&self, handshake: impl Future<Output = ()> + Send + 'static) {
        let executor = self.executor.get_or_init(|| {
            let started = LowPriority::start("sedge-tls", self.threads);
            started
                .inspect_err(|error| {
                    warn!(
                        target: "sedge::net",
                        "cannot start a thread for TLS handshakes: {error}; they run between \
                         requests"
                    );
                })
                .ok()
        });
        match executor {
            Some(executor) => executor.spawn(handshake),
            None => self.runtime.spawn(handshake).detach(),
        }
    }
}

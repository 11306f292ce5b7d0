//! A flood of connections at a steady rate, which are given up as soon as they are open.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use rustix::net::sockopt;

use crate::wire::Connection;

/// Threads that connect: one whose connection waits must not slow the others down.
const THREADS: u32 = 8;

/// What a connection of a flood does before it is reset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Nothing.
    Silent,
    /// Sends these bytes and waits for the first that come back. The broker answers a hello of TLS
    /// with its signature.
    Says(Vec<u8>),
}

/// A flood, until it is dropped.
#[derive(Debug)]
pub struct Flood {
    shared: std::sync::Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    began: Instant,
}

#[derive(Debug, Default)]
struct Shared {
    is_over: AtomicBool,
    opened: AtomicU64,
}

impl Flood {
    pub fn start(address: &str, a_second: u32, manner: &Manner) -> Self {
        let shared = std::sync::Arc::<Shared>::default();
        let every = Duration::from_secs(1) * THREADS / a_second;
        let threads = (0..THREADS).map(|number| {
            let (shared, address, manner) = (shared.clone(), address.to_owned(), manner.clone());
            // Each has a host of its own, so that ports do not run out.
            let host = Ipv4Addr::new(127, 1, 0, 1 + number as u8);
            spawn(move || {
                let mut next = Instant::now();
                while !shared.is_over.load(Ordering::Relaxed) {
                    sleep(next.saturating_duration_since(Instant::now()));
                    next += every;
                    let mut stream = Connection::from_host(host, &address).stream;
                    if let Manner::Says(bytes) = &manner {
                        // The broker may refuse it, which is an answer too.
                        drop(
                            stream
                                .write_all(bytes)
                                .and_then(|()| stream.read(&mut [0; 64])),
                        );
                    }
                    reset(&stream);
                    shared.opened.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        Self {
            threads: threads.collect(),
            shared,
            began: Instant::now(),
        }
    }

    /// Connections a second so far.
    pub fn rate(&self) -> f64 {
        self.shared.opened.load(Ordering::Relaxed) as f64 / self.began.elapsed().as_secs_f64()
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // One that panicked has said why.
            let _ = thread.join();
        }
    }
}

/// Has a connection end without a trace when it is dropped: thousands that wait for late packets
/// would leave no ports.
pub fn reset(stream: &TcpStream) {
    sockopt::set_socket_linger(stream, Some(Duration::ZERO)).expect("a socket takes options");
}

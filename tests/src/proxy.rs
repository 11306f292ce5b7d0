//! A TCP link that can be cut and restored.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::ports;

const BUFFER_BYTES: usize = 64 << 10;

/// Forwards connections to a fixed address while the link is up.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    cut: AtomicBool,
    ended: AtomicBool,
    /// Bytes that went either way.
    forwarded: AtomicU64,
    target: Mutex<Option<String>>,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Listens, and accepts nothing until [`Proxy::forward_to`]: a broker behind the proxy must
    /// know this address before it starts.
    pub fn start() -> Self {
        let port = ports::free();
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
        let shared = Arc::new(Shared::default());
        let state = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if state.ended.load(Ordering::SeqCst) {
                    return;
                }
                let target = lock(&state.target).clone();
                if let Some(target) = target.filter(|_| !state.cut.load(Ordering::SeqCst)) {
                    state.forward(&client, &target);
                }
            }
        });
        Self { port, shared }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn forward_to(&self, target: &str) {
        *lock(&self.shared.target) = Some(target.into());
    }

    /// Returns the bytes that went either way so far.
    pub fn forwarded(&self) -> u64 {
        self.shared.forwarded.load(Ordering::SeqCst)
    }

    /// Closes every connection, and accepts none until [`Proxy::restore`].
    pub fn cut(&self) {
        self.shared.cut.store(true, Ordering::SeqCst);
        self.shared.close_all();
    }

    pub fn restore(&self) {
        self.shared.cut.store(false, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.shared.close_all();
        // Wakes the accepting thread, which then ends.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

impl Shared {
    fn forward(self: &Arc<Self>, client: &TcpStream, target: &str) {
        let Ok(server) = TcpStream::connect(target) else {
            return;
        };
        for stream in [client, &server] {
            drop(stream.set_nodelay(true));
        }
        let mut open = lock(&self.open);
        for (from, to) in [(client, &server), (&server, client)] {
            let (Ok(from), Ok(to), Ok(kept)) = (from.try_clone(), to.try_clone(), from.try_clone())
            else {
                return;
            };
            open.push(kept);
            let shared = Arc::clone(self);
            std::thread::spawn(move || copy(from, to, &shared.forwarded));
        }
        drop(open);
        // A cut may have come between the accept and the lock.
        if self.cut.load(Ordering::SeqCst) {
            self.close_all();
        }
    }

    fn close_all(&self) {
        for stream in lock(&self.open).drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, forwarded: &AtomicU64) {
    let mut buffer = vec![0; BUFFER_BYTES];
    // A half-open connection without traffic must not keep a thread for ever.
    drop(from.set_read_timeout(Some(Duration::from_mins(10))));
    while let Ok(n) = from.read(&mut buffer) {
        if n == 0 || to.write_all(&buffer[..n]).is_err() {
            break;
        }
        forwarded.fetch_add(n as u64, Ordering::SeqCst);
    }
    drop(from.shutdown(Shutdown::Both));
    drop(to.shutdown(Shutdown::Both));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends a byte and waits for its echo or the end of the connection.
    fn echoes(address: &str) -> bool {
        let mut stream = TcpStream::connect(address).unwrap();
        let mut back = [0];
        stream.write_all(b"x").is_ok() && stream.read_exact(&mut back).is_ok()
    }

    #[test]
    fn cuts_and_restores() {
        let echo = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = echo.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for stream in echo.incoming().flatten() {
                let to = stream.try_clone().unwrap();
                std::thread::spawn(move || copy(stream, to, &AtomicU64::new(0)));
            }
        });
        let proxy = Proxy::start();
        assert!(!echoes(&proxy.address()), "nothing to forward to yet");
        proxy.forward_to(&target);
        assert!(echoes(&proxy.address()));
        let mut open = TcpStream::connect(proxy.address()).unwrap();
        open.write_all(b"x").unwrap();
        open.read_exact(&mut [0]).unwrap();
        proxy.cut();
        assert!(
            open.read_exact(&mut [0]).is_err(),
            "a cut ends what is open"
        );
        assert!(!echoes(&proxy.address()));
        proxy.restore();
        assert!(echoes(&proxy.address()));
    }
}

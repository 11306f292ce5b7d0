//! Records when a connection last moved a byte, in either direction.
//!
//! Every read and write that moves bytes counts, even inside a frame: a long answer over a slow
//! line is an active connection, and only silence is idle (`connections.max.idle.ms`).

use std::io::{self, IoSlice, IoSliceMut};
use std::net::TcpStream;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_io::{Async, Timer};
use futures_lite::{AsyncRead, AsyncWrite, future};

/// The time of the last byte, in milliseconds since the connection was opened, and whether its
/// client is more than a stranger.
#[derive(Debug)]
pub struct Activity {
    opened: Instant,
    last_ms: AtomicU64,
    is_known: AtomicBool,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            opened: Instant::now(),
            last_ms: AtomicU64::new(0),
            is_known: AtomicBool::new(false),
        }
    }
}

impl Activity {
    /// Notes a byte.
    pub fn note(&self) {
        self.last_ms
            .store(self.opened.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Notes that the client has authenticated, or was served where it does not have to.
    pub fn note_known(&self) {
        self.is_known.store(true, Ordering::Relaxed);
    }

    pub fn is_known(&self) -> bool {
        self.is_known.load(Ordering::Relaxed)
    }

    pub fn last_use(&self) -> Instant {
        self.opened + Duration::from_millis(self.last_ms.load(Ordering::Relaxed))
    }

    pub fn silent_for(&self) -> Duration {
        self.last_use().elapsed()
    }

    /// Returns when no byte was read or written for `idle_ms`.
    pub async fn wait_until_idle(&self, idle_ms: u64) {
        loop {
            let due = self.last_ms.load(Ordering::Relaxed).saturating_add(idle_ms);
            let Some(due) = self.opened.checked_add(Duration::from_millis(due)) else {
                return future::pending().await;
            };
            if Instant::now() >= due {
                return;
            }
            Timer::at(due).await;
        }
    }
}

/// A connection's socket, which notes each byte that it moves.
#[derive(Clone, Copy, Debug)]
pub struct WatchedSocket<'a> {
    stream: &'a Async<TcpStream>,
    activity: &'a Activity,
}

impl<'a> WatchedSocket<'a> {
    pub fn new(stream: &'a Async<TcpStream>, activity: &'a Activity) -> Self {
        Self { stream, activity }
    }

    /// Returns the socket itself, whose reads and writes return [`io::ErrorKind::WouldBlock`].
    pub fn without_waiting(&self) -> &'a TcpStream {
        self.stream.get_ref()
    }

    /// Runs `write` when the socket accepts bytes. `write` returns the number of bytes written.
    ///
    /// # Errors
    /// The errors of `write`, except [`io::ErrorKind::WouldBlock`], after which `write` is retried.
    pub async fn write_with(
        &self,
        write: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let written = self.stream.write_with(write).await;
        self.moved(&written);
        written
    }

    fn moved(&self, outcome: &io::Result<usize>) {
        if matches!(outcome, Ok(bytes) if *bytes > 0) {
            self.activity.note();
        }
    }

    fn seen(&self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(outcome) = &outcome {
            self.moved(outcome);
        }
        outcome
    }
}

impl AsyncRead for WatchedSocket<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut stream = self.stream;
        self.seen(Pin::new(&mut stream).poll_read(context, buffer))
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut stream = self.stream;
        self.seen(Pin::new(&mut stream).poll_read_vectored(context, buffers))
    }
}

impl AsyncWrite for WatchedSocket<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut stream = self.stream;
        self.seen(Pin::new(&mut stream).poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut stream = self.stream;
        self.seen(Pin::new(&mut stream).poll_write_vectored(context, pieces))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut stream = self.stream;
        Pin::new(&mut stream).poll_flush(context)
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut stream = self.stream;
        Pin::new(&mut stream).poll_close(context)
    }
}

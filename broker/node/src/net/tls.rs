//! TLS on a connection: the handshake, and the session shared by the read and write halves.
//!
//! **Invariant:** until its handshake is complete, a connection uses at most
//! `TLS_HANDSHAKE_BYTES_MAX` of memory, which is reserved for it as for each connection, and at
//! most `TLS_HANDSHAKE_TIME_MAX` of time. So clients that stall in their handshakes take no memory
//! that others wait for.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_io::Timer;
use futures_lite::{AsyncRead, AsyncWrite, AsyncWriteExt, future};
use futures_rustls::TlsAcceptor;
use futures_rustls::server::TlsStream;
use rustls::HandshakeKind;

use super::Net;
use super::activity::WatchedSocket;
use super::reply::ReplySocket;
use super::service::Disconnect;
use crate::limits::{TLS_HANDSHAKE_BYTES_MAX, TLS_HANDSHAKE_TIME_MAX, TLS_PIECE_BYTES_MIN};
use crate::metrics::HandshakeFailure;
use crate::tls::ServerTls;
use crate::tls::words::{self, Peer};

/// A connection after a complete handshake.
pub struct Secured<'a> {
    stream: Mutex<TlsStream<Bounded<'a>>>,
    /// The principal's name, from the client certificate. `None` if the client sent none.
    pub principal: Option<String>,
}

/// Performs the TLS handshake and determines the client's principal.
///
/// # Errors
/// The handshake failed, stalled or timed out; the caller closes the connection.
pub async fn handshake<'a>(
    socket: WatchedSocket<'a>,
    tls: &ServerTls,
    net: &Net,
) -> Result<Secured<'a>, Disconnect> {
    let time = TLS_HANDSHAKE_TIME_MAX.min(Duration::from_millis(net.idle_ms));
    let late = async {
        Timer::after(time).await;
        Err(Disconnect::Handshake {
            failure: HandshakeFailure::Timeout,
            why: format!("not complete within {} ms", time.as_millis()),
        })
    };
    let outcome = future::or(net.handshakes.run(shake_hands(socket, tls)), late).await;
    let metrics = &net.metrics.tls;
    match &outcome {
        Ok(secured) => {
            metrics.handshakes.increment();
            if secured.is_resumed() {
                metrics.resumed.increment();
            }
        }
        Err(Disconnect::Handshake { failure, .. }) => metrics.failed(*failure),
        Err(_) => metrics.failed(HandshakeFailure::Closed),
    }
    outcome
}

async fn shake_hands<'a>(
    socket: WatchedSocket<'a>,
    tls: &ServerTls,
) -> Result<Secured<'a>, Disconnect> {
    let socket = Bounded {
        socket,
        left: TLS_HANDSHAKE_BYTES_MAX,
        is_bound: true,
    };
    let accepting = TlsAcceptor::from(tls.current())
        .accept_with(socket, |session| {
            session.set_buffer_limit(Some(TLS_PIECE_BYTES_MIN));
        })
        .into_fallible();
    let mut stream = accepting.await.map_err(|(error, socket)| {
        let is_silent = socket.left == TLS_HANDSHAKE_BYTES_MAX;
        match words::of_io(&error) {
            Some(error) => {
                let (failure, why) = words::explain(error, Peer::Client);
                Disconnect::Handshake { failure, why }
            }
            // Health probes connect and send nothing.
            None if is_silent => Disconnect::Io(error),
            None => Disconnect::Handshake {
                failure: HandshakeFailure::Closed,
                why: format!("the client closed the connection ({error})"),
            },
        }
    })?;
    stream.get_mut().0.is_bound = false;
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_s = now_s.map_or(0, |since| since.as_secs() as i64);
    let chain = stream.get_ref().1.peer_certificates();
    let principal = tls.principal(chain, now_s).map_err(|refused| {
        let (failure, why) = (HandshakeFailure::Certificate, refused.to_string());
        Disconnect::Handshake { failure, why }
    })?;
    Ok(Secured {
        stream: Mutex::new(stream),
        principal,
    })
}

impl<'a> Secured<'a> {
    /// Locks the stream. Both halves run in one task, so the lock is never contended.
    fn lock(&self) -> MutexGuard<'_, TlsStream<Bounded<'a>>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_resumed(&self) -> bool {
        self.lock().get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Returns the read half and the write half.
    pub fn halves(&self) -> (Half<'_, 'a>, Half<'_, 'a>) {
        let half = || Half {
            secured: self,
            piece_bytes: TLS_PIECE_BYTES_MIN,
        };
        (half(), half())
    }

    /// Sends the `close_notify` alert, if the socket accepts it without blocking.
    pub async fn close(&self) {
        let mut half = self.halves().1;
        let _ = future::poll_once(half.close()).await;
    }
}

/// One direction of a connection.
pub struct Half<'s, 'a> {
    secured: &'s Secured<'a>,
    piece_bytes: usize,
}

impl ReplySocket for Half<'_, '_> {
    fn piece_bytes(&self) -> Option<usize> {
        Some(self.piece_bytes)
    }

    fn set_piece_bytes(&mut self, bytes: usize) {
        self.piece_bytes = bytes.max(TLS_PIECE_BYTES_MIN);
        let limit = Some(self.piece_bytes);
        self.secured.lock().get_mut().1.set_buffer_limit(limit);
    }
}

impl AsyncRead for Half<'_, '_> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut stream = self.secured.lock();
        let read = Pin::new(&mut *stream).poll_read(context, buffer);
        match read {
            Poll::Pending => {
                say_now(&mut stream);
                Poll::Pending
            }
            // Treat a missing `close_notify` as a normal end of stream.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Poll::Ready(Ok(0))
            }
            read @ Poll::Ready(_) => read,
        }
    }
}

/// Sends what the session says without being asked to: the refusal of a renegotiation, a new key.
/// What the socket does not take now goes with the next answer, so that the read half does not
/// wait for what the write half waits for.
fn say_now(stream: &mut TlsStream<Bounded<'_>>) {
    let (bounded, session) = stream.get_mut();
    if session.wants_write() {
        // An error is that of the next read or write as well.
        let _ = session.write_tls(&mut bounded.socket.without_waiting());
    }
}

impl AsyncWrite for Half<'_, '_> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.secured.lock()).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.secured.lock()).poll_write_vectored(context, pieces)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.secured.lock()).poll_flush(context)
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.secured.lock()).poll_close(context)
    }
}

/// A socket that limits the bytes read until the handshake is complete.
struct Bounded<'a> {
    socket: WatchedSocket<'a>,
    left: usize,
    is_bound: bool,
}

impl AsyncRead for Bounded<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if !self.is_bound {
            return Pin::new(&mut self.socket).poll_read(context, buffer);
        }
        let bytes = buffer.len().min(self.left);
        if bytes == 0 {
            let why = format!(
                "the client sent more than {TLS_HANDSHAKE_BYTES_MAX} bytes in its handshake"
            );
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, why)));
        }
        let read = Pin::new(&mut self.socket).poll_read(context, &mut buffer[..bytes]);
        if let Poll::Ready(Ok(read)) = &read {
            self.left -= read;
        }
        read
    }
}

impl AsyncWrite for Bounded<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, pieces)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(context)
    }
}

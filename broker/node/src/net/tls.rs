//! TLS on a connection: the handshake, and the socket of the session, which the read and write
//! halves share.
//!
//! **Invariant:** until its handshake is complete, a connection uses at most
//! `TLS_HANDSHAKE_BYTES_MAX` of memory, which is reserved for it as for each connection, and at
//! most `TLS_HANDSHAKE_TIME_MAX` of time. So clients that stall in their handshakes take no memory
//! that others wait for.

use std::io::{self, IoSlice, IoSliceMut, Write};
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_io::Timer;
use futures_lite::future::{self, poll_fn};
use futures_lite::{AsyncRead, AsyncWrite};

use super::Net;
use super::activity::WatchedSocket;
use super::frames::{Idle, RequestSocket};
use super::reply::ReplySocket;
use super::service::Disconnect;
use crate::limits::{
    REQUEST_PIECE_BYTES, TLS_HANDSHAKE_TIME_MAX, TLS_PIECE_BYTES_MIN, TLS_RECORD_PLAIN_BYTES,
};
use crate::metrics::HandshakeFailure;
use crate::tls::ServerTls;
use crate::tls::words::{self, Peer};
use session::Session;

mod queue;
mod session;

/// A session whose handshake is complete.
pub struct Secured {
    session: Box<Session>,
    /// The principal's name, from the client certificate. `None` if the client sent none.
    pub principal: Option<String>,
}

/// Performs the TLS handshake and determines the client's principal.
///
/// # Errors
/// The handshake failed, stalled or timed out; the caller closes the connection.
pub async fn handshake(
    socket: WatchedSocket<'_>,
    tls: &ServerTls,
    net: &Net,
) -> Result<Secured, Disconnect> {
    let time = TLS_HANDSHAKE_TIME_MAX.min(Duration::from_millis(net.idle_ms));
    let late = async {
        Timer::after(time).await;
        Err(Disconnect::Handshake {
            failure: HandshakeFailure::Timeout,
            why: format!("not complete within {} ms", time.as_millis()),
        })
    };
    let outcome = future::or(shake_hands(socket, tls), late).await;
    let metrics = &net.metrics.tls;
    match &outcome {
        Ok(secured) => {
            metrics.handshakes.increment();
            if secured.session.is_resumed() {
                metrics.resumed.increment();
            }
        }
        Err(Disconnect::Handshake { failure, .. }) => metrics.failed(*failure),
        Err(_) => metrics.failed(HandshakeFailure::Closed),
    }
    outcome
}

async fn shake_hands(
    mut socket: WatchedSocket<'_>,
    tls: &ServerTls,
) -> Result<Secured, Disconnect> {
    let session = Session::new(tls.current()).map_err(io::Error::other)?;
    let mut session = Box::new(session);
    if let Err(error) = complete(&mut socket, &mut session).await {
        return Err(match words::of_io(&error) {
            Some(error) => {
                let (failure, why) = words::explain(error, Peer::Client);
                Disconnect::Handshake { failure, why }
            }
            // Health probes connect and send nothing.
            None if session.is_silent() => Disconnect::Io(error),
            None => Disconnect::Handshake {
                failure: HandshakeFailure::Closed,
                why: format!("the client closed the connection ({error})"),
            },
        });
    }
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_s = now_s.map_or(0, |since| since.as_secs() as i64);
    let principal = tls.principal(session.peer_certificates(), now_s);
    let principal = principal.map_err(|refused| {
        let (failure, why) = (HandshakeFailure::Certificate, refused.to_string());
        Disconnect::Handshake { failure, why }
    })?;
    Ok(Secured { session, principal })
}

/// Receives and sends until the handshake is complete.
async fn complete(socket: &mut WatchedSocket<'_>, session: &mut Session) -> io::Result<()> {
    poll_fn(|context| {
        loop {
            ready!(poll_send(socket, session, context))?;
            if !session.is_handshaking() {
                session.free_outgoing();
                return Poll::Ready(Ok(()));
            }
            ready!(poll_receive(socket, session, context, &mut []))?;
            if session.is_handshaking() && session.is_ended() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    })
    .await
}

/// Sends all outgoing bytes.
fn poll_send(
    socket: &mut WatchedSocket<'_>,
    session: &mut Session,
    context: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while !session.outgoing().is_empty() {
        match ready!(Pin::new(&mut *socket).poll_write(context, session.outgoing()))? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            sent => session.sent(sent),
        }
    }
    Poll::Ready(Ok(()))
}

/// Receives into `into`; the alert that tells the client about an error is sent.
fn poll_receive(
    socket: &mut WatchedSocket<'_>,
    session: &mut Session,
    context: &mut Context<'_>,
    into: &mut [IoSliceMut<'_>],
) -> Poll<io::Result<usize>> {
    let received = session.poll_receive(into, |buffer| {
        Pin::new(&mut *socket).poll_read(context, buffer)
    });
    if !session.is_handshaking() || matches!(received, Poll::Ready(Err(_))) {
        say_now(socket, session);
    }
    received
}

/// Sends what the session says without being asked to: the refusal of a renegotiation, an alert.
/// What the socket does not take now goes with the next answer, so that the read half does not
/// wait for what the write half waits for.
fn say_now(socket: &WatchedSocket<'_>, session: &mut Session) {
    if !session.outgoing().is_empty() {
        // An error is that of the next read or write as well.
        if let Ok(sent) = socket.without_waiting().write(session.outgoing()) {
            session.sent(sent);
        }
    }
}

/// A connection after its handshake.
pub struct Stream<'a> {
    socket: WatchedSocket<'a>,
    session: Mutex<Box<Session>>,
}

impl<'a> Stream<'a> {
    pub fn new(socket: WatchedSocket<'a>, secured: Secured) -> Self {
        Self {
            socket,
            session: Mutex::new(secured.session),
        }
    }

    /// Locks the session. Both halves run in one task, so the lock is never contended.
    fn lock(&self) -> MutexGuard<'_, Box<Session>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the read half and the write half.
    pub fn halves(&self) -> (Half<'_>, Half<'_>) {
        let half = || Half {
            stream: self,
            piece_bytes: TLS_PIECE_BYTES_MIN,
        };
        (half(), half())
    }

    /// Sends the `close_notify` alert, if the socket accepts it without blocking.
    pub fn close(&self) {
        let mut session = self.lock();
        session.close();
        say_now(&self.socket, &mut session);
    }
}

/// One direction of a connection.
pub struct Half<'a> {
    stream: &'a Stream<'a>,
    piece_bytes: usize,
}

impl Half<'_> {
    /// Receives until there is something to read, and reads it.
    fn poll_decrypt(
        &self,
        context: &mut Context<'_>,
        into: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let (mut socket, mut session) = (self.stream.socket, self.stream.lock());
        while !session.is_readable() {
            let read = ready!(poll_receive(&mut socket, &mut session, context, into))?;
            if read > 0 {
                return Poll::Ready(Ok(read));
            }
        }
        Poll::Ready(Ok(session.read(into)))
    }

    /// Encrypts bytes once all earlier ones are sent, and sends what the socket takes.
    fn poll_encrypt(
        &self,
        context: &mut Context<'_>,
        encrypt: impl FnOnce(&mut Session) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let (mut socket, mut session) = (self.stream.socket, self.stream.lock());
        ready!(poll_send(&mut socket, &mut session, context))?;
        let encrypted = encrypt(&mut session)?;
        match poll_send(&mut socket, &mut session, context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(encrypted)),
        }
    }
}

impl ReplySocket for Half<'_> {
    fn piece_bytes(&self) -> Option<usize> {
        Some(self.piece_bytes)
    }

    fn set_piece_bytes(&mut self, bytes: usize) {
        self.piece_bytes = bytes.max(TLS_PIECE_BYTES_MIN);
    }
}

impl RequestSocket for Half<'_> {
    /// A whole record fits, so that it is decrypted to where it is read.
    fn buffer(&self) -> (usize, Idle) {
        (TLS_RECORD_PLAIN_BYTES, Idle::FreesBuffer)
    }
}

impl AsyncRead for Half<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_decrypt(context, &mut [IoSliceMut::new(buffer)])
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_decrypt(context, buffers)
    }
}

impl AsyncWrite for Half<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let bytes = &bytes[..bytes.len().min(self.piece_bytes)];
        self.poll_encrypt(context, |session| {
            session.encrypt(bytes)?;
            Ok(bytes.len())
        })
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_encrypt(context, |session| {
            encrypt_pieces(session, pieces, self.piece_bytes)
        })
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (mut socket, mut session) = (self.stream.socket, self.stream.lock());
        ready!(poll_send(&mut socket, &mut session, context))?;
        session.free_outgoing();
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}

const _: () = assert!(REQUEST_PIECE_BYTES > TLS_RECORD_PLAIN_BYTES);

/// Encrypts at most `bytes_max` bytes of the pieces, and returns how many. Small pieces share
/// records.
fn encrypt_pieces(
    session: &mut Session,
    pieces: &[IoSlice<'_>],
    bytes_max: usize,
) -> io::Result<usize> {
    let (mut encrypted, mut gathered) = (0, Vec::new());
    for piece in pieces {
        let mut rest = &piece[..piece.len().min(bytes_max - encrypted - gathered.len())];
        while !rest.is_empty() {
            if gathered.is_empty() && rest.len() >= TLS_RECORD_PLAIN_BYTES {
                session.encrypt(rest)?;
                encrypted += rest.len();
                break;
            }
            let (first, behind) =
                rest.split_at(rest.len().min(TLS_RECORD_PLAIN_BYTES - gathered.len()));
            gathered.extend_from_slice(first);
            rest = behind;
            if gathered.len() == TLS_RECORD_PLAIN_BYTES {
                session.encrypt(&gathered)?;
                encrypted += gathered.len();
                gathered.clear();
            }
        }
    }
    session.encrypt(&gathered)?;
    Ok(encrypted + gathered.len())
}

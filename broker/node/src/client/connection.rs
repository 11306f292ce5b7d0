//! One connection to one broker: the handshake, then requests in flight and their answers in order.
//!
//! A task on the executor owns the stream; callers pass it whole frames. A request that is not
//! answered in time closes the connection: answers come in order, so later requests would not be
//! answered either. Shortly before the login expires at the broker (KIP-368), the connection takes
//! no more requests. It ends when all are answered, and the next connection logs in again.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_channel::{Receiver, Sender};
use async_executor::Executor;
use async_io::Timer;
use futures_lite::{AsyncRead, AsyncWrite, AsyncWriteExt, FutureExt, future};
use sedge_protocol::Bytes;
use smol::lock::{Semaphore, SemaphoreGuardArc};

use super::config::ClientConfig;
use super::error::Error;
use super::request::{Request, decode, encode};
use super::transport::Transport;
use super::versions::Versions;
use super::{frame, handshake};

/// A frame to send, in parts, and the receiver of its answer.
struct Outgoing {
    frame: Vec<Bytes>,
    waiting: Waiting,
}

struct Waiting {
    correlation_id: i32,
    reply: Sender<Result<Bytes, Error>>,
    /// The place in the window, released when the answer has arrived.
    _place: Place,
}

/// A place in a connection's window.
#[derive(Debug)]
pub struct Place(
    #[expect(dead_code, reason = "it is held, and given back when dropped")] SemaphoreGuardArc,
);

/// State shared by the callers and the task.
struct Shared {
    /// Requests written and not answered, oldest first.
    waiting: Mutex<VecDeque<Waiting>>,
    /// Reason why the connection ended; the first caller that asks takes it.
    ended: Mutex<Option<Error>>,
}

/// A connection after its handshake.
pub struct Connection {
    versions: Versions,
    client_id: String,
    request_timeout: Duration,
    next_correlation_id: AtomicI32,
    window: Arc<Semaphore>,
    outbox: Sender<Outgoing>,
    /// Closed when the connection is to end.
    closing: Sender<()>,
    /// Closed when the task has ended.
    ended: Receiver<()>,
    shared: Arc<Shared>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close();
    }
}

impl Connection {
    /// Connects to `address`, negotiates versions with the broker, and starts the task.
    pub async fn open(
        executor: &Executor<'static>,
        config: &ClientConfig,
        address: &str,
    ) -> Result<Self, Error> {
        let limit = config.connect_timeout;
        let opening = async {
            let mut transport = Transport::connect(address, config).await?;
            let (versions, lifetime) = handshake::shake(&mut transport, config).await?;
            Ok((transport, versions, lifetime))
        };
        let late = async {
            Timer::after(limit).await;
            Err(Error::Timeout {
                doing: "connecting",
                after: limit,
            })
        };
        let (transport, versions, lifetime) = opening.or(late).await?;

        let (outbox, outgoing) = async_channel::bounded(config.in_flight_max);
        let (closing, closed) = async_channel::bounded::<()>(1);
        let (ending, ended) = async_channel::bounded::<()>(1);
        let shared = Arc::new(Shared {
            waiting: Mutex::new(VecDeque::new()),
            ended: Mutex::new(None),
        });
        let task = drive(
            transport,
            (outgoing, closed),
            Arc::clone(&shared),
            config.response_bytes_max,
            lifetime.map(renewed_after),
        );
        let task = async move {
            task.await;
            drop(ending);
        };
        executor.spawn(task).detach();
        Ok(Self {
            versions,
            client_id: config.client_id.clone(),
            request_timeout: config.request_timeout,
            next_correlation_id: AtomicI32::new(0),
            window: Arc::new(Semaphore::new(config.in_flight_max)),
            outbox,
            closing,
            ended,
            shared,
        })
    }

    #[must_use]
    pub const fn versions(&self) -> &Versions {
        &self.versions
    }

    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.outbox.is_closed()
    }

    /// Ends the connection; all unanswered requests fail.
    pub fn close(&self) {
        self.outbox.close();
        self.closing.close();
    }

    /// Waits until a connection that takes no more requests has all its answers. Requests of the
    /// next connection then follow those of this one.
    pub async fn finish(&self) {
        let limit = self.request_timeout;
        let ended = async {
            let _ = self.ended.recv().await;
        };
        let late = async {
            Timer::after(limit).await;
            self.close();
        };
        ended.or(late).await;
    }

    /// Sends `request` when there is room in the window, and waits for its answer.
    pub async fn call<R: Request>(self: &Arc<Self>, request: &R) -> Result<R::Response, Error> {
        self.call_at_most(request, i16::MAX).await
    }

    /// Like [`Connection::call`], with a limit on the version.
    pub async fn call_at_most<R: Request>(
        self: &Arc<Self>,
        request: &R,
        version_max: i16,
    ) -> Result<R::Response, Error> {
        let place = Place(self.window.acquire_arc().await);
        self.enqueue(request, version_max, place)?.wait().await
    }

    /// Returns a place in the window, for [`Connection::start`]; `None` if it is full.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        self.window.try_acquire_arc().map(Place)
    }

    /// Queues `request` at once: it is sent after every request that was started before it.
    pub fn start<R: Request>(
        self: &Arc<Self>,
        request: &R,
        place: Place,
    ) -> Result<InFlight<R>, Error> {
        self.enqueue(request, i16::MAX, place)
    }

    fn enqueue<R: Request>(
        self: &Arc<Self>,
        request: &R,
        version_max: i16,
        place: Place,
    ) -> Result<InFlight<R>, Error> {
        let version = self
            .versions
            .choose_at_most(R::KEY, version_max)
            .ok_or(Error::Unsupported { api: R::KEY })?;
        let correlation_id = self.next_correlation_id.fetch_add(1, Ordering::Relaxed);
        let frame = encode(request, version, correlation_id, &self.client_id)?;
        let (reply, answer) = async_channel::bounded(1);
        let waiting = Waiting {
            correlation_id,
            reply,
            _place: place,
        };
        // The queue has as many places as the window, so sending fails only if it is closed.
        self.outbox
            .try_send(Outgoing { frame, waiting })
            .map_err(|_| Error::Closed)?;
        Ok(InFlight {
            connection: Arc::clone(self),
            answer,
            version,
            request: PhantomData,
        })
    }
}

/// A request that was sent.
#[derive(Debug)]
pub struct InFlight<R> {
    connection: Arc<Connection>,
    answer: Receiver<Result<Bytes, Error>>,
    version: i16,
    request: PhantomData<fn() -> R>,
}

impl<R: Request> InFlight<R> {
    /// Returns the answer, within the request timeout.
    pub async fn wait(self) -> Result<R::Response, Error> {
        let limit = self.connection.request_timeout;
        let answer = async {
            match self.answer.recv().await {
                Ok(answer) => answer,
                Err(_) => Err(lock(&self.connection.shared.ended)
                    .take()
                    .unwrap_or(Error::Closed)),
            }
        };
        let late = async {
            Timer::after(limit).await;
            self.connection.close();
            Err(Error::Timeout {
                doing: "waiting for an answer",
                after: limit,
            })
        };
        decode::<R>(answer.or(late).await?, self.version)
    }
}

/// Returns when to renew a login of this lifetime: as in Kafka's clients, at a random point between
/// 85 and 95 % of it. Clients that connected at the same time do not all reconnect at once.
fn renewed_after(lifetime: Duration) -> Duration {
    lifetime.mul_f64(0.85 + 0.1 * fastrand::f64())
}

/// The task: writes queued frames and passes on the answers until either side ends.
async fn drive(
    transport: Transport,
    (outgoing, closed): (Receiver<Outgoing>, Receiver<()>),
    shared: Arc<Shared>,
    response_bytes_max: usize,
    renewed_after: Option<Duration>,
) {
    let Transport {
        mut reader,
        mut writer,
        peer,
    } = transport;
    let writing = write_requests(&mut writer, &outgoing, &shared);
    let reading = read_answers(&mut reader, &outgoing, &shared, response_bytes_max);
    let closing = async {
        let _ = closed.recv().await;
        Error::Closed
    };
    let renewing = async {
        match renewed_after {
            Some(after) => Timer::after(after).await,
            None => future::pending().await,
        };
        outgoing.close();
        future::pending().await
    };
    let error = closing.or(writing).or(reading).or(renewing).await;
    log::debug!("connection to {peer} ended: {error}");
    outgoing.close();
    *lock(&shared.ended) = Some(error);
    // Dropping their senders tells waiting callers that there will be no answer.
    lock(&shared.waiting).clear();
    while outgoing.try_recv().is_ok() {}
}

async fn write_requests(
    writer: &mut (impl AsyncWrite + Unpin),
    outgoing: &Receiver<Outgoing>,
    shared: &Shared,
) -> Error {
    while let Ok(Outgoing { frame, waiting }) = outgoing.recv().await {
        lock(&shared.waiting).push_back(waiting);
        let written = async {
            write_all(writer, &frame).await?;
            writer.flush().await
        };
        if let Err(error) = written.await {
            return error.into();
        }
    }
    if !lock(&shared.waiting).is_empty() {
        // The last answer ends the connection.
        future::pending::<()>().await;
    }
    Error::Closed
}

/// Writes all parts, as many as possible in one system call.
async fn write_all(writer: &mut (impl AsyncWrite + Unpin), parts: &[Bytes]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let mut left = &mut slices[..];
    while !left.is_empty() {
        match writer.write_vectored(left).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => IoSlice::advance_slices(&mut left, written),
        }
    }
    Ok(())
}

async fn read_answers(
    reader: &mut (impl AsyncRead + Unpin),
    outgoing: &Receiver<Outgoing>,
    shared: &Shared,
    bytes_max: usize,
) -> Error {
    loop {
        let mut answer = match frame::read(reader, bytes_max).await {
            Ok(answer) => answer,
            Err(error) => return error,
        };
        let Some(waiting) = lock(&shared.waiting).pop_front() else {
            return Error::NotKafka;
        };
        if let Err(error) = frame::take_correlation_id(&mut answer, waiting.correlation_id) {
            return error;
        }
        // Fails only if the caller has stopped waiting.
        let _ = waiting.reply.try_send(Ok(answer));
        let is_last = outgoing.is_closed() && outgoing.is_empty();
        if is_last && lock(&shared.waiting).is_empty() {
            return Error::Closed;
        }
        future::yield_now().await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! One connection to one broker: the handshake, then requests in flight and their answers in order.
//!
//! A task on the executor owns the stream; callers pass it whole frames. A request that is not
//! answered in time closes the connection: answers come in order, so later requests would not be
//! answered either.

use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_channel::{Receiver, Sender};
use async_executor::Executor;
use async_io::Timer;
use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, FutureExt, future};
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::{ApiKey, ApiVersionsRequestData, ApiVersionsResponseData};
use sedge_protocol::{Bytes, ErrorCode};
use smol::lock::{Semaphore, SemaphoreGuardArc};

use super::config::ClientConfig;
use super::error::Error;
use super::limits::RESPONSE_CHUNK_BYTES;
use super::request::{Request, decode, encode};
use super::transport::Transport;
use super::versions::{Versions, own_range};

/// A frame to send, and the receiver of its answer.
struct Outgoing {
    frame: Bytes,
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
            let mut transport = Transport::connect(address, config.tls.as_ref()).await?;
            let versions = negotiate(&mut transport, config).await?;
            Ok((transport, versions))
        };
        let late = async {
            Timer::after(limit).await;
            Err(Error::Timeout {
                doing: "connecting",
                after: limit,
            })
        };
        let (transport, versions) = opening.or(late).await?;

        let (outbox, outgoing) = async_channel::bounded(config.in_flight_max);
        let (closing, closed) = async_channel::bounded::<()>(1);
        let shared = Arc::new(Shared {
            waiting: Mutex::new(VecDeque::new()),
            ended: Mutex::new(None),
        });
        let task = drive(
            transport,
            outgoing,
            closed,
            Arc::clone(&shared),
            config.response_bytes_max,
        );
        executor.spawn(task).detach();
        Ok(Self {
            versions,
            client_id: config.client_id.clone(),
            request_timeout: config.request_timeout,
            next_correlation_id: AtomicI32::new(0),
            window: Arc::new(Semaphore::new(config.in_flight_max)),
            outbox,
            closing,
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

/// KIP-35 and KIP-511: tries the newest version first. A broker that does not know it answers error
/// 35 in the form of version 0, with the range that it does know.
async fn negotiate(transport: &mut Transport, config: &ClientConfig) -> Result<Versions, Error> {
    let request = ApiVersionsRequestData::default()
        .with_client_software_name(KafkaString::from_static("sedge"))
        .with_client_software_version(KafkaString::from_static(env!("CARGO_PKG_VERSION")));
    let (_, newest) = own_range(ApiKey::ApiVersions);
    let mut version = newest;
    for correlation_id in 0..2 {
        let frame = encode(&request, version, correlation_id, &config.client_id)?;
        transport.writer.write_all(&frame).await?;
        transport.writer.flush().await?;
        let mut answer = read_frame(&mut transport.reader, config.response_bytes_max).await?;
        take_correlation_id(&mut answer, correlation_id)?;
        if error_code_of(&answer) != Some(ErrorCode::UnsupportedVersion) {
            let response = decode::<ApiVersionsRequestData>(answer, version)?;
            Error::check(ApiKey::ApiVersions, response.error_code, None)?;
            return Ok(Versions::from_response(&response));
        }
        let fallback: ApiVersionsResponseData = decode::<ApiVersionsRequestData>(answer, 0)?;
        // Brokers before 2.4 give no range with this error; they all speak version 0.
        version = Versions::from_response(&fallback)
            .choose(ApiKey::ApiVersions)
            .unwrap_or(0);
    }
    Err(Error::Unsupported {
        api: ApiKey::ApiVersions,
    })
}

fn error_code_of(answer: &Bytes) -> Option<ErrorCode> {
    answer
        .first_chunk::<2>()
        .map(|code| ErrorCode::from(i16::from_be_bytes(*code)))
}

fn take_correlation_id(answer: &mut Bytes, expected: i32) -> Result<(), Error> {
    match answer.first_chunk::<4>() {
        Some(id) if i32::from_be_bytes(*id) == expected => {
            let _ = answer.split_to(4);
            Ok(())
        }
        _ => Err(Error::NotKafka),
    }
}

/// The task: writes queued frames and passes on the answers until either side ends.
async fn drive(
    transport: Transport,
    outgoing: Receiver<Outgoing>,
    closed: Receiver<()>,
    shared: Arc<Shared>,
    response_bytes_max: usize,
) {
    let Transport {
        mut reader,
        mut writer,
        peer,
    } = transport;
    let writing = write_requests(&mut writer, &outgoing, &shared);
    let reading = read_answers(&mut reader, &shared, response_bytes_max);
    let closing = async {
        let _ = closed.recv().await;
        Error::Closed
    };
    let error = writing.or(reading).or(closing).await;
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
            writer.write_all(&frame).await?;
            writer.flush().await
        };
        if let Err(error) = written.await {
            return error.into();
        }
    }
    Error::Closed
}

async fn read_answers(
    reader: &mut (impl AsyncRead + Unpin),
    shared: &Shared,
    bytes_max: usize,
) -> Error {
    loop {
        let mut answer = match read_frame(reader, bytes_max).await {
            Ok(answer) => answer,
            Err(error) => return error,
        };
        let Some(waiting) = lock(&shared.waiting).pop_front() else {
            return Error::NotKafka;
        };
        if let Err(error) = take_correlation_id(&mut answer, waiting.correlation_id) {
            return error;
        }
        // Fails only if the caller has stopped waiting.
        let _ = waiting.reply.try_send(Ok(answer));
        future::yield_now().await;
    }
}

/// The first bytes of a TLS alert, which are no length of an answer.
const TLS_ALERT: [u8; 2] = [21, 3];

/// Reads one answer without its length. Memory grows with the bytes received, not with the length
/// announced.
async fn read_frame(
    reader: &mut (impl AsyncRead + Unpin),
    bytes_max: usize,
) -> Result<Bytes, Error> {
    let mut length = [0; 4];
    reader.read_exact(&mut length).await?;
    if length.starts_with(&TLS_ALERT) {
        return Err(Error::TlsOnly);
    }
    // Four bytes of text make a length far over the limit, or a negative one.
    let bytes = usize::try_from(i32::from_be_bytes(length)).map_err(|_| Error::NotKafka)?;
    if bytes > bytes_max {
        return Err(Error::TooLarge { bytes, bytes_max });
    }
    let mut frame = Vec::with_capacity(bytes.min(RESPONSE_CHUNK_BYTES));
    let got = reader.take(bytes as u64).read_to_end(&mut frame).await?;
    if got < bytes {
        return Err(Error::Closed);
    }
    Ok(frame.into())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! One connection: frames in, replies out, in the order of the requests (the protocol guide's
//! "Network").
//!
//! The reader starts each request in order; what cannot be answered at once (a produce that waits
//! for its flush, a fetch that waits for data) becomes a future that the writer half awaits in
//! turn. Only produces start while others before them are not answered ([`Start`]), so they share
//! flushes; the protocol guide promises that a connection's requests are processed in the order in
//! which they were sent, and each sees what those before it did. A request that has to wait for its
//! turn is left in the socket, but for its first bytes.
//!
//! **Invariant:** replies leave in the order of the requests, and no request starts before one in
//! front of it, unless both are pipelined (`tests/protocol/pipelined.rs`).

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use async_channel::{Receiver, Sender};
use event_listener::Event;
use futures_lite::future;
use futures_lite::{AsyncRead, AsyncReadExt};
use log::{debug, info, warn};
use sedge_protocol::Bytes;
use sedge_protocol::fetch::frame_bytes;
use sedge_protocol::frame::{self, OtherProtocol};

use super::activity::Activity;
use super::memory::{Admission, Closer, Part, Pool};
use super::reply::{Frame, ReplySocket, write_frame};
use super::unsupported::Unsupported;
use super::when_woken::WhenWoken;
use crate::broker::Broker;
use crate::handlers;
use crate::limits::{CONNECTION_IN_FLIGHT_MAX, CONNECTION_READ_BYTES, REQUEST_PIECE_BYTES};

/// A reply, and the memory that it holds, where the handler has charged it already.
#[derive(Debug)]
pub struct Reply {
    pub frame: Frame,
    pub memory: Option<Admission>,
}

impl From<Frame> for Reply {
    fn from(frame: Frame) -> Self {
        let memory = None;
        Self { frame, memory }
    }
}

/// What a handler makes of a request.
pub enum Answer {
    /// The reply is here.
    Now(Reply),
    /// The reply comes when the future does. `None` means that there is none (acks=0).
    Later(Pin<Box<dyn Future<Output = Result<Option<Reply>, Disconnect>> + Send>>),
}

/// When a request starts, seen from those before it on its connection that are not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At once behind requests that are pipelined too; otherwise in turn.
    Pipelined,
    /// When all of them are answered: it sees what they did.
    InTurn,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Now(_) => "Now",
            Self::Later(_) => "Later",
        })
    }
}

/// Why the broker closes a connection. Each is one log line.
#[derive(Debug)]
pub enum Disconnect {
    /// The length in front of a frame is negative or over `socket.request.max.bytes`.
    FrameLength { bytes: i64, bytes_max: usize },
    /// The first bytes are those of a TLS hello.
    TlsOnPlaintext,
    /// The first bytes are those of an HTTP request.
    Http,
    /// The frame cannot be decoded as the API and version that it names.
    Malformed {
        api_key: i16,
        api_version: i16,
        reason: String,
    },
    /// An API, or a version of one, that this broker does not speak.
    Unsupported(Unsupported),
    /// Others wait for the memory that its half-sent request or its unread answer holds.
    Stalled,
    /// acks=0 and the write failed: closing is the only answer.
    UnacknowledgedFailure,
    /// No byte was read or written for `connections.max.idle.ms`.
    Idle { idle_ms: u64 },
    /// The broker is shutting down.
    ShuttingDown,
    /// The socket failed.
    Io(io::Error),
}

impl fmt::Display for Disconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FrameLength { bytes, bytes_max } => write!(
                f,
                "a frame of {bytes} bytes is not between 0 and {bytes_max}, the smaller of \
                 socket.request.max.bytes and queued.max.request.bytes"
            ),
            Self::TlsOnPlaintext => f.write_str(
                "TLS on a plaintext listener: set the client's security.protocol=PLAINTEXT",
            ),
            Self::Http => f.write_str("HTTP on the Kafka listener: the console has its own port"),
            Self::Malformed {
                api_key,
                api_version,
                reason,
            } => {
                write!(
                    f,
                    "a request of api {api_key} v{api_version} cannot be decoded: {reason}"
                )
            }
            Self::Unsupported(request) => request.fmt(f),
            Self::Stalled => f.write_str(
                "others wait for memory, and it neither went on sending its request nor took its \
                 answer (sedge.memory.max.bytes, queued.max.request.bytes)",
            ),
            Self::UnacknowledgedFailure => f.write_str("a produce with acks=0 failed"),
            Self::Idle { idle_ms } => {
                write!(
                    f,
                    "no byte came or went for connections.max.idle.ms={idle_ms}"
                )
            }
            Self::ShuttingDown => f.write_str("the broker is shutting down"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl From<io::Error> for Disconnect {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Peer {
    pub remote: SocketAddr,
    /// The address of ours that the client reached.
    pub local: SocketAddr,
    /// What the client said of itself (KIP-511).
    pub software: Arc<OnceLock<String>>,
}

impl Peer {
    /// Whoever comes to a dual-stack listener by IPv4 is known by that address, and told ours as
    /// such: a client without IPv6 cannot use the mapped form.
    pub fn new(remote: SocketAddr, local: SocketAddr) -> Self {
        let canonical =
            |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        Self {
            remote: canonical(remote),
            local: canonical(local),
            software: Arc::default(),
        }
    }
}

/// Serves a connection until it closes. `reader` and `writer` note in `activity` what they move.
pub async fn serve(
    reader: impl AsyncRead + Unpin,
    writer: impl ReplySocket,
    activity: &Activity,
    peer: Peer,
    broker: Arc<Broker>,
) {
    let (answers, queue) = async_channel::bounded(CONNECTION_IN_FLIGHT_MAX);
    let remote = peer.remote;
    let unanswered = Unanswered::default();
    let closer = Arc::new(Closer::default());
    let of_both = (&unanswered, &closer);
    let read = read_requests(reader, peer, Arc::clone(&broker), answers, of_both);
    let write = write_replies(writer, queue, &broker, of_both);
    let idle_ms = broker.config.connections_max_idle_ms;
    let idle = async {
        activity.wait_until_idle(idle_ms).await;
        Err(Disconnect::Idle { idle_ms })
    };
    let closed = async {
        closer.wait().await;
        Err(Disconnect::Stalled)
    };
    let idle_or_closed = future::or(WhenWoken::new(idle), WhenWoken::new(closed));
    let read_or_write = future::or(WhenWoken::new(read), WhenWoken::new(write));
    match future::or(read_or_write, idle_or_closed).await {
        Ok(()) => {}
        Err(Disconnect::Io(error)) => debug!(target: "sedge::net", "peer={remote} closed: {error}"),
        Err(idle @ Disconnect::Idle { .. }) => {
            info!(target: "sedge::net", "peer={remote} closed: {idle}");
        }
        Err(Disconnect::Unsupported(request))
            if broker.told_unsupported.first(&request.client_id).is_none() =>
        {
            broker.metrics.connections_broken_off.increment();
            debug!(target: "sedge::net", "peer={remote} disconnected: {request}");
        }
        Err(reason) => {
            broker.metrics.connections_broken_off.increment();
            warn!(target: "sedge::net", "peer={remote} disconnected: {reason}");
        }
    }
}

struct Queued {
    answer: Answer,
    api_key: i16,
    /// For an answer that is here.
    room: Option<Admission>,
}

async fn read_requests(
    reader: impl AsyncRead + Unpin,
    peer: Peer,
    broker: Arc<Broker>,
    answers: Sender<Queued>,
    (unanswered, closer): (&Unanswered, &Arc<Closer>),
) -> Result<(), Disconnect> {
    let mut frames = FrameReader::new(reader, broker.config.socket_request_max_bytes);
    let mut before = Start::Pipelined;
    while let Some(bytes) = frames.next_length().await? {
        frames.begin(bytes).await?;
        let api_key = frames.api_key(bytes);
        let start = handlers::start_of(api_key);
        if (before, start) != (Start::Pipelined, Start::Pipelined) {
            unanswered.wait_for_none().await;
        }
        before = start;
        // Before its body is read, so that it holds nothing while it waits.
        let room = if handlers::answers_at_once(api_key) {
            broker.memory.room_for_answer(api_key).await
        } else {
            None
        };
        let frame = frames.frame(bytes, &broker.memory.requests, closer).await?;
        broker.metrics.bytes_in.add(frame.len() as u64 + 4);
        let answer = handlers::dispatch(&broker, &peer, frame).await?;
        unanswered.add();
        let queued = Queued {
            answer,
            api_key,
            room,
        };
        if answers.send(queued).await.is_err() {
            break;
        }
    }
    // The client has said all: it may still read what it asked for.
    answers.close();
    future::pending().await
}

async fn write_replies(
    mut writer: impl ReplySocket,
    queue: Receiver<Queued>,
    broker: &Broker,
    (unanswered, closer): (&Unanswered, &Arc<Closer>),
) -> Result<(), Disconnect> {
    while let Ok(queued) = queue.recv().await {
        let (api_key, room) = (queued.api_key, queued.room);
        let reply = match queued.answer {
            Answer::Now(reply) => Some(reply),
            Answer::Later(future) => future.await?,
        };
        if let Some(Reply { frame, memory }) = reply {
            let mut memory =
                memory.unwrap_or_else(|| broker.memory.charge_answer(api_key, &frame, room));
            // It is held until the client has taken the answer.
            memory.depends_on(closer);
            write_frame(&mut writer, &frame).await?;
            broker.metrics.bytes_out.add(frame_bytes(&frame) as u64);
        }
        unanswered.remove();
    }
    Ok(())
}

/// The requests of a connection that have started and whose replies are not written.
#[derive(Debug, Default)]
struct Unanswered {
    count: AtomicUsize,
    none: Event,
}

impl Unanswered {
    fn add(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    fn remove(&self) {
        if self.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.none.notify(usize::MAX);
        }
    }

    async fn wait_for_none(&self) {
        while self.count.load(Ordering::Acquire) > 0 {
            let listener = self.none.listen();
            if self.count.load(Ordering::Acquire) > 0 {
                listener.await;
            }
        }
    }
}

/// Cuts the stream into frames. Allocates a frame only after its length is checked and admitted.
struct FrameReader<R> {
    reader: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    bytes_max: usize,
    is_first: bool,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    fn new(reader: R, bytes_max: usize) -> Self {
        let buffer = vec![0; CONNECTION_READ_BYTES].into_boxed_slice();
        Self {
            reader,
            buffer,
            start: 0,
            end: 0,
            bytes_max,
            is_first: true,
        }
    }

    /// The length of the next frame, or `None` where the stream ends between frames.
    async fn next_length(&mut self) -> Result<Option<usize>, Disconnect> {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        } else if self.buffer.len() - self.start < 8 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        while self.end - self.start < 4 {
            let read = self.reader.read(&mut self.buffer[self.end..]).await?;
            if read == 0 {
                if self.start == self.end {
                    return Ok(None);
                }
                return Err(Disconnect::Io(io::ErrorKind::UnexpectedEof.into()));
            }
            self.end += read;
        }
        let seen = &self.buffer[self.start..self.end];
        if self.is_first {
            match frame::other_protocol(seen) {
                Some(OtherProtocol::Tls) => return Err(Disconnect::TlsOnPlaintext),
                Some(OtherProtocol::Http) => return Err(Disconnect::Http),
                None => {}
            }
            self.is_first = false;
        }
        let length = i32::from_be_bytes(*seen.first_chunk().expect("four bytes were read"));
        let bytes = usize::try_from(length)
            .ok()
            .filter(|bytes| *bytes <= self.bytes_max)
            .ok_or(Disconnect::FrameLength {
                bytes: i64::from(length),
                bytes_max: self.bytes_max,
            })?;
        self.start += 4;
        Ok(Some(bytes))
    }

    /// Waits for the first bytes of a frame, as many as the buffer holds. A frame is admitted to
    /// memory only then: a length alone, which costs its sender nothing, takes nothing from others.
    async fn begin(&mut self, bytes: usize) -> Result<(), Disconnect> {
        let first = bytes.min(self.buffer.len());
        if self.buffer.len() - self.start < first {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        while self.end - self.start < first {
            let read = self.reader.read(&mut self.buffer[self.end..]).await?;
            if read == 0 {
                return Err(Disconnect::Io(io::ErrorKind::UnexpectedEof.into()));
            }
            self.end += read;
        }
        Ok(())
    }

    /// The API of the frame that was begun last; -1 where the frame is too short to say.
    fn api_key(&self, bytes: usize) -> i16 {
        let begun = &self.buffer[self.start..self.end];
        let key = begun.first_chunk().filter(|key| key.len() <= bytes);
        key.map_or(-1, |key| i16::from_be_bytes(*key))
    }

    /// The frame whose length was read last. Its bytes are charged as they come, until the last
    /// reference to any of them is gone.
    async fn frame(
        &mut self,
        bytes: usize,
        pool: &Arc<Pool>,
        closer: &Arc<Closer>,
    ) -> Result<Bytes, Disconnect> {
        let buffered = bytes.min(self.end - self.start);
        let mut admission = if buffered == bytes {
            pool.take(bytes, Part::Any).await
        } else {
            let first = bytes.min(REQUEST_PIECE_BYTES);
            let mut admission = pool.take(first, Part::AllButSmall).await;
            admission.depends_on(closer);
            admission
        };
        // Memory that is not written to yet is only promised.
        let mut frame = Vec::with_capacity(bytes);
        frame.extend_from_slice(&self.buffer[self.start..self.start + buffered]);
        self.start += buffered;
        while frame.len() < bytes {
            if frame.len() == admission.bytes() {
                let piece = REQUEST_PIECE_BYTES.min(bytes - frame.len());
                admission.grow(piece).await;
            }
            let filled = frame.len();
            frame.resize(admission.bytes(), 0);
            self.reader.read_exact(&mut frame[filled..]).await?;
        }
        admission.settle();
        Ok(Bytes::from_owner(Admitted {
            frame,
            _admission: admission,
        }))
    }
}

/// A request's bytes, and what they are charged to.
struct Admitted {
    frame: Vec<u8>,
    _admission: Admission,
}

impl AsRef<[u8]> for Admitted {
    fn as_ref(&self) -> &[u8] {
        &self.frame
    }
}

const _: () = assert!(REQUEST_PIECE_BYTES > CONNECTION_READ_BYTES);

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::block_on;
    use futures_lite::io::Cursor;

    const FRAME_MAX: usize = 300_000;

    fn frames_of(stream: Vec<u8>) -> Result<Vec<Vec<u8>>, Disconnect> {
        block_on(async {
            let pool = Pool::new(1 << 20);
            let mut frames = FrameReader::new(Cursor::new(stream), FRAME_MAX);
            let mut found = Vec::new();
            while let Some(bytes) = frames.next_length().await? {
                frames.begin(bytes).await?;
                let frame = frames.frame(bytes, &pool, &Arc::default()).await?;
                found.push(frame.to_vec());
            }
            Ok(found)
        })
    }

    fn framed(bytes: usize) -> Vec<u8> {
        let mut frame = (bytes as i32).to_be_bytes().to_vec();
        frame.extend((0..bytes).map(|at| at as u8));
        frame
    }

    #[test]
    fn a_client_by_ipv4_of_a_dual_stack_listener_has_no_mapped_address() {
        let mapped = "[::ffff:192.0.2.1]:9092".parse().unwrap();
        let peer = Peer::new(mapped, "[2001:db8::1]:9092".parse().unwrap());
        assert_eq!(peer.remote.to_string(), "192.0.2.1:9092");
        assert_eq!(peer.local.to_string(), "[2001:db8::1]:9092");
    }

    #[test]
    fn frames_of_all_sizes_are_cut_where_they_end() {
        let sizes = [
            0, 1, 5, 8_180, 8_188, 8_189, 70_000, 3, 131_072, 131_073, 300_000, 1,
        ];
        let stream = sizes.iter().flat_map(|bytes| framed(*bytes)).collect();
        let found = frames_of(stream).unwrap();
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), sizes);
        for frame in found {
            assert!(frame.iter().enumerate().all(|(at, byte)| *byte == at as u8));
        }
    }

    #[test]
    fn forged_lengths_are_refused_before_anything_is_allocated() {
        for length in [-1_i32, i32::MIN, i32::MAX, FRAME_MAX as i32 + 1] {
            let refused = frames_of(length.to_be_bytes().to_vec());
            assert!(
                matches!(refused, Err(Disconnect::FrameLength { .. })),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn a_large_claim_takes_no_memory_before_its_bytes_come() {
        let mut stream = 90_000_i32.to_be_bytes().to_vec();
        stream.extend([0; 1024]);
        let begun = block_on(async {
            let mut frames = FrameReader::new(Cursor::new(stream), 100_000);
            let bytes = frames.next_length().await?.expect("a length");
            frames.begin(bytes).await
        });
        assert!(matches!(begun, Err(Disconnect::Io(_))), "{begun:?}");
    }

    #[test]
    fn a_truncated_frame_is_an_error_and_a_clean_end_is_not() {
        let mut stream = framed(10);
        assert_eq!(frames_of(stream.clone()).unwrap().len(), 1);
        stream.truncate(9);
        assert!(matches!(frames_of(stream), Err(Disconnect::Io(_))));
    }
}

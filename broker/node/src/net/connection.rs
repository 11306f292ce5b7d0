//! One connection: reads frames and sends replies, in the order of the requests (the protocol
//! guide's "Network").
//!
//! The reader starts each request in order. A request that cannot be answered at once (a produce
//! that waits for its flush, a fetch that waits for data) becomes a future that the writer half
//! awaits in its turn. Only produces start while earlier ones are unanswered ([`Start`]), so that
//! they share flushes. The protocol guide promises that a connection's requests are processed in
//! the order in which they were sent, and each sees the effects of those before it. A request that
//! has to wait for its turn is left in the socket, except for its first bytes.
//!
//! **Invariant:** replies are sent in the order of the requests, and no request starts before an
//! earlier one, unless both are pipelined (`tests/protocol/pipelined.rs`).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};
use async_io::Timer;
use event_listener::Event;
use futures_lite::future::{self, poll_fn};
use futures_lite::{AsyncRead, AsyncReadExt};
use log::{debug, info, warn};
use sedge_protocol::Bytes;
use sedge_protocol::fetch::frame_bytes;
use sedge_protocol::frame::{self, OtherProtocol};

use super::Net;
use super::activity::{Activity, WatchedSocket};
use super::memory::{Admission, Closer, Part, Pool};
use super::reply::{ReplySocket, write_frame};
use super::service::{Answer, Disconnect, Estimate, Reply, Rule, Service, Session, Start};
use super::when_woken::WhenWoken;
use crate::limits::{
    AUTHENTICATION_TIME_MAX, CONNECTION_IN_FLIGHT_MAX, CONNECTION_READ_BYTES, REQUEST_PIECE_BYTES,
};

/// Serves a connection until it closes. `reader` and `writer` note the bytes that they move in the
/// session's activity.
pub async fn serve(
    reader: impl RequestSocket,
    writer: impl ReplySocket,
    session: Arc<Session>,
    net: &Net,
    service: &impl Service,
) {
    let (answers, queue) = async_channel::bounded(CONNECTION_IN_FLIGHT_MAX);
    let remote = session.remote;
    let turns = Turns::default();
    let closer = Arc::new(Closer::default());
    let connection = Connection {
        net,
        turns: &turns,
        closer: &closer,
    };
    let bytes_max = (net.request_bytes_max, net.login_bytes_max);
    let frames = FrameReader::new(reader, bytes_max);
    let late = async {
        if !session.is_authenticated() {
            Timer::after(AUTHENTICATION_TIME_MAX).await;
        }
        if session.is_authenticated() {
            future::pending().await
        } else {
            Err(Disconnect::Authentication {
                mechanism: None,
                why: format!("it took over {} s", AUTHENTICATION_TIME_MAX.as_secs()),
            })
        }
    };
    let read = connection.read_requests(frames, &session, service, answers);
    let write = connection.write_replies(writer, queue);
    let idle_ms = net.idle_ms;
    let idle = async {
        turns.wait_until_idle(&session.activity, idle_ms).await;
        Err(Disconnect::Idle { idle_ms })
    };
    let closed = async {
        closer.wait().await;
        Err(Disconnect::Stalled)
    };
    let idle_or_closed = future::or(WhenWoken::new(idle), WhenWoken::new(closed));
    let idle_or_closed = future::or(idle_or_closed, WhenWoken::new(late));
    let read_or_write = future::or(WhenWoken::new(read), WhenWoken::new(write));
    if let Err(reason) = future::or(read_or_write, idle_or_closed).await {
        tell(remote, reason, net);
    }
}

/// Says why a connection is closed.
pub fn tell(remote: SocketAddr, reason: Disconnect, net: &Net) {
    match reason {
        Disconnect::Io(error) => debug!(target: "sedge::net", "peer={remote} closed: {error}"),
        idle @ Disconnect::Idle { .. } => {
            info!(target: "sedge::net", "peer={remote} closed: {idle}");
        }
        Disconnect::Unsupported(request)
            if net.told_unsupported.first(&request.client_id).is_none() =>
        {
            net.metrics.connections_broken_off.increment();
            debug!(target: "sedge::net", "peer={remote} disconnected: {request}");
        }
        reason => {
            net.metrics.connections_broken_off.increment();
            warn!(target: "sedge::net", "peer={remote} disconnected: {reason}");
        }
    }
}

struct Queued {
    answer: Answer,
    api_key: i16,
    /// Memory for an answer that is ready.
    room: Option<Admission>,
}

/// State shared by the reading and the writing half.
#[derive(Clone, Copy)]
struct Connection<'a> {
    net: &'a Net,
    turns: &'a Turns,
    closer: &'a Arc<Closer>,
}

impl Connection<'_> {
    async fn read_requests(
        self,
        mut frames: FrameReader<impl RequestSocket>,
        session: &Arc<Session>,
        service: &impl Service,
        answers: Sender<Box<Queued>>,
    ) -> Result<(), Disconnect> {
        let Self { net, turns, closer } = self;
        let mut before = Start::Pipelined;
        loop {
            if !session.is_authenticated() {
                // The answer of the last message decides what may come now.
                turns.wait_for_none_unanswered().await;
            }
            let is_authenticated = session.is_authenticated();
            let Some(bytes) = frames.next_length(is_authenticated).await? else {
                break;
            };
            frames.begin(bytes).await?;
            let api_key = frames.api_key(bytes);
            let rule = if is_authenticated {
                service.rule(api_key)
            } else {
                Rule::LOGIN
            };
            if (before, rule.start) != (Start::Pipelined, Start::Pipelined) {
                turns.wait_for_none_unanswered().await;
            }
            turns.wait_until_unmuted().await;
            before = rule.start;
            // Before the body is read, so that the request holds no memory while it waits.
            let room = match rule.estimate {
                Estimate::Recent => net.memory.room_for_answer(api_key).await,
                Estimate::Nothing => None,
            };
            let frame = frames.frame(bytes, &net.memory.requests, closer).await?;
            net.metrics.bytes_in.add(frame.len() as u64 + 4);
            let answer = service.call(session, frame).await?;
            if session.is_authenticated() {
                session.activity.note_known();
            }
            turns.start();
            if let Answer::Later { mute, .. } = &answer {
                turns.mute(*mute);
            }
            // Boxed, so that the empty queue of an idle connection is small.
            let queued = Box::new(Queued {
                answer,
                api_key,
                room,
            });
            if answers.send(queued).await.is_err() {
                break;
            }
        }
        // The client will send nothing more, but may still read its answers.
        answers.close();
        future::pending().await
    }

    async fn write_replies(
        self,
        mut writer: impl ReplySocket,
        queue: Receiver<Box<Queued>>,
    ) -> Result<(), Disconnect> {
        let Self { net, turns, closer } = self;
        while let Ok(queued) = queue.recv().await {
            let (api_key, room) = (queued.api_key, queued.room);
            let answered = match queued.answer {
                Answer::Now(answered) => answered,
                Answer::Later { answered, .. } => answered.await?,
            };
            let close = answered.close;
            turns.mute(answered.mute);
            if let Some(Reply { frame, memory }) = answered.reply {
                let mut memory =
                    memory.unwrap_or_else(|| net.memory.charge_answer(api_key, &frame, room));
                // Held until the client has taken the answer.
                memory.depends_on(closer);
                let _copies = net.room_for_copies(&mut writer, &frame);
                write_frame(&mut writer, &frame).await?;
                net.metrics.bytes_out.add(frame_bytes(&frame) as u64);
            }
            if let Some(reason) = close {
                return Err(reason);
            }
            turns.end();
        }
        Ok(())
    }
}

/// The conditions for starting the next request: earlier requests whose replies are not written,
/// and the end of a mute (KIP-219).
#[derive(Debug)]
struct Turns {
    unanswered: AtomicUsize,
    none: Event,
    opened: Instant,
    muted_until_ms: AtomicU64,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            unanswered: AtomicUsize::new(0),
            none: Event::new(),
            opened: Instant::now(),
            muted_until_ms: AtomicU64::new(0),
        }
    }
}

impl Turns {
    fn start(&self) {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
    }

    fn end(&self) {
        if self.unanswered.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.none.notify(usize::MAX);
        }
    }

    async fn wait_for_none_unanswered(&self) {
        while self.unanswered.load(Ordering::Acquire) > 0 {
            let listener = self.none.listen();
            if self.unanswered.load(Ordering::Acquire) > 0 {
                listener.await;
            }
        }
    }

    /// Starts no request for this long. A longer mute that is in force stays.
    fn mute(&self, mute: Duration) {
        if !mute.is_zero() {
            let until_ms = (self.opened.elapsed() + mute).as_millis() as u64 + 1;
            self.muted_until_ms.fetch_max(until_ms, Ordering::AcqRel);
        }
    }

    async fn wait_until_unmuted(&self) {
        while let Some(until) = self.muted_until() {
            if Instant::now() >= until {
                return;
            }
            Timer::at(until).await;
        }
    }

    /// Returns when the client has been idle for `idle_ms`. A mute does not count: the client
    /// cannot do anything then.
    async fn wait_until_idle(&self, activity: &Activity, idle_ms: u64) {
        loop {
            activity.wait_until_idle(idle_ms).await;
            let idle_since = self.muted_until();
            let due =
                idle_since.and_then(|since| since.checked_add(Duration::from_millis(idle_ms)));
            match due {
                Some(due) if due > Instant::now() => {
                    Timer::at(due).await;
                }
                _ => return,
            }
        }
    }

    fn muted_until(&self) -> Option<Instant> {
        let until_ms = self.muted_until_ms.load(Ordering::Acquire);
        (until_ms > 0).then(|| self.opened + Duration::from_millis(until_ms))
    }
}

/// The source of requests.
pub trait RequestSocket: AsyncRead + Unpin {
    /// Returns when a read returns at once. `None` if reading costs as little as asking: the buffer
    /// of an idle connection is kept for it.
    fn poll_readable(&mut self, context: &mut Context<'_>) -> Option<Poll<io::Result<()>>>;
}

impl RequestSocket for WatchedSocket<'_> {
    fn poll_readable(&mut self, _: &mut Context<'_>) -> Option<Poll<io::Result<()>>> {
        None
    }
}

/// Cuts the stream into frames. Allocates a frame only after its length is checked and admitted.
struct FrameReader<R> {
    reader: R,
    /// The read buffer; empty while it is freed.
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Of a frame, and of one before authentication.
    bytes_max: (usize, usize),
    is_first: bool,
}

impl<R: RequestSocket> FrameReader<R> {
    fn new(reader: R, bytes_max: (usize, usize)) -> Self {
        Self {
            reader,
            buffer: Box::default(),
            start: 0,
            end: 0,
            bytes_max,
            is_first: true,
        }
    }

    /// Returns the length of the next frame, or `None` if the stream ends between frames.
    async fn next_length(&mut self, is_authenticated: bool) -> Result<Option<usize>, Disconnect> {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            self.wait().await?;
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
        let bytes_max = match self.bytes_max {
            (authenticated, _) if is_authenticated => authenticated,
            (_, before) => before,
        };
        let bytes = usize::try_from(length)
            .ok()
            .filter(|bytes| *bytes <= bytes_max)
            .ok_or(Disconnect::FrameLength {
                bytes: i64::from(length),
                bytes_max,
                is_authenticated,
            })?;
        self.start += 4;
        Ok(Some(bytes))
    }

    /// Waits for bytes without a buffer, if the socket can tell when it has some, and allocates the
    /// buffer then.
    async fn wait(&mut self) -> io::Result<()> {
        poll_fn(|context| match self.reader.poll_readable(context) {
            Some(Poll::Pending) => {
                self.buffer = Box::default();
                Poll::Pending
            }
            Some(readable) => readable,
            None => Poll::Ready(Ok(())),
        })
        .await?;
        if self.buffer.is_empty() {
            self.buffer = vec![0; CONNECTION_READ_BYTES].into_boxed_slice();
        }
        Ok(())
    }

    /// Waits for the first bytes of a frame, as many as the buffer holds. Memory is reserved for a
    /// frame only then: a length costs the sender nothing, so it must not reserve memory.
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

    /// Returns the API of the current frame; -1 if the frame is too short to tell.
    fn api_key(&self, bytes: usize) -> i16 {
        let begun = &self.buffer[self.start..self.end];
        let key = begun.first_chunk().filter(|key| key.len() <= bytes);
        key.map_or(-1, |key| i16::from_be_bytes(*key))
    }

    /// Returns the frame whose length was read last. Its bytes are charged as they come, until the
    /// last reference to any of them is dropped.
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
        // Memory that is not written to yet is not allocated by the kernel.
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
            if frame.len() < bytes {
                // A client that sends as fast as this reads must not have the thread for itself.
                future::yield_now().await;
            }
        }
        admission.settle();
        Ok(Bytes::from_owner(Admitted {
            frame,
            _admission: admission,
        }))
    }
}

/// A request's bytes, and their charge.
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
    use std::pin::Pin;

    use super::*;
    use futures_lite::future::{block_on, poll_once};
    use futures_lite::io::Cursor;

    const FRAME_MAX: usize = 300_000;

    fn frames_of(stream: Vec<u8>) -> Result<Vec<Vec<u8>>, Disconnect> {
        let freed = frames_with(stream.clone(), true);
        let kept = frames_with(stream, false);
        assert!(format!("{freed:?}") == format!("{kept:?}"));
        kept
    }

    /// A stream, and whether it tells when it can be read: each second time.
    struct Source(Cursor<Vec<u8>>, bool, usize);

    impl AsyncRead for Source {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_read(context, buffer)
        }
    }

    impl RequestSocket for Source {
        fn poll_readable(&mut self, context: &mut Context<'_>) -> Option<Poll<io::Result<()>>> {
            self.2 += 1;
            context.waker().wake_by_ref();
            self.1.then_some(match self.2 % 2 {
                0 => Poll::Ready(Ok(())),
                _ => Poll::Pending,
            })
        }
    }

    fn frames_with(stream: Vec<u8>, tells: bool) -> Result<Vec<Vec<u8>>, Disconnect> {
        block_on(async {
            let pool = Pool::new(1 << 20);
            let source = Source(Cursor::new(stream), tells, 0);
            let mut frames = FrameReader::new(source, (FRAME_MAX, 0));
            let mut found = Vec::new();
            while let Some(bytes) = frames.next_length(true).await? {
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
    fn a_frame_before_authentication_is_small() {
        let next_length = |bytes: i32, is_authenticated| {
            let stream = Cursor::new(bytes.to_be_bytes().to_vec());
            let mut frames = FrameReader::new(Source(stream, false, 0), (FRAME_MAX, 10));
            block_on(frames.next_length(is_authenticated))
        };
        assert!(matches!(next_length(10, false), Ok(Some(10))));
        assert!(matches!(next_length(11, true), Ok(Some(11))));
        let refused = next_length(11, false).unwrap_err().to_string();
        assert!(
            refused.contains("sasl.server.max.receive.size"),
            "{refused}"
        );
    }

    #[test]
    fn a_large_claim_takes_no_memory_before_its_bytes_come() {
        let mut stream = 90_000_i32.to_be_bytes().to_vec();
        stream.extend([0; 1024]);
        let begun = block_on(async {
            let source = Source(Cursor::new(stream), false, 0);
            let mut frames = FrameReader::new(source, (100_000, 0));
            let bytes = frames.next_length(true).await?.expect("a length");
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
    #[test]
    fn a_mute_lasts_as_long_as_the_longest_that_was_asked_for() {
        let turns = Turns::default();
        let is_muted = |turns: &Turns| block_on(poll_once(turns.wait_until_unmuted())).is_none();
        assert!(!is_muted(&turns));
        let mute = Duration::from_hours(1);
        let least = turns.opened.elapsed() + mute;
        turns.mute(mute);
        turns.mute(Duration::from_millis(1));
        let until_ms = turns.muted_until_ms.load(Ordering::Acquire);
        assert!(Duration::from_millis(until_ms) >= least);
        assert!(is_muted(&turns));
    }
}

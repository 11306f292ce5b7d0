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

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};
use async_io::Timer;
use event_listener::Event;
use futures_lite::future;
use log::{debug, info, warn};
use sedge_protocol::parts::frame_bytes;

use super::Net;
use super::activity::Activity;
use super::frames::{FrameReader, RequestSocket};
use super::memory::{Admission, Closer};
use super::reply::{ReplySocket, write_frame};
use super::service::{Answer, Disconnect, Estimate, Reply, Rule, Service, Session, Start};
use super::when_woken::WhenWoken;
use crate::limits::{AUTHENTICATION_TIME_MAX, CONNECTION_IN_FLIGHT_MAX};

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

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};

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

//! The group coordinator with its clock, its log and the clients that wait: what the core's
//! [`Coordinator`] leaves to its caller.
//!
//! The machine is behind one lock, and a step of it takes microseconds. What a step wants written
//! is put into the outbox; one task ([`write`]) takes everything that is in there, writes it to
//! `__consumer_offsets` as one append (a large outbox as several), and then lets the replies go.
//! While one append is flushed, the next steps gather. Another task ([`keep_time`]) calls the
//! machine at its deadlines.
//!
//! **Invariant:** records reach the log in the order in which the machine gave them, one append at
//! a time.
//! **Invariant:** a reply that depends on records leaves after they, and all before them, are
//! durable.
//! **Bound:** the outbox holds what open requests and one tick produced; requests are bounded by
//! the pool of requests.

mod journal;
mod log;
mod trim;
mod write;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_channel::{Receiver, Sender};
use async_io::Timer;
use event_listener::Event;
use futures_lite::future;
use sedge_core::groups::{
    Actions, Coordinator, JoinRequest, Planned, Reply, ReplyBody, SyncRequest, Token,
};
use sedge_core::machine::Now;
use sedge_protocol::ErrorCode;
use sedge_protocol::coordinator::CoordinatorRecord;

use crate::log::Log;

pub use journal::Journal;
pub use log::{OFFSETS_TOPIC, Restored, Unwritten, restore};
pub use write::{forget_deleted_topics, write};

/// The longest sleep between two looks at the machine.
const SLEEP_MAX: Duration = Duration::from_hours(1);

/// The coordinator as handlers see it.
#[derive(Debug)]
pub struct Groups {
    inner: Mutex<Inner>,
    filled: Event,
    hurried: Event,
}

#[derive(Debug)]
struct Inner {
    machine: Coordinator,
    waiting: HashMap<Token, Sender<ReplyBody>>,
    next_token: u64,
    outbox: Outbox,
    /// An append is under way.
    is_writing: bool,
    /// Until when the clock task sleeps.
    sleeps_until: u64,
}

/// What waits to be written, and who waits for that.
#[derive(Debug, Default)]
struct Outbox {
    records: Vec<CoordinatorRecord>,
    releases: Vec<Release>,
}

#[derive(Debug)]
enum Release {
    Reply(Reply),
    Done(Sender<Result<(), ErrorCode>>),
}

impl Groups {
    pub fn new(machine: Coordinator) -> Self {
        Self {
            inner: Mutex::new(Inner {
                machine,
                waiting: HashMap::new(),
                next_token: 0,
                outbox: Outbox::default(),
                is_writing: false,
                sleeps_until: 0,
            }),
            filled: Event::new(),
            hurried: Event::new(),
        }
    }

    /// Looks at the machine, or does what needs no writing.
    pub fn with<R>(&self, step: impl FnOnce(&mut Coordinator) -> R) -> R {
        step(&mut self.lock().machine)
    }

    /// JoinGroup; the answer may come much later.
    pub fn join(&self, now: Now, request: JoinRequest, suffix: &str) -> Receiver<ReplyBody> {
        self.ask(|machine, token| machine.handle_join(now, request, token, suffix))
    }

    /// SyncGroup; the answer may come much later.
    pub fn sync(&self, now: Now, request: SyncRequest) -> Receiver<ReplyBody> {
        self.ask(|machine, token| machine.handle_sync(now, request, token))
    }

    /// A step with an answer of its own. It is good when the receiver says so: when what the step
    /// wants written is.
    pub fn plan<R>(
        &self,
        step: impl FnOnce(&mut Coordinator) -> Planned<R>,
    ) -> (R, Receiver<Result<(), ErrorCode>>) {
        let (done, written) = async_channel::bounded(1);
        let mut inner = self.lock();
        let Planned { reply, actions } = step(&mut inner.machine);
        inner.take(actions);
        inner.release(Release::Done(done));
        self.wake(&inner);
        (reply, written)
    }

    /// Steps that nobody waits for.
    pub fn act(&self, step: impl FnOnce(&mut Coordinator) -> Actions) {
        let mut inner = self.lock();
        let actions = step(&mut inner.machine);
        inner.take(actions);
        self.wake(&inner);
    }

    fn ask(&self, step: impl FnOnce(&mut Coordinator, Token) -> Actions) -> Receiver<ReplyBody> {
        let (answer, answered) = async_channel::bounded(1);
        let mut inner = self.lock();
        let token = Token(inner.next_token);
        inner.next_token += 1;
        inner.waiting.insert(token, answer);
        let actions = step(&mut inner.machine, token);
        inner.take(actions);
        self.wake(&inner);
        answered
    }

    fn wake(&self, inner: &Inner) {
        if !inner.outbox.is_empty() {
            self.filled.notify(1);
        }
        if inner.machine.next_deadline() < inner.sleeps_until {
            self.hurried.notify(1);
        }
    }

    fn take_outbox(&self) -> Option<Outbox> {
        let mut inner = self.lock();
        if inner.outbox.is_empty() {
            return None;
        }
        inner.is_writing = true;
        Some(std::mem::take(&mut inner.outbox))
    }

    /// An append is over, others of the same outbox follow: the records hold.
    fn apply(&self, now: Now, records: &[CoordinatorRecord]) {
        let mut inner = self.lock();
        for record in records {
            inner.machine.apply(now, record);
        }
    }

    /// What was taken from the outbox is written, or `unwritten` of it could not be, and whoever
    /// waits hears so.
    fn finish(
        &self,
        now: Now,
        unwritten: &[CoordinatorRecord],
        releases: Vec<Release>,
        written: Result<(), ErrorCode>,
    ) {
        let mut inner = self.lock();
        inner.is_writing = false;
        match written {
            Ok(()) => {
                for release in releases {
                    inner.let_go(release);
                }
            }
            Err(error) => {
                inner.machine.handle_save_failed(now, unwritten);
                for release in releases {
                    inner.refuse(release, error);
                }
            }
        }
        self.wake(&inner);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn take(&mut self, actions: Actions) {
        self.outbox.records.extend(actions.persist);
        for reply in actions.now {
            self.answer(reply);
        }
        for reply in actions.then {
            self.release(Release::Reply(reply));
        }
    }

    /// At once where nothing is on its way to the disk.
    fn release(&mut self, release: Release) {
        if self.is_writing || !self.outbox.is_empty() {
            self.outbox.releases.push(release);
        } else {
            self.let_go(release);
        }
    }

    fn let_go(&mut self, release: Release) {
        match release {
            Release::Reply(reply) => self.answer(reply),
            // Who does not wait any more has dropped the other end.
            Release::Done(done) => drop(done.try_send(Ok(()))),
        }
    }

    fn refuse(&mut self, release: Release, error: ErrorCode) {
        match release {
            Release::Reply(Reply { token, body }) => {
                let body = body.into_refusal(error);
                self.answer(Reply { token, body });
            }
            Release::Done(done) => drop(done.try_send(Err(error))),
        }
    }

    fn answer(&mut self, reply: Reply) {
        if let Some(answer) = self.waiting.remove(&reply.token) {
            drop(answer.try_send(reply.body));
        }
    }
}

impl Outbox {
    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.releases.is_empty()
    }
}

/// Calls the machine at its deadlines, and tells it of the topics that there are, for ever.
pub async fn keep_time(groups: Arc<Groups>, log: Arc<Log>) {
    let mut topics_at = 0;
    loop {
        let hurried = groups.hurried.listen();
        let now = log.clock.now();
        if now.monotonic_ms >= topics_at {
            // Whoever deleted a topic may have gone before its offsets were removed.
            forget_deleted_topics(&groups, &log);
            let interval = log.interval("offsets.retention.check.interval.ms");
            let interval_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
            topics_at = now.monotonic_ms.saturating_add(interval_ms);
        }
        groups.act(|machine| machine.tick(now));
        let pause = {
            let mut inner = groups.lock();
            inner.sleeps_until = inner.machine.next_deadline();
            let now = log.clock.now().monotonic_ms;
            Duration::from_millis(inner.sleeps_until.saturating_sub(now).max(1)).min(SLEEP_MAX)
        };
        let over = async {
            Timer::after(pause).await;
        };
        future::or(over, hurried).await;
    }
}

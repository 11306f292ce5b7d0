//! The outbox: records of all shards that wait to be written, in one order, and the replies that
//! wait for them.

use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use event_listener::{Event, EventListener};
use sedge_core::machine::Now;
use sedge_core::shard::{Encoded, StateTopic};
use sedge_core::transactions::Ending;
use sedge_protocol::ErrorCode;
use sedge_protocol::error::Error;

/// Records of one shard, which is told their outcome.
pub trait Records: Send + Sync {
    fn topic(&self) -> StateTopic;

    /// Calls `each` with each encoded record, and the text whose hash selects its partition.
    ///
    /// # Errors
    /// A text in a record is longer than Kafka's format allows.
    fn encode(&self, each: &mut dyn FnMut(&str, Encoded)) -> Result<(), Error>;

    /// Tells the shard that the records are durable.
    fn apply(&self, now: Now);

    /// Tells the shard that the records could not be written, and will not be.
    fn give_up(&self, now: Now);
}

/// Records, and the ends of transactions, that are written all or not at all.
pub struct Unit {
    pub records: Vec<Box<dyn Records>>,
    /// Transactions that end with these records: their markers are written as well.
    pub endings: Vec<Ending>,
    /// Bytes of the records, as estimated by [`sedge_core::shard::Shard::bytes_of`].
    pub bytes: usize,
}

/// Tells the waiting client that the records are durable, or why they could not be written.
pub type Release = Box<dyn FnOnce(Result<(), ErrorCode>) + Send>;

/// Units taken from the outbox together.
#[derive(Default)]
pub struct Taken {
    pub units: Vec<Unit>,
    /// Replies, each with the number of units that precede it.
    pub releases: Vec<(usize, Release)>,
}

/// The outbox: units that wait to be written, and the replies that depend on them.
#[derive(Default)]
pub struct Outbox {
    inner: Mutex<Inner>,
    filled: Event,
    hurried: Event,
}

#[derive(Default)]
struct Inner {
    waiting: Taken,
    /// Whether units that were taken are being written.
    is_writing: bool,
}

impl Outbox {
    /// Adds the records of one step, and the replies that wait for them and for all earlier ones.
    /// If nothing is being written, replies without records are sent at once.
    ///
    /// **Invariant:** a shard calls this under its own lock, so that the order of its records here
    /// is the order of its steps.
    pub fn put(&self, units: impl IntoIterator<Item = Unit>, releases: Vec<Release>) {
        let mut inner = self.lock();
        inner.waiting.units.extend(units);
        if inner.is_idle() {
            drop(inner);
            for release in releases {
                release(Ok(()));
            }
            return;
        }
        let before = inner.waiting.units.len();
        let releases = releases.into_iter().map(|release| (before, release));
        inner.waiting.releases.extend(releases);
        let is_filled = !inner.waiting.is_empty();
        drop(inner);
        if is_filled {
            self.filled.notify(1);
        }
    }

    /// Returns a listener for additions. Listen first, then take.
    pub fn filled(&self) -> EventListener {
        self.filled.listen()
    }

    /// Takes everything; `None` if the outbox is empty. Later additions wait until
    /// [`finish`](Self::finish), and then for the next call.
    pub fn take(&self) -> Option<Taken> {
        let mut inner = self.lock();
        if inner.waiting.is_empty() {
            return None;
        }
        inner.is_writing = true;
        Some(mem::take(&mut inner.waiting))
    }

    /// Ends the writing of the units that were taken, after their replies were sent.
    pub fn finish(&self) {
        self.lock().is_writing = false;
    }

    /// Makes the clock's task check again: a deadline is earlier than it knows.
    pub fn hurry(&self) {
        self.hurried.notify(1);
    }

    /// Returns a listener for an earlier deadline. Listen first, then look.
    pub fn hurried(&self) -> EventListener {
        self.hurried.listen()
    }

    #[cfg(test)]
    pub fn is_idle(&self) -> bool {
        self.lock().is_idle()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn is_idle(&self) -> bool {
        !self.is_writing && self.waiting.is_empty()
    }
}

impl Taken {
    fn is_empty(&self) -> bool {
        self.units.is_empty() && self.releases.is_empty()
    }

    /// Sends the replies that wait for no more than the first `written` units.
    pub fn release(&mut self, written: usize) {
        let waiting = self
            .releases
            .partition_point(|(before, _)| *before <= written);
        for (_, release) in self.releases.drain(..waiting) {
            release(Ok(()));
        }
    }

    /// Gives up the units from the one at `written` on, and sends the error to all remaining
    /// replies.
    pub fn give_up(&mut self, written: usize, now: Now, error: ErrorCode) {
        for unit in self.units.iter().skip(written) {
            for records in &unit.records {
                records.give_up(now);
            }
        }
        for (_, release) in self.releases.drain(..) {
            release(Err(error));
        }
    }
}

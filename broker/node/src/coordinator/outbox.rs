//! What waits to be written, of all shards in one order, and who waits for that.

use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use event_listener::{Event, EventListener};
use sedge_core::machine::Now;
use sedge_core::shard::{Encoded, StateTopic};
use sedge_protocol::ErrorCode;
use sedge_protocol::error::Error;

/// Records of one shard, which hears what becomes of them.
pub trait Records: Send + Sync {
    fn topic(&self) -> StateTopic;

    /// Gives each record to `each`, encoded, with the text whose hash chooses its partition.
    ///
    /// # Errors
    /// A text of a record is longer than Kafka's format can say.
    fn encode(&self, each: &mut dyn FnMut(&str, Encoded)) -> Result<(), Error>;

    /// The records are durable.
    fn apply(&self, now: Now);

    /// The records could not be written, and will not be.
    fn give_up(&self, now: Now);
}

/// What is written all or not at all.
pub struct Unit {
    pub records: Vec<Box<dyn Records>>,
    /// What the records take up, as [`sedge_core::shard::Shard::bytes_of`] estimates.
    pub bytes: usize,
}

/// Tells whoever waits: the records are durable, or why they could not be written.
pub type Release = Box<dyn FnOnce(Result<(), ErrorCode>) + Send>;

/// What is taken from the outbox at once.
#[derive(Default)]
pub struct Taken {
    pub units: Vec<Unit>,
    /// Each with the number of units that come before it.
    pub releases: Vec<(usize, Release)>,
}

/// See the module.
#[derive(Default)]
pub struct Outbox {
    inner: Mutex<Inner>,
    filled: Event,
    hurried: Event,
}

#[derive(Default)]
struct Inner {
    waiting: Taken,
    /// What was taken is on its way to the disk.
    is_writing: bool,
}

impl Outbox {
    /// Puts in what one step wants written, and who waits for that and for all before it. If
    /// nothing is on its way to the disk, who waits for nothing hears at once.
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

    /// Hears when something is put in. Listen first, then take.
    pub fn filled(&self) -> EventListener {
        self.filled.listen()
    }

    /// Takes everything; `None` if there is nothing. What comes later waits until
    /// [`finish`](Self::finish), and then for the next one.
    pub fn take(&self) -> Option<Taken> {
        let mut inner = self.lock();
        if inner.waiting.is_empty() {
            return None;
        }
        inner.is_writing = true;
        Some(mem::take(&mut inner.waiting))
    }

    /// What was taken is written, or given up, and whoever waited has heard.
    pub fn finish(&self) {
        self.lock().is_writing = false;
    }

    /// Has the clock's task look again: a deadline is earlier than it knows.
    pub fn hurry(&self) {
        self.hurried.notify(1);
    }

    /// Hears of an earlier deadline. Listen first, then look.
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

    /// Tells those who wait for no more than the first `written` units.
    pub fn release(&mut self, written: usize) {
        let waiting = self
            .releases
            .partition_point(|(before, _)| *before <= written);
        for (_, release) in self.releases.drain(..waiting) {
            release(Ok(()));
        }
    }

    /// Gives up the units from the one at `written` on, and tells all who still wait.
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

//! The journal shared by the coordinators' shards: one outbox, one append at a time, one clock,
//! restoring and trimming.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_io::Timer;
use futures_lite::future;
use sedge_core::machine::Now;
use sedge_core::metadata::Image;
use sedge_core::shard::Shard;
use sedge_storage::LogStore;

use super::append::{Appender, of_one_append};
use super::disk::Disk;
use super::hosted::{Hosted, Member};
use super::log::{self, Behind};
use super::outbox::{Outbox, Taken};
use crate::log::Log;
use crate::writer::Writer;

/// The longest sleep between two calls of the shards.
const SLEEP_MAX: Duration = Duration::from_hours(1);

/// The journal; see the module. Clones share the same journal.
#[derive(Clone, Default)]
pub struct Journal {
    outbox: Arc<Outbox>,
    shards: Vec<Arc<dyn Member>>,
    /// Partitions whose view lagged behind the log at the start.
    behind: Vec<Behind>,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").finish_non_exhaustive()
    }
}

impl Journal {
    /// Restores a shard from its topic, and adds it to the journal.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn restore<S>(
        &mut self,
        store: &dyn LogStore,
        image: &Image,
        now: Now,
        mut shard: S,
    ) -> Result<Arc<Hosted<S>>, sedge_storage::Error>
    where
        S: Shard + Send + 'static,
        S::Record: Send + Sync,
        S::Body: Send,
    {
        let behind = log::restore(store, image, now, &mut shard)?;
        self.behind.extend(behind);
        let actions = shard.finish_restore(now, image);
        let hosted = Arc::new(Hosted::new(shard, Arc::clone(&self.outbox)));
        hosted.act(|_| actions);
        self.shards.push(Arc::clone(&hosted) as Arc<dyn Member>);
        Ok(hosted)
    }

    /// Calls another member at its deadlines, after those that were restored.
    pub(super) fn add(&mut self, member: Arc<dyn Member>) {
        self.shards.push(member);
    }

    /// Writes the outbox until the task is dropped; first adds to the views what a start found
    /// missing.
    pub async fn write(self, log: Arc<Log>, writer: Writer) {
        let now = {
            let log = Arc::clone(&log);
            move || log.clock.now()
        };
        self.write_at(log, writer, now).await;
    }

    /// Does the same with any clock.
    pub(super) async fn write_at(self, log: Arc<Log>, writer: Writer, now: impl Fn() -> Now) {
        let Self { outbox, behind, .. } = self;
        let mut appender = Appender::new(Disk { log, writer }, behind);
        // If the views cannot be updated now, they are before the first append.
        let _ = appender.catch_up().await;
        loop {
            let filled = outbox.filled();
            let Some(taken) = outbox.take() else {
                filled.await;
                continue;
            };
            let has_grown = write_taken(&mut appender, taken, &now).await;
            outbox.finish();
            if has_grown {
                appender.trim().await;
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.outbox.is_idle()
    }

    /// Returns whether views must be updated before the first append.
    #[cfg(test)]
    pub(super) fn is_behind(&self) -> bool {
        !self.behind.is_empty()
    }

    #[cfg(test)]
    pub(super) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Calls the shards at their deadlines, and passes them each change of the metadata, until the
    /// task is dropped.
    pub async fn keep_time(self, log: Arc<Log>) {
        loop {
            let hurried = self.outbox.hurried();
            let changed = log.image_changed();
            let next = self.tick(log.clock.now(), &log);
            let now = log.clock.now().monotonic_ms;
            let pause = Duration::from_millis(next.saturating_sub(now).max(1)).min(SLEEP_MAX);
            let over = async {
                Timer::after(pause).await;
            };
            future::or(over, future::or(hurried, changed)).await;
        }
    }

    /// Calls all shards. Returns when to call next, on the monotonic clock.
    pub(super) fn tick(&self, now: Now, log: &Log) -> u64 {
        let shards = self.shards.iter();
        let deadlines = shards.map(|shard| shard.tick(now, &log.metadata));
        deadlines.min().unwrap_or(u64::MAX)
    }
}

/// Writes units in order, in as few appends as they fit into, and sends replies as soon as the
/// records that they depend on are durable. Units behind a failed append are given up with it, so
/// that the log has no record that its shard made after a lost one. Returns whether the log has
/// grown.
async fn write_taken(appender: &mut Appender, mut taken: Taken, now: &impl Fn() -> Now) -> bool {
    let mut written = 0;
    taken.release(written);
    while let Some(rest) = taken.units.get(written..).filter(|rest| !rest.is_empty()) {
        let some = rest.get(..of_one_append(rest)).unwrap_or(rest);
        if let Err(error) = appender.append(some).await {
            taken.give_up(written, now(), error);
            break;
        }
        for records in some.iter().flat_map(|unit| &unit.records) {
            records.apply(now());
        }
        written += some.len();
        taken.release(written);
    }
    written > 0
}

//! The cleaner: compacts topics with `cleanup.policy=compact`, and empties segments with little
//! live data.
//!
//! `sedge_core::cleaner` decides; this module reads and writes, on one thread of low priority, at
//! the pace that `log.cleaner.io.max.bytes.per.second` allows. It writes cold segments itself; the
//! writer thread only commits the rows that make them count.
//!
//! Compaction reads the new batches for the newest offset of each key, until
//! `log.cleaner.dedupe.buffer.size` is full, and then all batches up to there. The last batch of
//! the log, and the last of a known producer, stay even without records. A batch whose records
//! cannot be read is kept unchanged.
//!
//! A round begins every `log.cleaner.backoff.ms`, and soon after log starts move or partitions are
//! deleted. What cannot be cleaned is left alone until the next start (`sedge_cleaner_set_aside`).
//!
//! **Invariant:** one thing is cleaned at a time, so nothing that is read for it is replaced by
//! another cleaning meanwhile.
//! **Invariant:** the cleaner holds no lock that readers or the writer wait for.

mod batches;
mod budget;
mod compaction;
mod limits;
mod pace;
mod sweep;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_io::Timer;
use event_listener::EventListener;
use futures_lite::future;
use log::{debug, error, warn};
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::{Error, SegmentId};

use crate::log::Log;
pub use pace::Pace;
use pace::StopOnDrop;

/// Reason why something is not cleaned.
#[derive(Debug)]
pub enum CleanError {
    /// The log cannot be read or written.
    Store(Error),
    /// A batch is invalid.
    Batch {
        offset: Offset,
        source: sedge_protocol::error::Error,
    },
    /// One batch has more keys than the map has room for.
    TooManyKeys { offset: Offset },
    /// The writer has no room, or the broker is shutting down.
    Refused,
}

impl fmt::Display for CleanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Batch { offset, source } => {
                write!(f, "the batch at offset {offset} cannot be read: {source}")
            }
            Self::TooManyKeys { offset } => write!(
                f,
                "the batch at offset {offset} has more keys than log.cleaner.dedupe.buffer.size \
                 has room for; raise that setting"
            ),
            Self::Refused => f.write_str("there is no room for the cleaned segment"),
        }
    }
}

impl std::error::Error for CleanError {}

impl From<Error> for CleanError {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl CleanError {
    /// Returns whether the failure ends when there is room again, and is not caused by what is
    /// cleaned.
    fn is_temporary(&self) -> bool {
        match self {
            Self::Refused | Self::Store(Error::ViewsBusy) => true,
            Self::Store(error) => error.is_refusal(),
            _ => false,
        }
    }
}

/// State that is kept from one round to the next.
#[derive(Debug, Default)]
struct SetAside {
    partitions: BTreeSet<PartitionId>,
    segments: BTreeSet<SegmentId>,
}

/// Runs until the task is dropped.
pub async fn run(pace: Pace) {
    let pace = Arc::new(pace);
    let _stop = StopOnDrop(Arc::clone(&pace));
    let mut set_aside = SetAside::default();
    let mut shrunk = pace.log.shrunk();
    loop {
        wait(&pace.log, shrunk).await;
        // Listens before the round, so that deletions during it trigger another one.
        shrunk = pace.log.shrunk();
        match on_a_thread(Arc::clone(&pace), set_aside).await {
            Some(remembered) => set_aside = remembered,
            None => {
                return error!(
                    target: "sedge::cleaner",
                    "the cleaner's thread panicked; nothing is cleaned until the next start"
                );
            }
        }
    }
}

/// Waits until `log.cleaner.backoff.ms` have passed, or a deletion by retention or a client has
/// left segments sparse: their space is wanted now.
async fn wait(log: &Log, shrunk: EventListener) {
    let backoff = log.interval("log.cleaner.backoff.ms");
    let hurried = async {
        shrunk.await;
        Timer::after(limits::SHRUNK_PAUSE).await;
    };
    let over = async {
        Timer::after(backoff).await;
    };
    future::or(over, hurried).await;
}

/// Runs one round on a thread of its own, with low priority.
async fn on_a_thread(pace: Arc<Pace>, mut set_aside: SetAside) -> Option<SetAside> {
    let (done, remembered) = async_channel::bounded(1);
    let thread = std::thread::Builder::new()
        .name("sedge-cleaner".into())
        .stack_size(limits::STACK_BYTES);
    let run = move || {
        // Best effort: without permission the cleaner runs at normal priority.
        let _ = rustix::process::setpriority_process(None, limits::NICE);
        round(&pace, &mut set_aside);
        let _ = done.send_blocking(set_aside);
    };
    match thread.spawn(run) {
        Ok(_) => remembered.recv().await.ok(),
        Err(failure) => {
            warn!(target: "sedge::cleaner", "the cleaner cannot start a thread: {failure}; \
                                             retrying later");
            Some(SetAside::default())
        }
    }
}

/// Cleans everything that is due.
fn round(pace: &Pace, set_aside: &mut SetAside) {
    pace.begin_round();
    if pace
        .log
        .metadata
        .load()
        .defaults()
        .is_on("log.cleaner.enable")
    {
        compaction::round(pace, set_aside);
    }
    sweep::round(pace, set_aside);
    let count = set_aside.partitions.len() + set_aside.segments.len();
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    pace.log.metrics.cleaner.set_aside.set(count);
}

/// Logs what is no longer cleaned, and why. Returns whether it must be set aside.
fn report(what: &dyn fmt::Display, error: &CleanError) -> bool {
    if error.is_temporary() {
        debug!(target: "sedge::cleaner", "{what} cannot be cleaned now: {error}");
        return false;
    }
    warn!(target: "sedge::cleaner", "{what} cannot be cleaned, and is left alone until the next \
                                     start: {error}");
    true
}

#[cfg(test)]
mod tests;

//! Counts commits, to know whether all that was written is flushed.
//!
//! The flusher flushes where a request waits for that, and the upkeep what was acknowledged with
//! interval durability. The writer goes on meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sedge_storage::LogStore;

use crate::process::exit;

#[derive(Debug)]
pub struct Flushes {
    /// Commits that were written.
    written: AtomicU64,
    /// Of these, the first ones, which are flushed.
    flushed: AtomicU64,
}

impl Default for Flushes {
    /// Data that the start read may not be on the disk yet: it counts as a commit.
    fn default() -> Self {
        Self {
            written: AtomicU64::new(1),
            flushed: AtomicU64::new(0),
        }
    }
}

impl Flushes {
    /// Notes a commit that was written.
    pub fn note_written(&self) {
        self.written.fetch_add(1, Ordering::AcqRel);
    }

    /// Returns whether a commit is not flushed yet.
    pub fn is_dirty(&self) -> bool {
        self.flushed.load(Ordering::Acquire) < self.written.load(Ordering::Acquire)
    }

    /// Flushes all commits that were written before the call. Returns how long that took. Blocks,
    /// also for a flush that another thread has begun. A failure ends the process: what was
    /// acknowledged may be lost.
    pub fn flush(&self, store: &dyn LogStore) -> Duration {
        let began = Instant::now();
        let written = self.written.load(Ordering::Acquire);
        if let Err(failure) = store.sync() {
            exit::fatal("flush the log", &failure);
        }
        self.flushed.fetch_max(written, Ordering::AcqRel);
        began.elapsed()
    }
}

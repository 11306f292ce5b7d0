//! Growth of `__cluster_metadata` since its last snapshot, and whether the snapshot's copies are
//! sound: decides when the next snapshot is due.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use event_listener::{Event, EventListener};

/// Growth and damage of `__cluster_metadata`; see the module.
#[derive(Debug, Default)]
pub struct MetadataGrowth {
    record_bytes: AtomicU64,
    /// A copy of the snapshot, or a part of the log behind it, is damaged or missing.
    is_damaged: AtomicBool,
    changed: Event,
}

impl MetadataGrowth {
    /// Counts bytes of records appended to the log.
    pub fn add(&self, bytes: u64) {
        self.record_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.changed.notify(usize::MAX);
    }

    /// Subtracts bytes that a snapshot contains.
    pub fn take(&self, bytes: u64) {
        self.record_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Returns the bytes of records that no snapshot contains.
    pub fn record_bytes(&self) -> u64 {
        self.record_bytes.load(Ordering::Relaxed)
    }

    /// Records damage on the disk. The state in memory is intact.
    pub fn damaged(&self) {
        self.is_damaged.store(true, Ordering::Release);
        self.changed.notify(usize::MAX);
    }

    /// Returns whether damage was recorded.
    pub fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Acquire)
    }

    /// Clears the damage before a snapshot is written, since the snapshot contains all of the state
    /// in memory.
    pub fn take_damaged(&self) {
        self.is_damaged.store(false, Ordering::Release);
    }

    /// Returns a listener for the next change. Listen first, then look.
    pub fn listen(&self) -> EventListener {
        self.changed.listen()
    }
}

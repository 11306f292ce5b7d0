//! How much `__cluster_metadata` has grown since its last snapshot, and whether the copies of that
//! are sound: what says when the next one is made.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use event_listener::{Event, EventListener};

/// See the module.
#[derive(Debug, Default)]
pub struct MetadataGrowth {
    record_bytes: AtomicU64,
    /// A copy of the snapshot, or some of the log behind it, is damaged or missing.
    is_damaged: AtomicBool,
    changed: Event,
}

impl MetadataGrowth {
    /// Bytes of records went into the log.
    pub fn add(&self, bytes: u64) {
        self.record_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.changed.notify(usize::MAX);
    }

    /// A snapshot has so many of the bytes.
    pub fn take(&self, bytes: u64) {
        self.record_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes of records that no snapshot has.
    pub fn record_bytes(&self) -> u64 {
        self.record_bytes.load(Ordering::Relaxed)
    }

    /// Something of it is not on the disk as it was written. The memory has it.
    pub fn damaged(&self) {
        self.is_damaged.store(true, Ordering::Release);
        self.changed.notify(usize::MAX);
    }

    /// Whether that is so.
    pub fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Acquire)
    }

    /// A snapshot is about to be written, which has all that the memory has by now.
    pub fn take_damaged(&self) {
        self.is_damaged.store(false, Ordering::Release);
    }

    /// Hears of the next change. Listen first, then look.
    pub fn listen(&self) -> EventListener {
        self.changed.listen()
    }
}

//! The log and its views on disk.
//!
//! One log holds the record batches of all partitions, byte for byte as they were sent, in segment
//! files; a
//! *commit* is one frame in a segment and is all there or not at all. *Views* (the index, the
//! slices, and what the broker derives from records: committed offsets, producers, …) are derived
//! from the log, live in fjall, and may be thrown away: [`open`] rebuilds them.
//!
//! This crate decides nothing about Kafka: offsets come patched in the batch headers, retention
//! comes as [`Entry::LogStart`].
//!
//! **Invariant:** a byte of a batch is written to flash once, and again only by a cleaner.
//! **Invariant:** views are flushed only up to what has been synced, so they are never ahead of the
//! log.
//! **Invariant:** after a failed write or sync the store refuses everything but reads; the process
//! must end and the restart replays.

mod api;
pub mod backup;
mod catalog;
mod clean;
mod cold;
pub mod disk;
pub mod doctor;
mod error;
mod files;
pub mod format;
mod free;
mod header;
mod known_damage;
pub mod limits;
mod memory;
mod meta;
mod read;
mod read_over;
mod recent_heads;
mod recover;
mod recycle;
mod rewrite;
mod room;
pub mod scan;
mod scrub;
mod store;
mod times;
pub mod views;
mod walk;
mod write;

pub use api::{
    Chunk, Commit, Entry, Freed, Hole, Identity, Located, LogBounds, LogStore, LostRange, NoViews,
    OpenReport, Options, Placed, ReadLimits, Recovery, SegmentId, SegmentUse, Sequence, Slice,
    TornTail, Usage, View, ViewReader, ViewUpdate, Wait,
};
pub use cold::{Cold, ColdSegment};
pub use error::{Error, Missing};
pub use known_damage::Damaged;
pub use memory::MemoryStore;
pub use room::{Room, Urgency};
pub use scan::scan_segment;
pub use scrub::{ScrubCursor, Scrubbed};
pub use store::{Store, open, open_with};

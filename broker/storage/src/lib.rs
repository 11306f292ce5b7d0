//! The log and its views on disk.
//!
//! One log holds the record batches of all partitions, byte for byte as they were sent, in segment
//! files; a *commit* is one frame in a segment and is either complete or not there at all. *Views*
//! (the index, the slices, and what the broker derives from records: committed offsets, producers,
//! …) are derived from the log, stored in fjall, and may be deleted: [`open`] rebuilds them.
//! FORMAT.md, beside this crate's sources, documents the bytes.
//!
//! This crate decides nothing about Kafka: offsets are patched into the batch headers by the
//! caller, and retention arrives as [`Entry::LogStart`].
//!
//! **Invariant:** a byte of a batch is written to flash once, and again only by a cleaner.
//! **Invariant:** views are flushed only up to the synced end of the log, so they are never ahead
//! of the log.
//! **Invariant:** after a failed write or sync the store refuses everything but reads; the process
//! must end, and the restart replays.

mod api;
pub mod backup;
mod catalog;
mod damage;
pub mod disk;
pub mod doctor;
mod error;
pub mod format;
mod ids;
pub mod limits;
mod log_store;
mod memory;
mod meta;
mod read;
mod recover;
mod scrub;
mod segment;
mod space;
mod store;
pub mod views;
mod write;

pub use api::{
    Chunk, Cold, ColdSegment, Commit, Damaged, Entry, Freed, Hole, Identity, Located, LogBounds,
    LogStore, LostRange, NoViews, OpenReport, Options, ReadLimits, Recovery, Room, ScrubCursor,
    Scrubbed, SegmentUse, Slice, TornTail, Urgency, Usage, View, ViewReader, ViewUpdate, Wait,
};
pub use disk::Placed;
pub use error::{Error, Missing, ViewsError};
pub use ids::{SegmentId, Sequence};
pub use log_store::{open, open_with};
pub use memory::MemoryStore;
pub use meta::FORMAT;
pub use segment::{Found, scan_segment};
pub use store::Store;

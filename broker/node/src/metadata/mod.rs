//! `__cluster_metadata` on disk: its records, snapshots of what they say, and the replay of both.
//!
//! What the records mean is decided in `sedge_core::metadata`; the writer appends them.

pub mod log;
pub mod replay;
pub mod snapshot;

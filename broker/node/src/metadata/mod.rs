//! The controller, and `__cluster_metadata` on disk: its records, snapshots of their state, and the
//! replay of both.
//!
//! `sedge_core::metadata` interprets the records; the writer appends them.

pub mod controller;
pub mod log;
pub mod replay;
pub mod snapshot;

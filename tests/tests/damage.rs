//! Files of the data directory that are damaged, cut short or gone: nothing is served under a wrong
//! name, what is lost is told, and there is a way to go on that works.
#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "damage/metadata.rs"]
mod metadata;
#[path = "damage/offline.rs"]
mod offline;
#[path = "damage/segments.rs"]
mod segments;
#[path = "damage/snapshots.rs"]
mod snapshots;
#[path = "damage/views.rs"]
mod views;

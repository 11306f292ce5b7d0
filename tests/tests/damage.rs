//! Tests files of the data directory that are damaged, cut short or missing: nothing is served
//! under a wrong name, losses are reported, and there is a working way to continue.
#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "damage/backups.rs"]
mod backups;
#[path = "damage/full_volume.rs"]
mod full_volume;
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

//! Tests the log's promises: the same contract for every store, crashes at any moment, a real
//! directory.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod backup;
mod beside;
mod bytes_of;
mod cold;
mod cold_checked;
mod contract;
mod crash;
mod directory;
mod doctor;
mod ends;
mod faults;
mod headers;
mod holes;
mod pages;
mod rebuild;
mod recycle;
mod scrub;
mod simulation;
mod stores;
mod threads;
mod views_version;

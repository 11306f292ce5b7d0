//! The log's promises: the same contract for every store, crashes at any moment, a real directory.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod bytes_of;
mod cold;
mod contract;
mod crash;
mod directory;
mod faults;
mod pages;
mod recycle;
mod simulation;
mod stores;
mod threads;

//! The log's promises: the same contract for every store, crashes at any moment, a real directory.

mod bytes_of;
mod contract;
mod directory;
mod stores;

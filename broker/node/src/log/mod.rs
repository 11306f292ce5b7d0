//! The log as this node publishes it.

pub mod clock;
pub mod partitions;
pub mod published;
pub mod purgatory;
pub mod storage_state;
pub mod views;

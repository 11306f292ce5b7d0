//! The state that only the writer thread changes.

use sedge_storage::SegmentId;

use super::partition::ActivePartitions;
use crate::metadata::controller::Controller;

/// The writer thread's own state.
#[derive(Debug)]
pub struct State {
    pub controller: Controller,
    pub partitions: ActivePartitions,
    /// Segment that the last commit went to.
    pub segment: Option<SegmentId>,
}

impl State {
    /// Returns the state after a start, before any partition is used.
    pub fn new(controller: Controller) -> Self {
        Self {
            controller,
            partitions: ActivePartitions::default(),
            segment: None,
        }
    }
}

//! The paces of a link and its topics, kept from one measurement to the next.

use std::collections::HashMap;
use std::sync::Arc;

use sedge_core::mirror::Pace;
use sedge_protocol::ids::{Offset, PartitionId};

#[derive(Default)]
pub(super) struct Paces {
    pub records: Pace,
    pub bytes: Pace,
    /// By topic, in records, with what was sent of it since the link began.
    pub topics: HashMap<Arc<str>, (Pace, u64)>,
    /// The cursors at the last measurement.
    pub cursors: HashMap<PartitionId, Offset>,
}

//! The partitions that a fetch reads.

use std::sync::Arc;

use sedge_core::fetch::session::Wanted;
use sedge_core::metadata::Topic;
use sedge_protocol::ErrorCode;

use super::isolation::Isolation;
use crate::log::partitions::Partition;

/// One partition of a fetch, found or not.
pub struct Target {
    pub wanted: Wanted,
    pub found: Result<Found, ErrorCode>,
}

/// A partition that exists and may be read.
pub struct Found {
    pub partition: Arc<Partition>,
    /// The topic, if its fetch filters apply to this consumer.
    pub filtered_by: Option<Arc<Topic>>,
}

impl Target {
    pub(super) fn has_data(&self, isolation: Isolation) -> bool {
        let found = self.found.as_ref();
        let end = found.map(|found| isolation.end_of(&found.partition));
        end.is_ok_and(|end| end.get() > self.wanted.fetch_offset)
    }
}

/// Looks each of the wanted partitions up with `find`, in their order.
pub fn targets(
    wanted: &[Wanted],
    find: impl Fn(&Wanted) -> Result<Found, ErrorCode>,
) -> Vec<Target> {
    let target = |wanted: &Wanted| Target {
        wanted: wanted.clone(),
        found: find(wanted),
    };
    wanted.iter().map(target).collect()
}

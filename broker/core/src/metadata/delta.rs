//! The effects of metadata records on the log that holds the partitions.

use alloc::vec::Vec;

use sedge_protocol::ids::PartitionId;
use sedge_protocol::metadata_records::MetadataRecord;

use super::Image;

/// The effects of records once they are applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// Partitions whose topics are deleted, in ascending order.
    pub dropped: Vec<PartitionId>,
}

impl Image {
    /// Returns the effects of `records` if they are the next ones that this image applies.
    #[must_use]
    pub fn delta(&self, records: &[MetadataRecord]) -> Delta {
        let removed = records.iter().filter_map(|record| match record {
            MetadataRecord::RemoveTopic(topic) => self.topic_by_id(topic.topic_id),
            _ => None,
        });
        let mut dropped: Vec<PartitionId> = removed.flat_map(|topic| topic.partitions()).collect();
        dropped.sort_unstable();
        Delta { dropped }
    }
}

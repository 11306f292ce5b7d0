//! What records of the metadata change for the log that has the partitions.

use alloc::vec::Vec;

use sedge_protocol::ids::PartitionId;
use sedge_protocol::metadata_records::MetadataRecord;

use super::Image;

/// What follows from records once they are applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// Partitions whose topics are deleted, in ascending order.
    pub dropped: Vec<PartitionId>,
}

impl Image {
    /// Returns the changes that `records` bring if they are the next ones that this image takes.
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

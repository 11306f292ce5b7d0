//! The records of transactions that a reader may see.

use sedge_protocol::ids::Offset;

use crate::log::partitions::Partition;

/// `isolation.level` of a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    ReadUncommitted,
    ReadCommitted,
}

impl Isolation {
    /// Reads the wire's number. Unknown numbers count as uncommitted.
    pub fn from_wire(level: i8) -> Self {
        match level {
            1 => Self::ReadCommitted,
            _ => Self::ReadUncommitted,
        }
    }

    /// Returns the offset after the last record that the reader may see.
    pub fn end_of(self, partition: &Partition) -> Offset {
        match self {
            Self::ReadUncommitted => partition.high_watermark(),
            Self::ReadCommitted => partition.last_stable_offset(),
        }
    }
}

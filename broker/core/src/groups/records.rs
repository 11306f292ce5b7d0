//! What the coordinator wants remembered, as data: the content of a record of `__consumer_offsets`. The bytes (Kafka's own schemas)
//! are the protocol crate's.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

/// One record. No value is a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CoordinatorRecord {
    Offset {
        key: OffsetKey,
        value: Option<CommittedOffset>,
    },
    Group {
        group_id: String,
        value: Option<GroupMetadata>,
    },
}

/// Whose offset, and of what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OffsetKey {
    pub group_id: String,
    pub topic: String,
    pub partition: i32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    pub offset: i64,
    pub leader_epoch: Option<i32>,
    pub metadata: String,
    pub commit_timestamp_ms: i64,
    /// Asked for by commits of versions 2 to 4; otherwise the retention of the broker holds.
    pub expire_timestamp_ms: Option<i64>,
    /// From commits by topic id (version 10).
    pub topic_id: Option<[u8; 16]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMetadata {
    /// Empty for a group that only keeps offsets.
    pub protocol_type: String,
    pub generation: i32,
    pub protocol: Option<String>,
    pub leader: Option<String>,
    /// When the group came into its state; unknown in records older than version 2.
    pub state_timestamp_ms: Option<i64>,
    pub members: Vec<MemberMetadata>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberMetadata {
    pub member_id: String,
    pub group_instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    /// The member's metadata for the chosen protocol.
    pub subscription: Bytes,
    pub assignment: Bytes,
}

//! Handlers about topics: listing, creating, changing and deleting them.

pub mod alter_partition_reassignments;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_topics;
pub mod describe_topic_partitions;
pub mod elect_leaders;
pub mod list_partition_reassignments;
pub mod metadata;

use sedge_core::metadata::names;
use sedge_protocol::ErrorCode;

/// Returns the error of a topic that a client asked about, which tells a name that no topic can
/// have from one that does not exist.
fn told(name: &str, error: ErrorCode) -> ErrorCode {
    match names::check(name) {
        Err(illegal) if error == ErrorCode::UnknownTopicOrPartition => illegal.code,
        _ => error,
    }
}

//! Handlers about transactions (KIP-98, KIP-664, KIP-890).

pub mod add_offsets_to_txn;
pub mod add_partitions_to_txn;
pub mod describe_producers;
pub mod describe_transactions;
pub mod end_txn;
pub mod list_transactions;
pub mod txn_offset_commit;
pub mod write_txn_markers;

use sedge_protocol::ErrorCode;

/// KIP-890: the versions of a transactional request from which the producer takes a new epoch with
/// each transaction, and adds partitions as it writes to them.
pub const CLIENT_VERSION_2: i16 = 2;

/// KIP-588: older clients know INVALID_PRODUCER_EPOCH only.
pub fn for_version(error: ErrorCode, version: i16, first_with_fenced: i16) -> ErrorCode {
    match error {
        ErrorCode::ProducerFenced if version < first_with_fenced => ErrorCode::InvalidProducerEpoch,
        error => error,
    }
}

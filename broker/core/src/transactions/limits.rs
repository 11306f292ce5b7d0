//! Bounds of the transaction coordinator, each with its reason.

/// Transactional ids known at once. Each takes some hundred bytes of memory and of the view.
pub const TRANSACTIONAL_IDS_MAX: usize = 20_000;

/// Bytes of a transactional id: of all texts, Kafka's format has 15 bits for the length.
pub const TRANSACTIONAL_ID_BYTES_MAX: usize = 32_767;

/// Bytes of all transactional ids and of the topics' names in open transactions.
pub const TEXTS_BYTES_MAX: usize = 16 << 20;

/// Partitions of one transaction: its markers are one append.
pub const PARTITIONS_MAX: usize = sedge_protocol::limits::TRANSACTION_PARTITIONS_MAX;

/// Time until an overdue transaction is aborted again if its end could not be written: a full disk
/// stays full for longer than the clock's task sleeps.
pub const SAVE_RETRY_MS: u64 = 1_000;

/// Ids that expire in one step.
pub const EXPIRED_AT_ONCE: usize = 1_000;

//! Decides on cleaning: which partitions are compacted, which records of their batches stay, and
//! which segments are emptied because little in them is live.
//!
//! The rules are those of Kafka's `LogCleaner`, `Cleaner`, `LogCleanerManager` and
//! `CleanedTransactionMetadata`, with two differences. Segments hold all partitions, so a
//! partition's part of a segment, its *slice*, stands for Kafka's segment. Ages are by the broker's
//! append clock.
//!
//! **Invariant:** a record is removed only if a newer one of the same key exists, or if it is a
//! tombstone whose `delete.retention.ms` has passed.

mod filter;
mod keys;
mod limits;
mod select;
mod sparse;
mod throttle;
mod transactions;

pub use filter::{Filter, Filtered, LastBatches, check_crc};
pub use keys::KeyOffsets;
pub use select::{Compactable, CompactionPolicy, LogFacts, SliceFacts, assess, is_due};
pub use sparse::{SegmentFacts, choose_sparse};
pub use throttle::Throttle;
pub use transactions::{TransactionScan, Transactions};

#[cfg(test)]
mod tests;

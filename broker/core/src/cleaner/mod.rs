//! Cleaning: which partitions are compacted and what stays of their batches, and which segments are
//! emptied because little in them lives.
//!
//! The rules are Kafka's `LogCleaner`, `Cleaner`, `LogCleanerManager` and
//! `CleanedTransactionMetadata`. What differs: the segments hold all partitions, so a partition's
//! part of one, its *slice*, stands for Kafka's segment; and ages are by the broker's append clock.
//!
//! **Invariant:** a record goes only where one of the same key lies behind it, or where its time to
//! be read as a removal is over.

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

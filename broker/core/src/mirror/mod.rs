//! Plans a mirror link: what to read next, what an answer means, when to retry. No I/O.
//!
//! The log is the queue. A link holds, for each partition, a *cursor* (every record below it is
//! upstream) and the few batches in flight above it; a batch whose sending fails is read again from
//! the log. Batches are sent unchanged, still compressed: only the producer id, epoch and sequence
//! in their headers become the link's own, so that the upstream keeps them in order and recognises
//! a resent one. Small batches are joined, and uncompressed ones compressed (`join.rs`).
//!
//! An exactly-once link sends them in transactions, which also have the cursors. Its rules are in
//! `link/transactions.rs`: after any outcome but an acknowledgement it begins again from the
//! cursors that the upstream has. The following is about links without transactions.
//!
//! | after | the link |
//! | --- | --- |
//! | an acknowledgement | moves the cursor |
//! | an acknowledgement that cannot be true | takes a new producer id and sends again from the cursor |
//! | no answer, or a transient error | sends again from the cursor, same sequences, after a backoff |
//! | `OUT_OF_ORDER_SEQUENCE_NUMBER`, `UNKNOWN_PRODUCER_ID`, `INVALID_PRODUCER_EPOCH` | takes a new producer id and sends again from the cursor |
//! | a lasting error about a joined batch | takes a new producer id and sends the records again as they are stored |
//! | any other lasting error (too large, refused, not allowed) | holds that partition, retries slowly, and reports why |
//! | a minute of failures without an acknowledgement in between | holds that partition likewise, and keeps retrying |
//!
//! **Invariant:** the cursor moves only past records that the upstream acknowledged, or that
//! retention deleted, which are counted.
//! **Invariant:** a producer id is never used again after a restart. If the log had lost its tail,
//! other records would be sent under sequences that the upstream has seen, and it would drop them
//! as resent. So a restart sends again the records acknowledged after the last commit of the cursor
//! (at least once).
//! **Invariant:** a producer id begins at sequence 0 in an upstream partition only once, and a
//! sequence that was sent belongs to the batch that it was sent with. A partition takes a new
//! producer id if it is closed (its successor of the same name may be opened), moved, or if
//! retention or compaction removed its unacknowledged batches. Otherwise the upstream would take
//! other records for repeated ones, answer success, and drop them (`simulation.rs`).
//! **Invariant:** an acknowledged offset is above those that the upstream partition acknowledged to
//! this producer before; any other is not believed (`Stream::is_believable`).
//! **Invariant:** at most five batches of a partition are in flight, since brokers remember five.
//! Only one is in flight until the upstream has accepted a batch from this producer, since a broker
//! accepts any first sequence from an unknown producer.

mod budget;
mod configs;
mod exchange;
mod join;
mod link;
pub mod offsets;
mod pace;
pub mod pull;
mod spread;
mod stall;
mod stamp;
mod stream;
mod verdict;
mod window;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use budget::{Budget, Class, Closed, Hours, Limit, Meter, Priority, Spent};
pub use configs::{ConfigChanges, CopiedConfigs};
pub use exchange::{Counts, Limits, Outgoing, Packing, Position, Read};
pub use join::{pack, stays};
pub use link::{Cursor, Link, Step, StepOutcome, TransactionLimits, choose_cursor};
pub use pace::Pace;
pub use spread::{Spread, Target};
pub use stall::Watchdog;
pub use stamp::{Prepared, StampError};
pub use stream::Hold;
pub use verdict::{Outcome, Side, Trouble, Verdict, judge};

/// Prefix of the name of the group whose committed offsets are a link's cursors.
pub const GROUP_PREFIX: &str = "sedge-mirror-";
/// Batches of one partition in flight: as many as brokers remember of an idempotent producer.
pub const BATCHES_IN_FLIGHT_MAX: usize = 5;
/// Delay before a held partition's next retry, ms. Retries do not help before something is changed.
pub const HOLD_MS: u64 = 30_000;
/// Failures without progress before a partition is held; the time alone is not enough, because the
/// first try after a link was down for an hour may fail once.
pub const FAILURES_MIN: u32 = 3;
/// After this long without a batch the upstream may have forgotten the producer (Kafka's
/// `producer.id.expiration.ms` is a day), so the next batch is sent alone again.
pub const PRODUCER_IDLE_MS: u64 = 3_600_000;

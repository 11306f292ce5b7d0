//! Planning of a mirror link: what to read next, what an answer means, when to try again. No I/O.
//!
//! The log is the queue. A link holds, for each partition, a *cursor* (everything below it is
//! upstream) and the few batches in flight above it; what fails is read again from the log. Batches
//! pass as they are, still compressed: only the producer id, epoch and sequence in their headers
//! become the link's own, so that the upstream puts them in order and knows a resent one.
//!
//! | after | the link |
//! | --- | --- |
//! | an acknowledgement | moves the cursor |
//! | an acknowledgement that cannot be true | takes a new producer id and sends again from the cursor |
//! | no answer, or an error that passes | sends again from the cursor, same sequences, after a backoff |
//! | `OUT_OF_ORDER_SEQUENCE_NUMBER`, `UNKNOWN_PRODUCER_ID`, `INVALID_PRODUCER_EPOCH` | takes a new producer id and sends again from the cursor |
//! | an error that does not pass (too large, refused, not allowed) | holds that partition, tries again slowly, and says why |
//! | a minute of failures without an acknowledgement between them | holds that partition likewise, and goes on trying |
//!
//! **Invariant:** the cursor moves only over what the upstream acknowledged, or over what retention
//! took, which is counted.
//! **Invariant:** a producer id is never used again after a restart: had the log lost its tail,
//! other records would go under sequences that the upstream has seen, and it would drop them as
//! resent. So a restart sends again what was acknowledged after the last commit of the cursor (at
//! least once).
//! **Invariant:** a producer id begins at sequence 0 in an upstream partition once, and a sequence
//! that was sent belongs to the batch that it was sent with. A partition that is closed (its
//! successor of the same name may be opened), moved, or whose unacknowledged batches retention or
//! compaction took takes a new producer id. Else the upstream would take other records for those
//! repeated, answer success, and drop them (`simulation.rs`).
//! **Invariant:** an acknowledged offset lies above those that the upstream partition acknowledged
//! to this producer before; another is not believed (`Stream::is_believable`).
//! **Invariant:** at most five batches of a partition are in flight, since brokers remember five,
//! and one until the upstream has taken one from this producer, since a broker that does not know a
//! producer takes any first sequence.

mod link;
mod stamp;
mod stream;
mod verdict;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use link::{Counts, Limits, Link, Outgoing, Position, Read};
pub use stamp::{Prepared, StampError};
pub use stream::Hold;
pub use verdict::{Outcome, Side, Trouble, Verdict, judge};

/// Before the name of a link in that of the group whose committed offsets are its cursors.
pub const GROUP_PREFIX: &str = "sedge-mirror-";
/// Batches of one partition in flight: what brokers remember of an idempotent producer.
pub const BATCHES_IN_FLIGHT_MAX: usize = 5;
/// How long a partition waits for its next retry where retries do not help before something is
/// changed.
pub const HOLD_MS: u64 = 30_000;
/// A partition is held after so many failures without progress, and not by the time alone: the
/// first try after a link was down for an hour may fail once.
pub const FAILURES_MIN: u32 = 3;
/// After so long without a batch the upstream may have forgotten the producer
/// (`producer.id.expiration.ms` is a day in Kafka), so the next batch goes alone again.
pub const PRODUCER_IDLE_MS: u64 = 3_600_000;

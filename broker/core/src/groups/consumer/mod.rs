//! Groups of the consumer protocol (KIP-848): the coordinator assigns the partitions, and each
//! member is moved to its part of the assignment by itself, in its heartbeats.
//!
//! - Each change of the members, of their subscriptions or of the topics begins a *group epoch*,
//!   for which an assignor makes a *target assignment*.
//! - A member is *reconciled* in three steps. It gives back what it is to have no longer, goes to
//!   the target's epoch, and gets what others have given back.
//! - Members of the classic protocol can be in such a group, so that a group changes its protocol
//!   while its members run (`groups/migration.rs`).
//!
//! | module | what |
//! | --- | --- |
//! | `group` | members and state of one group |
//! | `member` | one member |
//! | `heartbeat` | ConsumerGroupHeartbeat |
//! | `classic` | members of the classic protocol |
//! | `leave` | members that leave or are removed |
//! | `subscription` | topics, regular expressions, and group epochs |
//! | `target` | the target assignment |
//! | `reconcile` | moving a member to its target |
//! | `tick` | sessions and timers that are over |
//! | `records` | the records of a group, and restoring |
//! | `context` | what a step depends on |
//! | `commits` | who may commit and fetch offsets, and how they age |
//! | `admin` | a group as administrators see it |
//! | `messages` | requests and answers |
//!
//! A step changes the group at once and returns the records of what it changed; the answer waits
//! until these are durable.
//!
//! **Invariant:** no partition belongs to two members, from its assignment to one until that member
//! has said that it gave the partition back, or is gone (`simulation.rs`).
//! **Invariant:** the group that the records lead to is the group in memory (`simulation.rs`).
//! Source: Kafka's `GroupMetadataManager`, `ConsumerGroup`, `CurrentAssignmentBuilder`.

mod admin;
mod classic;
mod commits;
mod context;
mod group;
mod heartbeat;
mod leave;
mod member;
pub mod messages;
mod reconcile;
mod records;
#[cfg(test)]
mod simulation;
mod subscription;
mod target;
#[cfg(test)]
pub(super) mod tests;
mod tick;

pub use context::Context;
pub use group::ConsumerGroup;
pub use heartbeat::check_request;
pub use member::Member;
pub use records::Part;

/// The epoch with which a member joins.
pub const JOIN_EPOCH: i32 = 0;
/// The epoch with which a member leaves.
pub const LEAVE_EPOCH: i32 = -1;
/// The epoch with which a static member leaves that will come back, and its epoch until then.
pub const LEAVE_STATIC_EPOCH: i32 = -2;

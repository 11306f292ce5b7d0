//! The common shape of all replayed state: plan, apply, persist, acknowledge.
//!
//! `plan` reads the state and decides; `apply` changes the state. Recovery reads the records and
//! calls the same `apply`. A reply waits until the plan's records are durable.

use alloc::vec::Vec;

use sedge_protocol::ids::Offset;

/// The clocks, as the caller read them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since 1970, as far as the device knows; may jump.
    pub wall_ms: i64,
    /// Milliseconds since an arbitrary start; never decreases. All deadlines use this clock.
    pub monotonic_ms: u64,
    /// The append clock ([`crate::clock`]), the only clock for the age of anything on disk.
    pub append_ms: i64,
}

/// The outcome of a command: records to persist, then the reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan<Record, Reply> {
    pub records: Vec<Record>,
    pub reply: Reply,
}

/// State that a log of records rebuilds.
pub trait Machine {
    type Command;
    type Record;
    type Reply;
    /// The reason for refusing a command; becomes the answer to the client.
    type Refusal;

    /// Decides without changing the state.
    ///
    /// # Errors
    /// The command is refused.
    fn plan(
        &self,
        now: Now,
        command: Self::Command,
    ) -> Result<Plan<Self::Record, Self::Reply>, Self::Refusal>;

    /// Applies a record, new or replayed, at `offset` of the machine's partition.
    fn apply(&mut self, offset: Offset, record: &Self::Record);
}

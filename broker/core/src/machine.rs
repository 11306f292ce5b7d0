//! One shape for all replayed state: plan, apply, persist, acknowledge.
//!
//! `plan` looks and decides, `apply` changes. Recovery is read and apply: the same function. A
//! reply waits until the plan's records are durable.

use alloc::vec::Vec;

use sedge_protocol::ids::Offset;

/// The clocks, as the caller read them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since 1970, as good as the device knows it; may jump.
    pub wall_ms: i64,
    /// Milliseconds since some start; only grows. All deadlines are on this one.
    pub monotonic_ms: u64,
    /// The append clock ([`crate::clock`]), which alone tells how old something on disk is.
    pub append_ms: i64,
}

/// What a command comes to: records to persist, then the reply.
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
    /// Why a command is not carried out: what the client is answered with.
    type Refusal;

    /// Decides, and changes nothing.
    ///
    /// # Errors
    /// The command is refused.
    fn plan(
        &self,
        now: Now,
        command: Self::Command,
    ) -> Result<Plan<Self::Record, Self::Reply>, Self::Refusal>;

    /// Takes a record, new or replayed, that lies at `offset` of the machine's partition.
    fn apply(&mut self, offset: Offset, record: &Self::Record);
}

//! The controller: decides commands, and holds the metadata machine.
//!
//! It writes nothing. The writer makes room for a [`Decision`], appends its batches, passes its
//! records to the controller, applies their effects on the log ([`Decision::delta`]), and
//! publishes the image.

use sedge_core::machine::{Machine as _, Now};
use sedge_core::metadata::{Command, CommandError, CommandReply, Delta, Image, MetadataMachine};
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::Offset;
use sedge_protocol::metadata_records::MetadataRecord;
use sedge_storage::{Room, Urgency};

use super::log as metadata_log;

/// The controller; see the module.
#[derive(Debug)]
pub struct Controller {
    machine: MetadataMachine,
}

/// A command that was decided and not carried out yet.
#[derive(Debug)]
pub struct Decision {
    /// Batches of the command for `__cluster_metadata`, with base offset 0.
    pub batches: Vec<Batch>,
    pub delta: Delta,
    pub reply: CommandReply,
    pub records: Vec<MetadataRecord>,
    urgency: Urgency,
}

impl Controller {
    /// Creates a controller whose image the log has already published.
    pub const fn new(machine: MetadataMachine) -> Self {
        Self { machine }
    }

    pub const fn machine(&self) -> &MetadataMachine {
        &self.machine
    }

    /// Returns the topics for the next request, published or not.
    pub const fn image(&self) -> &Image {
        self.machine.image()
    }

    /// Decides without changing the state.
    ///
    /// # Errors
    /// The command is refused.
    pub fn plan(&self, now: Now, command: Command) -> Result<Decision, CommandError> {
        let urgency = urgency_of(&command);
        let plan = self.machine.plan(now, command)?;
        let batches = metadata_log::batches(&plan.records, now.wall_ms);
        Ok(Decision {
            batches: batches.collect(),
            delta: self.image().delta(&plan.records),
            reply: plan.reply,
            records: plan.records,
            urgency,
        })
    }

    /// Applies the records of a decision for which there is room.
    pub fn apply(&mut self, records: &[MetadataRecord]) {
        for record in records {
            self.machine.apply(Offset::ZERO, record);
        }
    }
}

impl Decision {
    /// Returns whether the command changes nothing.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub fn bytes(&self) -> usize {
        self.batches.iter().map(Batch::bytes).sum()
    }

    /// Returns the room for the batches, and for the delta's effects on the log.
    pub fn room(&self) -> Room {
        Room {
            batch_bytes: self.bytes() as u64,
            rows: (self.batches.len() + self.delta.dropped.len()) as u64,
            urgency: self.urgency,
        }
    }
}

/// Returns an upper bound on the room that a command needs, except for partitions that it drops:
/// their room is known only when the command is decided.
pub fn room_guess(command: &Command) -> Room {
    Room {
        batch_bytes: metadata_log::bytes_guess(command) as u64,
        rows: 1,
        urgency: urgency_of(command),
    }
}

/// Commands that may free space, or that a start needs, may use the headroom.
fn urgency_of(command: &Command) -> Urgency {
    if command.may_free_space() {
        Urgency::Command
    } else {
        Urgency::Ordinary
    }
}

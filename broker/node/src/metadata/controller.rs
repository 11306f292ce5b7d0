//! The controller: it decides commands, has the metadata machine, and publishes the image.
//!
//! It writes nothing. The writer makes room for a [`Decision`], appends its batches, has the
//! controller take its records, and carries out what they change for the log
//! ([`Decision::delta`]).

use std::sync::Arc;

use sedge_core::machine::{Machine as _, Now};
use sedge_core::metadata::{Command, CommandError, CommandReply, Delta, Image, MetadataMachine};
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::Offset;
use sedge_protocol::metadata_records::MetadataRecord;
use sedge_storage::{Room, Urgency};

use super::log as metadata_log;
use crate::log::Log;

/// See the module.
#[derive(Debug)]
pub struct Controller {
    machine: MetadataMachine,
    /// Readers have an image from before the machine's newest records.
    is_unpublished: bool,
}

/// A command that is decided and not carried out yet.
#[derive(Debug)]
pub struct Decision {
    /// What the command writes to `__cluster_metadata`, with base offset 0.
    pub batches: Vec<Batch>,
    pub delta: Delta,
    pub reply: CommandReply,
    pub records: Vec<MetadataRecord>,
    urgency: Urgency,
}

impl Controller {
    /// A controller whose image the log has published.
    pub const fn new(machine: MetadataMachine) -> Self {
        Self {
            machine,
            is_unpublished: false,
        }
    }

    pub const fn machine(&self) -> &MetadataMachine {
        &self.machine
    }

    /// The topics as they are for the next request, published or not.
    pub const fn image(&self) -> &Image {
        self.machine.image()
    }

    /// Decides, and changes nothing.
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

    /// Takes the records of a decision for which there is room.
    pub fn apply(&mut self, records: &[MetadataRecord]) {
        for record in records {
            self.machine.apply(Offset::ZERO, record);
        }
        self.is_unpublished = true;
    }

    /// Gives readers the image if it has changed.
    pub fn publish(&mut self, log: &Log) {
        if std::mem::take(&mut self.is_unpublished) {
            log.metadata.publish(Arc::new(self.image().clone()));
        }
    }
}

impl Decision {
    /// Whether the command changes nothing.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub fn bytes(&self) -> usize {
        self.batches.iter().map(Batch::bytes).sum()
    }

    /// Room for the batches, and for what the delta does to the log.
    pub fn room(&self) -> Room {
        Room {
            batch_bytes: self.bytes() as u64,
            rows: (self.batches.len() + self.delta.dropped.len()) as u64,
            urgency: self.urgency,
        }
    }
}

/// Room that a command may need, from above but for partitions that it drops: what those need
/// shows when the command is decided.
pub fn room_guess(command: &Command) -> Room {
    Room {
        batch_bytes: metadata_log::bytes_guess(command) as u64,
        rows: 1,
        urgency: urgency_of(command),
    }
}

/// What may free space, or is needed to start at all, goes where nothing else may.
fn urgency_of(command: &Command) -> Urgency {
    if command.may_free_space() {
        Urgency::Command
    } else {
        Urgency::Ordinary
    }
}

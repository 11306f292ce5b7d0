//! The parts of a round for `__cluster_metadata`: commands of the controller, and snapshots.

use std::sync::Arc;

use sedge_core::log::{AppendError, Write};
use sedge_core::metadata::{Command, CommandError, CommandReply, METADATA_PARTITION};
use sedge_protocol::ErrorCode;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::{Entry, Error, Room};

use super::room::of_snapshot;
use super::round::Round;
use super::{MetadataState, partition};
use crate::log::views;

impl Round<'_> {
    /// Lets the controller decide, appends its decision, and applies the effects on the log.
    pub(super) fn plan_command(&mut self, command: Command) -> Result<CommandReply, CommandError> {
        // Also an answer that changes nothing may rest on a command that is not flushed yet.
        self.must_sync = true;
        let decision = self.state.controller.plan(self.now, command)?;
        if decision.is_empty() {
            return Ok(decision.reply);
        }
        let refused = |refusal: Error| CommandError {
            code: ErrorCode::KafkaStorageError,
            message: refusal.to_string(),
        };
        self.make_room(METADATA_PARTITION, decision.room())
            .map_err(refused)?;
        self.log.metadata_growth.add(decision.bytes() as u64);
        // Under the leader epoch from before these records.
        self.push_own(METADATA_PARTITION, decision.batches);
        self.state.controller.apply(&decision.records);
        self.settlement.image = Some(Arc::new(self.state.controller.image().clone()));
        self.push_drops(decision.delta.dropped);
        Ok(decision.reply)
    }

    /// Drops everything of the partitions with this commit.
    fn push_drops(&mut self, dropped: Vec<PartitionId>) {
        if dropped.is_empty() {
            return;
        }
        // The views do not have the updates of this commit yet.
        let is_dropped = |id| dropped.binary_search(&id).is_ok();
        let updates = &mut self.commit.updates;
        updates.retain(|update| !views::partition_of(update).is_some_and(is_dropped));
        for id in &dropped {
            updates.extend(views::removals(&*self.log.store, *id));
            self.commit.entries.push(Entry::Drop { partition: *id });
            self.state.partitions.remove(*id);
        }
        self.settlement.dropped.extend(dropped);
    }

    /// Returns a copy of the metadata machine, with its position in the log.
    pub(super) fn metadata_state(&mut self) -> Result<Box<MetadataState>, Error> {
        let active = self.state.partitions.get(self.log, METADATA_PARTITION)?;
        Ok(Box::new(MetadataState {
            end_offset: active.log.next_offset(),
            machine: self.state.controller.machine().clone(),
            record_bytes: self.log.metadata_growth.record_bytes(),
        }))
    }

    /// Appends batches of a snapshot. Returns the offset of the first one.
    pub(super) fn plan_snapshot(
        &mut self,
        id: PartitionId,
        batches: Vec<Batch>,
    ) -> Result<Offset, AppendError> {
        self.make_room(id, of_snapshot(&batches))
            .map_err(|refusal| partition::storage_error(&refusal))?;
        Ok(self.push_own(id, batches))
    }

    /// Loads a partition, and makes room for its batches.
    fn make_room(&mut self, id: PartitionId, room: Room) -> Result<(), Error> {
        self.state.partitions.get(self.log, id)?;
        self.take(room)
    }

    /// Appends batches that the broker has made to a partition for which there is room. Returns the
    /// offset of the first one. They are flushed.
    fn push_own(&mut self, id: PartitionId, batches: Vec<Batch>) -> Offset {
        let base = self.state.partitions.known(id).log.next_offset();
        for batch in batches {
            self.write(id, &Write::default(), Some(batch));
        }
        self.must_sync = true;
        base
    }
}

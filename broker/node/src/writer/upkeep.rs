//! Upkeep of the log within a round: moves log starts, expires producers and rolls segments.

use std::sync::Arc;

use log::warn;
use sedge_core::log::producers::Producers;
use sedge_core::log::{AppendError, PartitionLog};
use sedge_protocol::ErrorCode;
use sedge_protocol::ids::{Offset, PartitionId, ProducerId};
use sedge_storage::{Entry, Error, LogBounds, Urgency};

use super::partition;
use super::room::{NOTHING, rows_to_free};
use super::round::Round;
use super::settlement::Shortened;
use crate::log::transactions;
use crate::process::exit;

impl Round<'_> {
    /// Returns how many log starts are moved or need not be, up to the first without room.
    pub(super) fn plan_retain(&mut self, log_starts: &[(PartitionId, Offset)]) -> usize {
        let has_room = |(partition, offset): &&(PartitionId, Offset)| {
            let moved = self.plan_log_start(*partition, Some(*offset), Urgency::Upkeep);
            !matches!(moved, Err(error) if error.code == ErrorCode::KafkaStorageError)
        };
        log_starts.iter().take_while(has_room).count()
    }

    pub(super) fn plan_log_start(
        &mut self,
        id: PartitionId,
        before: Option<Offset>,
        urgency: Urgency,
    ) -> Result<Offset, AppendError> {
        let failed = |error: Error| partition::storage_error(&error);
        let is_touched = self.state.partitions.find(id).is_some();
        if !is_touched && self.log.store.bounds(id).map_err(failed)? == LogBounds::default() {
            // A new or dropped partition is not kept in memory.
            let empty = PartitionLog::new(Offset::ZERO, Offset::ZERO, None, Producers::default());
            return empty.plan_delete_records(before);
        }
        let partition = self.state.partitions.get(self.log, id).map_err(failed)?;
        let offset = partition.log.plan_delete_records(before)?;
        // Also a log start that does not move may have been moved by a commit that is not flushed.
        self.must_sync = true;
        if offset > partition.log.log_start() {
            let forgotten =
                transactions::aborted_before(&*self.log.store, &partition.published, offset);
            let forgotten = forgotten.map_err(failed)?;
            self.take(rows_to_free(1, urgency)).map_err(failed)?;
            let partition = self.state.partitions.known(id);
            partition.log.apply_log_start(offset);
            self.settlement.shortened.push(Shortened {
                partition: Arc::clone(&partition.published),
                log_start: offset,
                last_stable_offset: partition.log.last_stable_offset(),
            });
            self.commit.entries.push(Entry::LogStart {
                partition: id,
                offset,
            });
            self.commit.updates.extend(forgotten);
        }
        Ok(offset)
    }

    /// Returns how many producers are forgotten. Those that cannot be looked up are left to the
    /// next round.
    pub(super) fn plan_expiry(
        &mut self,
        silent: &[(PartitionId, ProducerId)],
        until_ms: i64,
    ) -> usize {
        if self.take(NOTHING).is_err() {
            return 0;
        }
        let store = &*self.log.store;
        let partitions = &mut self.state.partitions;
        let expire = |(id, producer): &(PartitionId, ProducerId)| {
            partitions
                .expire_producer(store, *id, *producer, until_ms)
                .ok()
                .flatten()
        };
        let before = self.commit.updates.len();
        self.commit.updates.extend(silent.iter().filter_map(expire));
        self.commit.updates.len() - before
    }

    /// Replaces ranges by what a cleaner wrote. Returns whether there is room for that.
    pub(super) fn plan_replace(&mut self, entries: Vec<Entry>) -> bool {
        let has_room = self.take(rows_to_free(entries.len(), Urgency::Upkeep));
        if has_room.is_ok() {
            self.commit.entries.extend(entries);
        }
        has_room.is_ok()
    }

    /// Rolls the segment of the commit, if that was requested.
    pub(super) fn roll(&mut self) {
        if self.rolls.is_empty() {
            return;
        }
        match self.log.store.roll() {
            Ok(()) => {}
            Err(refusal) if refusal.is_refusal() => {
                warn!(target: "sedge::cleaner", "the segment cannot be rolled: {refusal}");
            }
            Err(failure) => exit::fatal("begin a segment", &failure),
        }
        for done in self.rolls.drain(..) {
            done.send(());
        }
    }
}

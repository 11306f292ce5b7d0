//! Writes snapshots of `__cluster_metadata`: two copies in different segments, then the log
//! start.
//!
//! The order protects the topics. Each copy is durable before the next step begins, and the log of
//! the records moves its start only when both copies exist and were read back whole. A crash in
//! between leaves the earlier snapshot and the records after it.
//!
//! **Invariant:** the two copies of a snapshot have no segment in common when the log start moves
//! (`Copies::are_apart`), so one lost segment costs no topic.

use std::fmt;

use sedge_core::metadata::snapshot::{self, Place, SNAPSHOT_PARTITIONS, Times};
use sedge_core::metadata::{METADATA_PARTITION, MetadataMachine};
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::LogStore;

use super::replay::{Copies, ReplayError, segments_of};
use crate::limits::SNAPSHOT_APPEND_BYTES;

/// The destination of a snapshot: a broker's writer, or the store if no broker runs.
pub trait SnapshotLog {
    fn store(&self) -> &dyn LogStore;
    /// Appends batches with base offset 0 to a partition. Blocks until they are durable; returns
    /// the offset of the first one.
    ///
    /// # Errors
    /// Nothing was appended.
    fn append(
        &mut self,
        partition: PartitionId,
        batches: Vec<Batch>,
    ) -> Result<Offset, SnapshotError>;
    /// Rolls the active segment, if there is room for another one.
    ///
    /// # Errors
    /// The log cannot be written.
    fn end_segment(&mut self) -> Result<(), SnapshotError>;
    /// Moves log starts, all in one commit. Blocks until that is durable.
    ///
    /// # Errors
    /// There is no room for the commit now.
    fn move_log_starts(&mut self, to: Vec<(PartitionId, Offset)>) -> Result<(), SnapshotError>;
}

/// Reason why a snapshot is not complete. The part that was written stays, and the next try
/// continues from there.
#[derive(Debug)]
pub enum SnapshotError {
    /// The disk refuses further writes for now.
    Refused(String),
    /// The second copy would be in a segment of the first: there is no room for another segment.
    NoSegment,
    /// Reading a copy back does not return what was written.
    NotWhole,
    /// A copy that was written cannot be decoded.
    Unread(ReplayError),
    /// The log cannot be read or written.
    Store(sedge_storage::Error),
    /// The broker is shutting down.
    Stopped,
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => f.write_str(why),
            Self::NoSegment => {
                f.write_str("there is no room for another segment, which the second copy needs")
            }
            Self::NotWhole => f.write_str("the snapshot cannot be read back whole"),
            Self::Unread(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::Stopped => f.write_str("the broker is shutting down"),
        }
    }
}

impl std::error::Error for SnapshotError {}

impl From<sedge_storage::Error> for SnapshotError {
    fn from(error: sedge_storage::Error) -> Self {
        Self::Store(error)
    }
}

/// A snapshot that is being written.
#[derive(Debug)]
pub struct Snapshot {
    pub machine: MetadataMachine,
    /// The snapshot contains the log before this offset.
    pub end_offset: Offset,
    pub now_ms: i64,
    copies: [Option<Place>; 2],
}

impl Snapshot {
    /// Creates a snapshot of which nothing is written yet.
    pub fn new(machine: MetadataMachine, end_offset: Offset, now_ms: i64) -> Self {
        Self {
            machine,
            end_offset,
            now_ms,
            copies: [None, None],
        }
    }

    /// Writes the remaining parts. Unless `must_be_apart` is set, two copies in one segment are
    /// accepted as better than none.
    ///
    /// # Errors
    /// The call should be retried.
    pub fn write(
        &mut self,
        log: &mut dyn SnapshotLog,
        must_be_apart: bool,
    ) -> Result<(), SnapshotError> {
        if self.copies[0].is_none() {
            self.copies[0] = Some(self.append_copy(log, 0)?);
        }
        if self.copies[1].is_none() {
            let first = segments_of(log.store(), SNAPSHOT_PARTITIONS[0], self.copies[0].as_ref())?;
            let is_in_first = |log: &dyn SnapshotLog| {
                log.store()
                    .active_segment()
                    .is_some_and(|of| first.contains(&of))
            };
            if is_in_first(log) {
                log.end_segment()?;
            }
            if must_be_apart && is_in_first(log) {
                return Err(SnapshotError::NoSegment);
            }
            self.copies[1] = Some(self.append_copy(log, 1)?);
        }
        let [Some(first), Some(second)] = self.copies else {
            return Err(SnapshotError::NotWhole);
        };
        let there = Copies::find(log.store()).map_err(SnapshotError::Unread)?;
        if !there.are_at([first, second]) || (must_be_apart && !there.are_apart()) {
            self.copies = [None, None];
            return Err(SnapshotError::NotWhole);
        }
        let [one, other] = SNAPSHOT_PARTITIONS;
        log.move_log_starts(vec![
            (METADATA_PARTITION, self.end_offset),
            (one, first.first),
            (other, second.first),
        ])
    }

    fn append_copy(&self, log: &mut dyn SnapshotLog, copy: usize) -> Result<Place, SnapshotError> {
        let times = Times {
            now_ms: self.now_ms,
            last_record_ms: self.last_record_ms(log.store())?,
        };
        let batches = snapshot::batches(&self.machine, self.end_offset, times);
        let mut place: Option<Place> = None;
        for batches in snapshot::in_appends(batches, SNAPSHOT_APPEND_BYTES) {
            let count = batches.iter().map(|batch| batch.header.next_offset().get());
            let count = count.sum();
            let base = log.append(SNAPSHOT_PARTITIONS[copy], batches)?;
            place = Some(Place {
                end_offset: self.end_offset,
                first: place.map_or(base, |place| place.first),
                next: base.plus(count),
            });
        }
        place.ok_or(SnapshotError::NotWhole)
    }

    /// Returns the timestamp of the newest record in the snapshot, as far as the log still has it.
    fn last_record_ms(&self, store: &dyn LogStore) -> Result<i64, SnapshotError> {
        let end = self.end_offset;
        let last = store.read(METADATA_PARTITION, end.plus(-1), end, 1)?;
        let last = last
            .into_iter()
            .find_map(|mut bytes| Batch::split_from(&mut bytes));
        Ok(last.map_or(0, |batch| batch.header.max_timestamp()))
    }
}

/// Returns the batches with the offsets of a partition whose next offset is `next`.
pub fn patched(batches: Vec<Batch>, mut next: Offset) -> Vec<Batch> {
    let patch = |mut batch: Batch| {
        batch.header.set_base_offset(next);
        next = batch.header.next_offset();
        batch
    };
    batches.into_iter().map(patch).collect()
}

#[cfg(test)]
mod tests;

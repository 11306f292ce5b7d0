//! The room that a request may need in the log, so that it can be reserved, or refused, before
//! planning.

use sedge_protocol::batch::Batch;
use sedge_storage::{Room, Urgency};

use super::{AppendPart, Copied, Request};
use crate::log::Log;
use crate::metadata::controller;

impl Request {
    /// Returns the most room that the request may need. For a command this is an estimate: its real
    /// need is known only when it is decided.
    pub(super) fn room(&self) -> Room {
        match self {
            Self::Append { units, .. } => {
                of_parts(units.iter().flat_map(|unit| &unit.parts)).unwrap_or(NOTHING)
            }
            Self::Copy { copies, .. } => {
                let of_copy = |copied: &Copied| of_batches(copied.batches.iter());
                let rooms = copies.iter().map(of_copy);
                rooms.reduce(Room::and).unwrap_or(NOTHING)
            }
            Self::Metadata { command, .. } => controller::room_guess(command),
            Self::AppendSnapshot { batches, .. } => of_snapshot(batches),
            Self::DeleteRecords { .. } => rows_to_free(1, Urgency::Command),
            Self::Retain { log_starts, .. } => rows_to_free(log_starts.len(), Urgency::Upkeep),
            Self::Replace { entries, .. } => rows_to_free(entries.len(), Urgency::Upkeep),
            Self::Probe { room } => *room,
            // Writes nothing to the log.
            Self::MetadataState { .. }
            | Self::ExpireProducers { .. }
            | Self::Roll { .. }
            | Self::Stop => NOTHING,
        }
    }

    /// Returns whether it is a small write that needs a flush.
    pub(super) fn is_flushed(&self, log: &Log) -> bool {
        let is_sync = |part: &AppendPart| {
            part.batch.is_ok() && part.topics().any(|topic| log.is_sync(&topic.config))
        };
        match self {
            Self::Append { units, .. } => units.iter().any(|unit| unit.parts.iter().any(is_sync)),
            _ => false,
        }
    }
}

pub(super) const NOTHING: Room = rows_to_free(0, Urgency::Command);

/// Returns the room for the batches of parts; `None` without parts.
pub(super) fn of_parts<'a>(parts: impl Iterator<Item = &'a AppendPart>) -> Option<Room> {
    parts
        .map(|part| of_batches(part.batches()))
        .reduce(Room::and)
}

/// Returns the room for batches that are written where they are.
pub(super) fn of_batches<'a>(batches: impl Iterator<Item = &'a Batch> + Clone) -> Room {
    let bytes: usize = batches.clone().map(Batch::bytes).sum();
    Room::ordinary(bytes as u64, batches.count() as u64)
}

/// Returns the room for batches of a snapshot: without the headroom for freeing space, since a
/// snapshot can wait.
pub(super) fn of_snapshot(batches: &[Batch]) -> Room {
    let bytes: usize = batches.iter().map(Batch::bytes).sum();
    Room::ordinary(bytes as u64, 1)
}

/// Returns the room for rows without batches.
pub(super) const fn rows_to_free(rows: usize, urgency: Urgency) -> Room {
    Room {
        batch_bytes: 0,
        rows: rows as u64,
        urgency,
    }
}

//! Empties segments with little live data: moves the data into cold segments, partition by
//! partition, so that the space is freed and a partition is read in one go.
//!
//! **Invariant:** a cold segment with data of a reserved partition, which may be a copy of a
//! snapshot of the metadata, has nothing else (`the_copies_of_a_snapshot_stay_apart`).

use std::collections::BTreeSet;
use std::sync::Arc;

use log::{debug, info};
use sedge_core::cleaner::{SegmentFacts, choose_sparse};
use sedge_protocol::ids::{LeaderEpoch, PartitionId};
use sedge_storage::{ColdSegment, Entry, SegmentId, Slice};

use super::batches::Batches;
use super::limits::COMMIT_ROWS_MAX;
use super::pace::Pace;
use super::{CleanError, SetAside, budget, report};

/// Empties the sparsest segments together, until none is worth it.
pub fn round(pace: &Pace, set_aside: &mut SetAside) {
    while !budget::holds_sweep(pace) {
        match chosen(pace, set_aside) {
            Ok(chosen) if chosen.is_empty() => return,
            Ok(chosen) => {
                if let Err((at, error)) = sweep(pace, &chosen) {
                    let Some(at) = at.filter(|at| report(&Named(*at), &error)) else {
                        debug!(target: "sedge::cleaner", "segments cannot be emptied now: {error}");
                        return;
                    };
                    set_aside.segments.insert(at);
                }
                pace.log.free_segments();
            }
            Err(error) => {
                debug!(target: "sedge::cleaner", "segments cannot be emptied now: {error}");
                return;
            }
        }
    }
}

struct Named(SegmentId);

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "segment {}", self.0.0)
    }
}

fn chosen(pace: &Pace, set_aside: &mut SetAside) -> Result<Vec<SegmentId>, CleanError> {
    let segments = pace.log.store.segments()?;
    let there: BTreeSet<SegmentId> = segments.iter().map(|segment| segment.id).collect();
    set_aside.segments.retain(|id| there.contains(id));
    let segments: Vec<SegmentFacts> = segments
        .iter()
        .filter(|segment| !set_aside.segments.contains(&segment.id))
        .map(|segment| SegmentFacts {
            id: segment.id.0,
            file_bytes: segment.file_bytes,
            live_bytes: segment.live_bytes,
            live_slices: segment.live_slices,
        })
        .collect();
    let segment_bytes = pace.segment_bytes;
    let chosen = choose_sparse(&segments, segment_bytes);
    Ok(chosen.into_iter().map(SegmentId).collect())
}

/// A planned row, and the leader epoch at its end.
type Row = (PartitionId, Slice, Option<LeaderEpoch>);

/// Reason of a failure, and the segment that caused it, if one did.
type Failed = (Option<SegmentId>, CleanError);

fn sweep(pace: &Pace, chosen: &[SegmentId]) -> Result<(), Failed> {
    debug!(target: "sedge::cleaner", "emptying {} segments", chosen.len());
    let store = &*pace.log.store;
    let here = |at| move |error: CleanError| (at, error);
    let nowhere = |error: sedge_storage::Error| (None, CleanError::from(error));
    let slices = store.live_slices(chosen).map_err(nowhere)?;
    let mut left: u64 = slices.iter().map(|(_, slice)| slice.bytes).sum();
    let moved_bytes = left;
    let segment_bytes = pace.segment_bytes;
    let mut cold: Option<Box<dyn ColdSegment + '_>> = None;
    let mut rows = Vec::new();
    // The two copies of a snapshot must not share a segment, so neither shares one with anything.
    let mut is_alone = false;
    for (partition, slice) in slices {
        if let Some(writing) = cold.take_if(|_| is_alone || partition.is_reserved()) {
            adopt(pace, writing, &rows).map_err(here(None))?;
            rows.clear();
        }
        is_alone = partition.is_reserved();
        let mut writing = match cold.take() {
            Some(writing) => writing,
            None => store.begin_cold(left.min(segment_bytes)).map_err(nowhere)?,
        };
        left = left.saturating_sub(slice.bytes);
        let epoch =
            copy(pace, partition, &slice, &mut *writing).map_err(here(Some(slice.segment)))?;
        rows.push((partition, slice, epoch));
        if writing.bytes() >= segment_bytes {
            adopt(pace, writing, &rows).map_err(here(None))?;
            rows.clear();
        } else {
            cold = Some(writing);
        }
    }
    if let Some(writing) = cold {
        adopt(pace, writing, &rows).map_err(here(None))?;
    }
    pace.log
        .metrics
        .cleaner
        .segments_emptied
        .add(chosen.len() as u64);
    info!(
        target: "sedge::cleaner",
        "{} segments are emptied; {moved_bytes} live bytes were moved", chosen.len()
    );
    Ok(())
}

fn copy(
    pace: &Pace,
    partition: PartitionId,
    slice: &Slice,
    cold: &mut dyn ColdSegment,
) -> Result<Option<LeaderEpoch>, CleanError> {
    let log_start = pace.log.store.bounds(partition)?.log_start;
    let from = slice.first_offset.max(log_start);
    let mut epoch = None;
    let mut batches = Batches::new(pace, partition, from, slice.next_offset);
    cold.cut();
    while let Some(batch) = batches.next()? {
        epoch = LeaderEpoch::from_wire(batch.header.leader_epoch().get()).or(epoch);
        let bytes = batch.bytes() as u64;
        cold.push(partition, batch, slice.append_ms)?;
        pace.written(bytes)?;
    }
    Ok(epoch)
}

fn adopt(pace: &Pace, cold: Box<dyn ColdSegment + '_>, rows: &[Row]) -> Result<(), CleanError> {
    let cold = Arc::new(cold.finish()?);
    for some in rows.chunks(COMMIT_ROWS_MAX) {
        let entry = |(partition, slice, leader_epoch): &Row| Entry::Replace {
            cold: Arc::clone(&cold),
            partition: *partition,
            base: slice.first_offset,
            next: slice.next_offset,
            leader_epoch: *leader_epoch,
            is_compacted: false,
        };
        if !pace.writer.replace(some.iter().map(entry).collect()) {
            return Err(CleanError::Refused);
        }
    }
    Ok(())
}

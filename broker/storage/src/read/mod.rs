//! Reads: by marks near the end of a log, otherwise by runs, whose frames are walked.
//!
//! Batches that are only passed on are not read at all: [`locate`] returns places in segments, from
//! which the kernel sends. Only batches of small commits are gathered in memory, since sending each
//! from its file costs more than a copy.

pub(crate) mod damaged;
mod empty_batch;
mod marks;
mod reading;
mod take;
pub(crate) mod times;
pub(crate) mod walk;

use bytes::Bytes;
use sedge_protocol::ids::{Offset, PartitionId};

use crate::api::{Chunk, Located, ReadLimits, Wait};
use crate::disk::SegmentFile;
use crate::error::Error;
use crate::format::{FrameHead, Run};
use crate::limits;
use crate::read::walk::{open, walk_frames};
use crate::store::Store;
use empty_batch::empty_batch;
use marks::read_marks;
use reading::Reading;
use take::{is_damaged, read_around, read_extent, take_in_place, take_whole};

/// Look-ups of a place before giving up, if its segment is freed each time.
const LOOKUPS_MAX: u32 = 3;

/// See [`crate::LogStore::read`].
pub(crate) fn read(
    store: &Store,
    partition: PartitionId,
    from: Offset,
    until: Offset,
    bytes_max: usize,
) -> Result<Vec<Bytes>, Error> {
    let reading = Reading::new(from, until, ReadLimits::of(bytes_max));
    let found = gather(store, partition, reading)?;
    found.chunks.into_iter().map(Chunk::read).collect()
}

/// See [`crate::LogStore::locate`].
pub(crate) fn locate(
    store: &Store,
    partition: PartitionId,
    (from, until): (Offset, Offset),
    limits: ReadLimits,
    wait: Wait,
) -> Result<Located, Error> {
    let reading = Reading {
        in_place: true,
        wait,
        ..Reading::new(from, until, limits)
    };
    gather(store, partition, reading)
}

/// **Invariant:** the result up to the end of the log is never empty: a batch without records
/// stands in for lost ones, so that a consumer gets past them.
fn gather(store: &Store, partition: PartitionId, mut reading: Reading) -> Result<Located, Error> {
    let from = reading.from;
    gather_what_is_there(store, partition, &mut reading)?;
    let until = reading.until;
    if reading.in_place && reading.is_empty() && from < until {
        let bounds = store.catalog.bounds(partition)?.log;
        // Compaction never removes the last batch of a log, so an empty result up to the end is a
        // loss; up to an earlier offset it may be compaction. Or the partition was deleted
        // meanwhile.
        if bounds.log_start <= from && until == bounds.next_offset {
            let to = match reading.from {
                to if to > from => to.min(until),
                _ => until,
            };
            let instead = empty_batch(from, to);
            reading.chunks.push(Chunk::Read(instead));
            reading.from = to;
        }
    }
    Ok(reading.into_located())
}

fn gather_what_is_there(
    store: &Store,
    partition: PartitionId,
    reading: &mut Reading,
) -> Result<(), Error> {
    let bounds = store.catalog.bounds(partition)?.log;
    reading.until = reading.until.min(bounds.next_offset);
    let (from, until) = (reading.from, reading.until);
    if from < bounds.log_start {
        return Ok(());
    }
    let mut lookups = 0;
    while !reading.done && reading.from < until {
        let before = reading.from;
        let marks = store.catalog.marks(partition, reading.from, reading.left);
        let found = if marks.is_empty() {
            let Some((base, run)) = store.catalog.run_at(partition, reading.from)? else {
                break;
            };
            if base > reading.from {
                // There were never batches at offsets between runs, or they lie in a hole; or the
                // log start moved past them during this read.
                let log_start = store.catalog.bounds(partition)?.log.log_start;
                if log_start > reading.from {
                    break;
                }
                reading.from = base;
            }
            if reading.from >= until {
                break;
            }
            let mut there = walk_run(store, partition, &run, reading)?;
            if !there && lookups + 1 >= LOOKUPS_MAX {
                // The segment was not freed: then the index would no longer name it.
                let log_start = store.catalog.bounds(partition)?.log.log_start;
                if log_start <= before {
                    damaged::segment_is_gone(store, partition, &run);
                    there = true;
                }
            }
            if there && !reading.done {
                reading.from = reading.from.max(run.next);
            }
            there
        } else {
            read_marks(store, partition, &marks, reading)?
        };
        if found {
            lookups = 0;
        } else {
            lookups += 1;
            if store.catalog.bounds(partition)?.log.log_start > before || lookups >= LOOKUPS_MAX {
                break;
            }
        }
    }
    Ok(())
}

/// Reads a run. Returns false if the segment is gone.
fn walk_run(
    store: &Store,
    partition: PartitionId,
    run: &Run,
    reading: &mut Reading,
) -> Result<bool, Error> {
    let dense = u64::from(run.bytes) * 2 >= u64::from(run.span);
    let all = reading.read_max() + limits::HEAD_READ_BYTES;
    let in_place = reading.in_place;
    // If commits are large enough to be sent from their file, only their heads are read.
    let ahead = |last: Option<&FrameHead>| {
        let is_small = last.is_some_and(|last| last.frame_bytes() < limits::PLACE_BYTES_MIN);
        if dense && (is_small || !in_place) {
            all
        } else {
            limits::HEAD_READ_BYTES
        }
    };
    if dense
        && reading.wait == Wait::ForDisk
        && let Some(file) = open(store, run.segment)?
    {
        read_on(&*file, run, reading.left as u64);
    }
    let (from, until, wait) = (reading.from, reading.until, reading.wait);
    walk_frames(
        store,
        run,
        wait,
        &ahead,
        &mut |window, file, entry, extent| {
            if entry.partition != partition || !entry.has_batches() || entry.next <= from {
                return Ok(true);
            }
            if entry.base >= until {
                reading.done = true;
                return Ok(false);
            }
            if is_damaged(store, extent) {
                read_around(store, partition, &**file, extent, reading)?;
                return Ok(!reading.done);
            }
            // If a head was in the page cache a moment ago, so are the bytes behind it.
            let is_cached = || wait == Wait::Never || file.is_cached(extent.position, extent.bytes);
            let offsets = (entry.base, entry.next);
            let read = match take_in_place(file, extent, offsets, &is_cached, reading) {
                Ok(true) => return Ok(!reading.done),
                Ok(false) => match window.held(extent.position, extent.bytes) {
                    Some(bytes) => take_whole(&bytes, extent, reading),
                    None => read_extent(&**file, extent, reading),
                },
                Err(error) => Err(error),
            };
            if !damaged::read_over(store, partition, read)? {
                reading.from = reading.from.max(entry.next);
            }
            Ok(!reading.done)
        },
    )
}

/// Tells the disk what a consumer that catches up will read next: in a cold segment, a partition's
/// runs are consecutive, each no larger than one read.
fn read_on(file: &dyn SegmentFile, run: &Run, left: u64) {
    if left > u64::from(run.span) && !file.is_cached(run.position, u64::from(run.span)) {
        file.read_soon(run.position, left);
    }
}

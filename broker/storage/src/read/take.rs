//! Takes batches: as places, from memory, or around damaged ones.

use std::sync::Arc;

use bytes::Bytes;
use sedge_protocol::batch::BatchHeader;
use sedge_protocol::ids::{Offset, PartitionId};

use super::empty_batch::empty_batch;
use super::reading::{Fate, Reading};
use crate::api::{Chunk, LostRange, Wait};
use crate::damage::Stretch;
use crate::disk::{Placed, SegmentFile};
use crate::error::Error;
use crate::limits;
use crate::read::damaged;
use crate::read::walk::{Extent, check_header, corrupt, each_header_of, read_at};
use crate::store::Store;

/// Takes the wanted offsets `base..next` of an extent without reading it into memory. Returns false
/// if it must be read.
pub(super) fn take_in_place(
    file: &Arc<dyn SegmentFile>,
    extent: Extent,
    (base, next): (Offset, Offset),
    is_cached: &dyn Fn() -> bool,
    reading: &mut Reading,
) -> Result<bool, Error> {
    if !reading.in_place || !reading.takes_places || extent.bytes < limits::PLACE_BYTES_MIN {
        return Ok(false);
    }
    let is_cold = !is_cached();
    if is_cold && reading.wait == Wait::Never {
        return Ok(false);
    }
    if !reading.fits(size_of::<Chunk>(), reading.memory_left, reading.is_empty()) {
        return Ok(true);
    }
    // Once sending has begun, the batches cannot be withdrawn if the file ends too soon.
    if !reading.reaches(&**file, extent)? {
        return Err(corrupt(extent, 0, "the segment ends within a commit"));
    }
    let (mut start, mut bytes) = (extent.position, 0);
    let is_whole =
        base >= reading.from && next <= reading.until && extent.bytes <= reading.left as u64;
    if is_whole && !is_cold {
        // The commit's table, which has its own checksum, says where the batches end.
        bytes = extent.bytes as usize;
        reading.count(next, bytes);
    } else {
        each_header_of(&**file, extent, reading.wait, &mut |header, at| {
            let is_first = reading.is_empty() && bytes == 0;
            let size = at.bytes as usize;
            match reading.judge(&header, size, is_first) {
                Fate::Skip => start = at.position + at.bytes,
                Fate::Stop => return false,
                Fate::Take => {
                    if is_cold && !reading.fits(bytes + size, reading.cold_left, is_first) {
                        return false;
                    }
                    bytes += size;
                    reading.count(header.next_offset(), size);
                }
            }
            true
        })?;
    }
    if bytes > 0 {
        let placed = Placed::new(file.clone(), extent.segment, start, bytes);
        if is_cold {
            placed.warm()?;
            reading.cold_left = reading.cold_left.saturating_sub(bytes);
        }
        reading.push(Chunk::Placed(placed));
    }
    Ok(true)
}

/// Takes the wanted batches of an extent that is in memory.
pub(super) fn take_whole(
    bytes: &Bytes,
    extent: Extent,
    reading: &mut Reading,
) -> Result<(), Error> {
    if bytes.len() as u64 != extent.bytes {
        return Err(corrupt(extent, 0, "the segment ends within a commit"));
    }
    let selected = select(bytes, extent, reading)?;
    match selected.cut {
        Some((at, _)) => Err(corrupt(
            extent,
            at as u64,
            "a batch extends beyond its commit",
        )),
        None => Ok(()),
    }
}

struct Selected {
    /// The first batch that is incomplete in the bytes; with its length and header if the header is
    /// whole.
    cut: Option<(usize, Option<(usize, BatchHeader)>)>,
    /// Position at which the search would continue.
    at: usize,
}

/// Returns the whole batches of `bytes` from the one that holds `reading.from`, while they are
/// below `until` and there is room. Each header is checked against the extent.
fn select(bytes: &Bytes, extent: Extent, reading: &mut Reading) -> Result<Selected, Error> {
    let mut at = 0;
    let mut taken: Option<(usize, usize)> = None;
    let mut cut = None;
    while at < bytes.len() {
        let Some(header) = BatchHeader::read(&bytes[at..]) else {
            cut = Some((at, None));
            break;
        };
        let whole = check_header(&header, extent)
            .ok_or_else(|| corrupt(extent, at as u64, "these bytes are not a batch"))?;
        let is_first = reading.is_empty() && taken.is_none();
        match reading.judge(&header, whole, is_first) {
            Fate::Skip => {
                at += whole;
                continue;
            }
            Fate::Stop => break,
            Fate::Take
                if !reading.fits(taken_bytes(taken) + whole, reading.memory_left, is_first) =>
            {
                break;
            }
            Fate::Take if at + whole > bytes.len() => {
                cut = Some((at, Some((whole, header))));
                break;
            }
            Fate::Take => {}
        }
        taken = Some((taken.map_or(at, |(from, _)| from), at + whole));
        reading.count(header.next_offset(), whole);
        at += whole;
    }
    if let Some((from, to)) = taken {
        reading.take(bytes.slice(from..to));
    }
    Ok(Selected { cut, at })
}

fn taken_bytes(taken: Option<(usize, usize)>) -> usize {
    taken.map_or(0, |(from, to)| to - from)
}

/// Takes the wanted batches of an extent on disk, reading little more than what is asked for.
pub(super) fn read_extent(
    file: &dyn SegmentFile,
    extent: Extent,
    reading: &mut Reading,
) -> Result<(), Error> {
    let mut at = 0;
    while at < extent.bytes && !reading.done {
        let want = (extent.bytes - at).min(reading.read_max().max(limits::BATCH_READ_BYTES as u64));
        let here = Extent {
            position: extent.position + at,
            bytes: extent.bytes - at,
            ..extent
        };
        let bytes = read_at(file, here, want, reading.wait)?;
        let selected = select(&bytes, here, reading)?;
        match selected.cut {
            // Skipped batches may end behind the bytes that were read.
            None => at += selected.at as u64,
            Some((cut, None)) if cut > 0 => at += cut as u64,
            Some((_, None)) => {
                return Err(corrupt(
                    here,
                    0,
                    "the bytes are shorter than a batch's header",
                ));
            }
            Some((cut, Some((whole, header)))) => {
                let batch = Extent {
                    position: here.position + cut as u64,
                    ..here
                };
                if cut as u64 + whole as u64 > here.bytes {
                    return Err(corrupt(batch, 0, "a batch extends beyond its commit"));
                }
                let batch = read_at(file, batch, whole as u64, reading.wait)?;
                reading.take(batch);
                reading.count(header.next_offset(), whole);
                at += (cut + whole) as u64;
            }
        }
    }
    Ok(())
}

pub(super) fn is_damaged(store: &Store, extent: Extent) -> bool {
    store
        .damage
        .touches(extent.segment, extent.position, extent.bytes)
}

/// Takes the wanted batches of an extent with known damage. For a read that passes batches on,
/// batches without records stand in for damaged ones, so that consumers get past them.
pub(super) fn read_around(
    store: &Store,
    partition: PartitionId,
    file: &dyn SegmentFile,
    extent: Extent,
    reading: &mut Reading,
) -> Result<(), Error> {
    for stretch in store
        .damage
        .cut(extent.segment, extent.position, extent.bytes)
    {
        match stretch {
            Stretch::Sound { position, bytes } => {
                let sound = Extent {
                    position,
                    bytes,
                    ..extent
                };
                let read = read_extent(file, sound, reading);
                damaged::read_over(store, partition, read)?;
            }
            Stretch::Damaged(lost) => {
                for lost in lost.iter().filter(|lost| lost.partition == partition) {
                    pass_over(lost, reading);
                }
            }
        }
        if reading.done {
            break;
        }
    }
    Ok(())
}

fn pass_over(lost: &LostRange, reading: &mut Reading) {
    if lost.next_offset <= reading.from || reading.done {
        return;
    }
    if lost.base_offset >= reading.until {
        reading.done = true;
        return;
    }
    if reading.in_place {
        let instead = empty_batch(lost.base_offset, lost.next_offset);
        reading.left = reading.left.saturating_sub(instead.len());
        reading.done = reading.left == 0;
        reading.take(instead);
    }
    reading.from = lost.next_offset;
}

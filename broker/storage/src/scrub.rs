//! Reads sealed segments repeatedly and slowly while the broker runs: bit rot is found before a
//! consumer meets it, and costs only the batches that it hit.
//!
//! Damaged places go on the list of damage, and reads skip them from then on: batches whose bytes
//! are not those that were sent, and bytes in pages that the device cannot read. The scrub reads
//! past the page cache, so that it does not evict what readers use, and sees what the device has.

use std::collections::HashMap;
use std::ops::Bound;
use std::sync::PoisonError;

use rustix::io::Errno;
use sedge_protocol::ids::{Offset, PartitionId};

use crate::api::{Damaged, LostRange, ScrubCursor, Scrubbed, TO_THE_END};
use crate::damage::rest_of;
use crate::disk::unreadable::Patched;
use crate::disk::{SegmentFile, bytes_of};
use crate::error::{Error, io_error};
use crate::format::{FrameHead, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::ids::SegmentId;
use crate::limits;
use crate::read::walk;
use crate::segment::examine::{Looked, Seen};
use crate::segment::{listing, scan};
use crate::space::free;
use crate::store::Store;
use crate::views::tables::{LogKey, LogValue, Table};

/// See [`crate::LogStore::scrub`].
pub(crate) fn scrub(
    store: &Store,
    cursor: &mut ScrubCursor,
    bytes_max: u64,
) -> Result<Scrubbed, Error> {
    let Some((id, from)) = next_place(store, cursor) else {
        if !cursor.is_resting {
            cursor.behind = SegmentId(0);
        }
        return Ok(Scrubbed {
            is_done: true,
            ..Scrubbed::default()
        });
    };
    // Set again below if there is more to do in the segment.
    cursor.within = None;
    let Some(generation) = store.catalog.generation(id) else {
        return Ok(Scrubbed::default());
    };
    let Some(file) = store.files.disk.open_direct(id)? else {
        return note_gone(store, id);
    };
    let place = Place {
        store,
        file: &*file,
        id,
        generation,
        from,
    };
    let Some(mut found) = place.look(bytes_max)? else {
        return Ok(Scrubbed::default());
    };
    if !found.damaged.is_empty() {
        // A second look: the read itself may have gone wrong.
        found = place.look(bytes_max)?.unwrap_or(found);
    }
    cursor.within = found.next.map(|next| (id, next));
    let mut damaged = found.damaged;
    let is_new = |of: &Damaged| {
        let known = store.damage.end_at(id, of.position);
        known.is_none_or(|end| end < of.end)
    };
    damaged.retain(is_new);
    // If the segment was freed during the read, these are another segment's bytes.
    if store.catalog.generation(id) != Some(generation) {
        damaged.clear();
    }
    if !damaged.is_empty() {
        store.damage.add(damaged.clone())?;
    }
    Ok(Scrubbed {
        bytes: found.bytes,
        damaged,
        is_done: false,
    })
}

/// The start of a step, in a file opened past the page cache.
struct Place<'a> {
    store: &'a Store,
    file: &'a dyn SegmentFile,
    id: SegmentId,
    generation: u64,
    from: u64,
}

/// The result of one look.
struct Found {
    damaged: Vec<Damaged>,
    /// Position at which to continue in the segment.
    next: Option<u64>,
    bytes: u64,
}

impl Place<'_> {
    /// Examines the next part of the segment. Of one that is still being written, only what was
    /// there at the start of the process counts; returns `None` if that is nothing.
    fn look(&self, bytes_max: u64) -> Result<Option<Found>, Error> {
        let (id, generation, from) = (self.id, self.generation, self.from);
        let file = Patched::new(self.file);
        let footer = listing::read_footer(&file, id, generation)?;
        let file_bytes = bytes_of(&file)?;
        let mut end = footer.as_ref().map(|of| of.frames_end);
        let mut bytes_max = bytes_max;
        let is_in_use = footer.is_none() && {
            let writer = self.store.lock_writer();
            free::in_use(self.store, &writer).contains(&id)
        };
        if is_in_use {
            let at_start = self.store.opened_at.filter(|(of, _)| *of == id);
            let Some((_, until)) = at_start.filter(|(_, until)| *until > from) else {
                return Ok(None);
            };
            end = Some(until.min(file_bytes));
        }
        if footer.is_none() {
            // Missing frames are known only after all of the segment was seen.
            bytes_max = u64::MAX >> 1;
        }
        let looked = Looked {
            file: &file,
            id,
            generation,
            end: end.unwrap_or(file_bytes),
            footer: footer.as_ref(),
            is_full: end.is_some(),
        };
        let mut seen = There::default();
        let mut frames_end = from;
        let nobody_s = |(from, to): (u64, u64)| looked.damaged(from, to, Vec::new());
        let mut damaged = Vec::new();
        let next = looked.look(from, bytes_max, &mut |found| match found {
            Seen::Damaged { damaged: of, .. } => {
                of.lost.iter().for_each(|lost| seen.add_lost(lost));
                damaged.push(of);
            }
            Seen::Frame { head, .. } if footer.is_none() => seen.add(head),
            Seen::End { position, .. } => frames_end = position,
            _ => {}
        })?;
        if footer.is_none() && from == SEGMENT_HEADER_BYTES {
            let until = end.unwrap_or(TO_THE_END);
            let lost = missing(self.store, id, &seen, until)?;
            let nameless = damaged.iter_mut().find(|of| of.lost.is_empty());
            match nameless {
                // Without a footer, only the index knows the contents of a frame without a head.
                Some(of) => of.lost = lost,
                None if lost.is_empty() => {}
                None => damaged.push(looked.damaged(frames_end, TO_THE_END, lost)),
            }
        }
        let is_first = from == SEGMENT_HEADER_BYTES;
        let is_another = |header: SegmentHeader| header.generation != generation;
        if is_first && scan::read_header(&file)?.is_none_or(is_another) {
            damaged.push(nobody_s((0, SEGMENT_HEADER_BYTES)));
        }
        let begin = if is_first { 0 } else { from };
        let unreadable = file.unreadable(begin, next.unwrap_or(file_bytes));
        if !unreadable.is_empty() && !answers(self.store, id, &file)? {
            let source = Errno::IO.into();
            return Err(io_error("read any bytes from the device", source));
        }
        let rest = rest_of(&unreadable, &damaged);
        damaged.extend(rest.into_iter().map(nobody_s));
        Ok(Some(Found {
            damaged,
            next,
            bytes: next.unwrap_or(looked.end).saturating_sub(from),
        }))
    }
}

/// Offsets that the frames of a segment hold.
#[derive(Debug, Default)]
struct There(HashMap<PartitionId, Vec<(Offset, Offset)>>);

impl There {
    fn add(&mut self, head: &FrameHead) {
        for entry in head.entries.iter().filter(|entry| entry.has_batches()) {
            let ranges = self.0.entry(entry.partition).or_default();
            ranges.push((entry.base, entry.next));
        }
    }

    fn add_lost(&mut self, lost: &LostRange) {
        let ranges = self.0.entry(lost.partition).or_default();
        ranges.push((lost.base_offset, lost.next_offset));
    }
}

/// Returns what the index has in a segment before `until` that none of its frames holds.
fn missing(
    store: &Store,
    id: SegmentId,
    there: &There,
    until: u64,
) -> Result<Vec<LostRange>, Error> {
    let low = LogKey::slice(PartitionId(0), Offset::ZERO);
    let high = LogKey {
        table: Table::Slices,
        id: u64::MAX,
        offset: i64::MAX,
    };
    let mut slices = Vec::new();
    store.catalog.merged().scan(low, high, &mut |key, value| {
        if let LogValue::Slice(slice) = value
            && slice.segment == id
        {
            slices.push((PartitionId(key.id as u32), slice));
        }
        true
    })?;
    let mut lost = Vec::new();
    for (partition, slice) in slices {
        let mut ranges = there.0.get(&partition).cloned().unwrap_or_default();
        ranges.sort_unstable();
        for (base, run) in walk::runs_of(store, partition, &slice)? {
            // A run may continue in frames written since.
            if run.position + u64::from(run.span) > until {
                continue;
            }
            let (mut next, end) = (base, run.next.min(slice.next_offset));
            for (from, to) in ranges.iter().filter(|(_, to)| *to > base) {
                if *from > next {
                    break;
                }
                next = next.max(*to);
            }
            if next < end {
                lost.push(LostRange {
                    partition,
                    base_offset: next,
                    next_offset: end,
                });
            }
        }
    }
    Ok(lost)
}

/// Handles a segment with live data whose file disappeared while the process ran.
fn note_gone(store: &Store, id: SegmentId) -> Result<Scrubbed, Error> {
    let lost = missing(store, id, &There::default(), TO_THE_END)?;
    // The segment was freed after it was chosen.
    if lost.is_empty() || store.files.disk.list()?.iter().any(|(of, _)| *of == id) {
        return Ok(Scrubbed::default());
    }
    let damaged: Vec<Damaged> = lost
        .into_iter()
        .filter(|lost| !store.damage.has_lost(lost))
        .map(Damaged::nowhere)
        .collect();
    store.damage.accept(damaged.clone())?;
    Ok(Scrubbed {
        damaged,
        ..Scrubbed::default()
    })
}

/// Returns whether the device answers at all: the data of a missing device must not be given up.
fn answers(store: &Store, id: SegmentId, seen: &Patched<'_>) -> Result<bool, Error> {
    let others: Vec<SegmentId> = {
        let state = store.catalog.read();
        let others = state.segments.keys().filter(|other| **other != id);
        others.take(limits::ANSWERS_ASKED).copied().collect()
    };
    if others.is_empty() {
        return Ok(seen.has_answered());
    }
    for other in others {
        if let Some(file) = store.files.disk.open_direct(other)?
            && file.read_at(0, SEGMENT_HEADER_BYTES as usize).is_ok()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns a segment in which a read reported damage, or else the position of the round.
fn next_place(store: &Store, cursor: &mut ScrubCursor) -> Option<(SegmentId, u64)> {
    if let Some(within) = cursor.within {
        return Some(within);
    }
    let suspect = {
        let mut suspects = store
            .suspects
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        suspects.pop_first()
    };
    if let Some(id) = suspect {
        return Some((id, SEGMENT_HEADER_BYTES));
    }
    if cursor.is_resting {
        return None;
    }
    let state = store.catalog.read();
    if let Some(random) = cursor.begin_at.take() {
        let nth = random.checked_rem(state.segments.len() as u64).unwrap_or(0);
        let first = state.segments.keys().nth(nth as usize);
        cursor.behind = SegmentId(first.map_or(0, |id| id.0.saturating_sub(1)));
    }
    let behind = (Bound::Excluded(cursor.behind), Bound::Unbounded);
    let (id, _) = state.segments.range(behind).next()?;
    cursor.behind = *id;
    Some((*id, SEGMENT_HEADER_BYTES))
}

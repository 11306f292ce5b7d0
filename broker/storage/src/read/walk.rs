//! Walks the frames of a run, and the batches of a commit's part, by their heads.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use sedge_protocol::batch::{BatchHeader, HEADER_BYTES};
use sedge_protocol::ids::{Offset, PartitionId};

use crate::api::{Slice, Wait};
use crate::damage::Stretch;
use crate::disk::SegmentFile;
use crate::error::Error;
use crate::format::{EntryHead, FRAME_HEAD_BYTES, FrameHead, Run, frame_starts};
use crate::ids::SegmentId;
use crate::limits;
use crate::read::damaged;
use crate::segment::scan::{self, Window};
use crate::store::Store;

/// Consecutive batches of one partition on disk.
#[derive(Clone, Copy)]
pub(crate) struct Extent {
    pub segment: SegmentId,
    pub position: u64,
    pub bytes: u64,
    /// The offsets of the batches, by the commit's table.
    pub base: Offset,
    pub next: Offset,
}

pub(crate) type EachEntry<'a> =
    dyn FnMut(&Window<'_>, &Arc<dyn SegmentFile>, &EntryHead, Extent) -> Result<bool, Error> + 'a;

/// Calls `each` with the entries of a run's frames until it returns false; `ahead` returns how much
/// to read with the head of the next frame. Returns false if the segment is gone.
pub(crate) fn walk_frames(
    store: &Store,
    run: &Run,
    wait: Wait,
    ahead: &dyn Fn(Option<&FrameHead>) -> u64,
    each: &mut EachEntry<'_>,
) -> Result<bool, Error> {
    let segment = run.segment;
    let Some(file) = open(store, segment)? else {
        return Ok(false);
    };
    let Some(generation) = store.catalog.generation(segment) else {
        return Ok(false);
    };
    let end = run.position + u64::from(run.span);
    let mut behind = run.position;
    let mut anchor = run.position;
    let mut window = Window::waiting(&*file, wait);
    let recent = (wait == Wait::Never).then(|| (&store.recent_heads, Instant::now()));
    let mut last: Option<Arc<FrameHead>> = None;
    while behind < end {
        let ahead = ahead(last.as_deref());
        let was_padded = last.as_ref().is_some_and(|last| last.padding > 0);
        let mut read = || {
            let at = (behind, anchor);
            next_frame(&mut window, generation, at, end, ahead, was_padded)
        };
        let found = match recent {
            Some((heads, now)) => heads.get_or_read(segment, behind, now, read)?,
            None => read()?.map(|(position, head)| (position, Arc::new(head))),
        };
        let Some((position, head)) = found else {
            if let Some(known_to) = store.damage.end_at(segment, behind) {
                (behind, anchor) = (known_to, known_to);
                continue;
            }
            match damaged::frame_behind(store, &*file, segment, generation, behind, end)? {
                Some(next) => (behind, anchor) = (next, next),
                None => break,
            }
            continue;
        };
        for (entry, extent) in parts_of(segment, position, &head) {
            if !each(&window, &file, entry, extent)? {
                return Ok(true);
            }
        }
        behind = position + head.frame_bytes();
        last = Some(head);
    }
    Ok(true)
}

/// Returns the entries of the frame at `position`, each with the place of its batches.
pub(crate) fn parts_of(
    segment: SegmentId,
    position: u64,
    head: &FrameHead,
) -> impl Iterator<Item = (&EntryHead, Extent)> {
    let first = position + head.bytes();
    head.entries.iter().scan(first, move |data, entry| {
        let extent = Extent {
            segment,
            position: *data,
            bytes: u64::from(entry.bytes),
            base: entry.base,
            next: entry.next,
        };
        *data += extent.bytes;
        Some((entry, extent))
    })
}

/// Returns the frame behind one that ended at `behind`, or the one at `anchor`. `was_padded`
/// decides at which place it is looked for first.
pub(crate) fn next_frame(
    window: &mut Window<'_>,
    generation: u64,
    (behind, anchor): (u64, u64),
    end: u64,
    ahead: u64,
    was_padded: bool,
) -> Result<Option<(u64, FrameHead)>, Error> {
    let mut starts = frame_starts(behind);
    if was_padded {
        starts.reverse();
    }
    for start in starts {
        let ahead = ahead.min(end.saturating_sub(start));
        let front = window.get(start, FRAME_HEAD_BYTES, ahead)?;
        let Some(whole) = FrameHead::peek(&front, generation) else {
            continue;
        };
        let bytes = window.get(start, whole, ahead)?;
        let head = FrameHead::decode(&bytes, generation);
        // The index or a scan gives the anchor, independent of what lies before it.
        let follows =
            |head: &FrameHead| start == anchor || u64::from(head.padding) == start - behind;
        if let Some(head) = head.filter(follows) {
            return Ok(Some((start, head)));
        }
    }
    Ok(None)
}

/// Returns the batch's length, if its header can belong to the extent.
pub(crate) fn check_header(header: &BatchHeader, extent: Extent) -> Option<usize> {
    let sane = header.magic() == 2
        && header.last_offset_delta() >= 0
        && header.base_offset() >= extent.base
        && header.next_offset() <= extent.next;
    header.batch_bytes().filter(|_| sane)
}

pub(crate) fn read_at(
    file: &dyn SegmentFile,
    at: Extent,
    bytes: u64,
    wait: Wait,
) -> Result<Bytes, Error> {
    let read = scan::read(file, at.position, bytes as usize, wait)?;
    if read.len() as u64 != bytes {
        return Err(corrupt(at, 0, "the segment ends within a commit"));
    }
    Ok(read)
}

pub(crate) fn corrupt(extent: Extent, at: u64, what: &'static str) -> Error {
    Error::Corrupt {
        segment: extent.segment,
        position: extent.position + at,
        what,
    }
}

pub(crate) fn open(
    store: &Store,
    segment: SegmentId,
) -> Result<Option<Arc<dyn SegmentFile>>, Error> {
    store.files.get(segment)
}

/// Returns the runs of a slice, in order, each with the first offset that counts: its frames'
/// batches before that were replaced.
pub(crate) fn runs_of(
    store: &Store,
    partition: PartitionId,
    slice: &Slice,
) -> Result<Vec<(Offset, Run)>, Error> {
    let mut runs = Vec::new();
    let mut from = slice.first_offset;
    while from < slice.next_offset {
        let Some((base, run)) = store.catalog.run_at(partition, from)? else {
            break;
        };
        if base >= slice.next_offset {
            break;
        }
        if run.segment == slice.segment {
            runs.push((base, run));
        }
        from = run.next.max(from.plus(1));
    }
    Ok(runs)
}

/// Calls `each` with the headers of the partition's batches in the `wanted` entries, until it
/// returns false.
pub(crate) fn each_header(
    store: &Store,
    partition: PartitionId,
    run: &Run,
    wanted: &dyn Fn(&EntryHead) -> bool,
    each: &mut dyn FnMut(BatchHeader, Extent) -> bool,
) -> Result<(), Error> {
    let heads = |_: Option<&FrameHead>| limits::HEAD_READ_BYTES;
    walk_frames(
        store,
        run,
        Wait::ForDisk,
        &heads,
        &mut |_, file, entry, extent| {
            if entry.partition != partition || !entry.has_batches() || !wanted(entry) {
                return Ok(true);
            }
            for sound in sound_parts(store, extent) {
                let mut going = true;
                let read =
                    each_header_of(&**file, sound, Wait::ForDisk, each).map(|more| going = more);
                damaged::read_over(store, partition, read)?;
                if !going {
                    return Ok(false);
                }
            }
            Ok(true)
        },
    )?;
    Ok(())
}

pub(crate) fn each_header_of(
    file: &dyn SegmentFile,
    extent: Extent,
    wait: Wait,
    each: &mut dyn FnMut(BatchHeader, Extent) -> bool,
) -> Result<bool, Error> {
    let mut window = Window::waiting(file, wait);
    let mut at = 0;
    while at < extent.bytes {
        let here = Extent {
            position: extent.position + at,
            ..extent
        };
        let ahead = (extent.bytes - at).min(limits::HEAD_READ_BYTES);
        let front = window.get(here.position, HEADER_BYTES as u64, ahead)?;
        let header = BatchHeader::read(&front);
        let found = header
            .and_then(|header| Some((header, check_header(&header, here)? as u64)))
            .filter(|(_, bytes)| *bytes <= extent.bytes - at);
        let (header, bytes) =
            found.ok_or_else(|| corrupt(here, 0, "these bytes are not a batch"))?;
        if !each(header, Extent { bytes, ..here }) {
            return Ok(false);
        }
        at += bytes;
    }
    Ok(true)
}

pub(crate) fn read_batch(store: &Store, at: Extent) -> Result<Option<Bytes>, Error> {
    match open(store, at.segment)? {
        Some(file) => read_at(&*file, at, at.bytes, Wait::ForDisk).map(Some),
        None => Ok(None),
    }
}

/// Calls `each` with all batches of a run that reach beyond `from`, for recovery and for moving:
/// whole, or headers only
/// but for control batches.
pub(crate) fn batches_of_run(
    store: &Store,
    partition: PartitionId,
    run: &Run,
    from: Offset,
    headers_only: bool,
    each: &mut dyn FnMut(BatchHeader, Option<Bytes>),
) -> Result<(), Error> {
    let mut places = Vec::new();
    each_header(store, partition, run, &|_| true, &mut |header, at| {
        if header.next_offset() > from && header.base_offset() < run.next {
            places.push((header, at));
        }
        true
    })?;
    for (header, at) in places {
        let bytes = if headers_only && !header.is_control() {
            None
        } else {
            read_batch(store, at)?
        };
        each(header, bytes);
    }
    Ok(())
}

/// Returns the undamaged parts of an extent.
pub(crate) fn sound_parts(store: &Store, extent: Extent) -> Vec<Extent> {
    let cut = store
        .damage
        .cut(extent.segment, extent.position, extent.bytes);
    let sound = cut.into_iter().filter_map(|stretch| match stretch {
        Stretch::Sound { position, bytes } => Some(Extent {
            position,
            bytes,
            ..extent
        }),
        Stretch::Damaged(_) => None,
    });
    sound.collect()
}

//! Reads: from marks near the end of a log, otherwise by runs, whose frames are walked.
//!
//! What is only passed on is not read at all: [`locate`] gives places in segments, from which the
//! kernel sends. Only batches of small commits are gathered in memory, since sending each from its
//! place costs more than a copy.

pub(crate) mod damaged;
mod empty_batch;
pub(crate) mod times;
pub(crate) mod walk;

use std::cell::LazyCell;
use std::sync::Arc;

use bytes::Bytes;
use sedge_protocol::batch::BatchHeader;
use sedge_protocol::ids::{Offset, PartitionId};

use crate::api::{Chunk, Located, LostRange, ReadLimits, Wait};
use crate::catalog::Mark;
use crate::damage::Stretch;
use crate::disk::{Placed, SegmentFile, bytes_of};
use crate::error::Error;
use crate::format::{FrameHead, Run};
use crate::ids::SegmentId;
use crate::limits;
use crate::read::walk::{
    Extent, check_header, corrupt, each_header_of, open, read_at, walk_frames,
};
use crate::segment::scan::Window;
use crate::store::Store;
use empty_batch::empty_batch;

/// Tries to look a place up again after its segment was freed under the reader.
const LOOKUPS_MAX: u32 = 3;

/// What a read has so far.
struct Reading {
    chunks: Vec<Chunk>,
    /// Places will do for what need not be looked into.
    in_place: bool,
    wait: Wait,
    /// The next offset wanted.
    from: Offset,
    until: Offset,
    left: usize,
    /// Of [`ReadLimits::memory_max`] and [`ReadLimits::cold_max`].
    memory_left: usize,
    cold_left: usize,
    /// Small batches, one behind the other, that become a chunk of their own.
    gathered: Vec<u8>,
    done: bool,
    is_cut: bool,
    /// How long the file is that was looked at last.
    file_end: Option<(SegmentId, u64)>,
}

/// What a read does with a batch.
enum Fate {
    /// It ends before what is wanted.
    Skip,
    Take,
    /// The read is over.
    Stop,
}

impl Reading {
    fn new(from: Offset, until: Offset, limits: ReadLimits) -> Self {
        Self {
            chunks: Vec::new(),
            in_place: false,
            wait: Wait::ForDisk,
            from,
            until,
            left: limits.bytes_max,
            memory_left: limits.memory_max,
            cold_left: limits.cold_max,
            gathered: Vec::new(),
            done: false,
            is_cut: false,
            file_end: None,
        }
    }

    fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.gathered.is_empty()
    }

    /// Bytes that may be read into memory at once.
    fn read_max(&self) -> u64 {
        self.left.min(self.memory_left) as u64
    }

    /// Whether `bytes` more fit what is `left` of memory or cold bytes. If not, the read is over.
    fn fits(&mut self, bytes: usize, left: usize, is_first: bool) -> bool {
        if bytes > left && !is_first {
            self.done = true;
            self.is_cut = true;
        }
        !self.done
    }

    /// Takes batches that are in memory.
    fn take(&mut self, batches: Bytes) {
        self.memory_left = self.memory_left.saturating_sub(batches.len());
        if self.in_place && (batches.len() as u64) < limits::PLACE_BYTES_MIN {
            self.gathered.extend_from_slice(&batches);
        } else {
            self.push(Chunk::Read(batches));
        }
    }

    fn push(&mut self, chunk: Chunk) {
        self.seal();
        self.memory_left = self.memory_left.saturating_sub(size_of::<Chunk>());
        self.chunks.push(chunk);
    }

    /// Makes a chunk of what was gathered.
    fn seal(&mut self) {
        if !self.gathered.is_empty() {
            let mut gathered = std::mem::take(&mut self.gathered);
            gathered.shrink_to_fit();
            self.chunks.push(Chunk::Read(Bytes::from(gathered)));
        }
    }

    fn into_located(mut self) -> Located {
        self.seal();
        Located {
            chunks: self.chunks,
            is_cut: self.is_cut,
        }
    }

    /// Decides on the next batch, of `bytes`. `is_first` where nothing was taken yet.
    fn judge(&mut self, header: &BatchHeader, bytes: usize, is_first: bool) -> Fate {
        if header.next_offset() <= self.from {
            return Fate::Skip;
        }
        if header.base_offset() >= self.until || (bytes > self.left && !is_first) {
            self.done = true;
            return Fate::Stop;
        }
        Fate::Take
    }

    /// Whether the file is as long as an extent needs it.
    fn reaches(&mut self, file: &dyn SegmentFile, extent: Extent) -> Result<bool, Error> {
        let end = extent.position + extent.bytes;
        let known = self.file_end.filter(|(of, _)| *of == extent.segment);
        if known.is_some_and(|(_, known)| end <= known) {
            return Ok(true);
        }
        let bytes = bytes_of(file)?;
        self.file_end = Some((extent.segment, bytes));
        Ok(end <= bytes)
    }

    fn count(&mut self, next: Offset, bytes: usize) {
        self.left = self.left.saturating_sub(bytes);
        self.from = next;
    }
}

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

/// **Invariant:** what is passed on up to the end of the log is never empty: in place of what is
/// lost there is a batch without records, so that a consumer gets behind it.
fn gather(store: &Store, partition: PartitionId, mut reading: Reading) -> Result<Located, Error> {
    let from = reading.from;
    gather_what_is_there(store, partition, &mut reading)?;
    let until = reading.until;
    if reading.in_place && reading.is_empty() && from < until {
        let bounds = store.catalog.bounds(partition)?.log;
        // The batch that ends a log stays, so nothing up to the end is a loss; nothing up to an
        // offset before may be what compaction left. And it may have been deleted meanwhile.
        if bounds.log_start <= from && until == bounds.next_offset {
            let to = match reading.from {
                to if to > from => to.min(until),
                _ => until,
            };
            let instead = empty_batch(from, to);
            reading.chunks.push(Chunk::Read(instead));
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
                // Offsets between runs were never there, or lie in a hole; or the log start moved
                // past them
                // while this read was on its way.
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
                // It was not freed: then the index would not name it any more.
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

/// False where a segment is gone.
fn read_marks(
    store: &Store,
    partition: PartitionId,
    marks: &[Mark],
    reading: &mut Reading,
) -> Result<bool, Error> {
    for marks in marks.chunk_by(|one, next| one.segment == next.segment) {
        if reading.done || marks[0].base >= reading.until {
            break;
        }
        let Some(file) = open(store, marks[0].segment)? else {
            return Ok(false);
        };
        read_marks_of(store, partition, &file, marks, reading)?;
    }
    Ok(true)
}

/// Marks of one segment, as few reads: those close together in one.
fn read_marks_of(
    store: &Store,
    partition: PartitionId,
    file: &Arc<dyn SegmentFile>,
    marks: &[Mark],
    reading: &mut Reading,
) -> Result<(), Error> {
    let mut rest = marks;
    // What lies between two places that are in memory is there too: it was read or written with
    // them.
    let are_ends_cached = LazyCell::new(|| {
        let is_cached = |mark: &Mark| file.is_cached(mark.position, u64::from(mark.bytes));
        marks.last().is_some_and(is_cached) && (marks.len() == 1 || is_cached(&marks[0]))
    });
    while let Some(first) = rest.first()
        && !reading.done
        && first.base < reading.until
    {
        let extent = extent_of(first);
        let is_damaged = |mark: &Mark| is_damaged(store, extent_of(mark));
        if is_damaged(first) {
            read_around(store, partition, &**file, extent, reading)?;
            if !reading.done {
                reading.from = reading.from.max(first.next);
            }
            rest = &rest[1..];
            continue;
        }
        let is_cached = || *are_ends_cached || file.is_cached(extent.position, extent.bytes);
        let placed = take_in_place(file, extent, (first.base, first.next), &is_cached, reading);
        if !matches!(placed, Ok(false)) {
            if !damaged::read_over(store, partition, placed.map(|_| ()))? {
                reading.from = reading.from.max(first.next);
            }
            rest = &rest[1..];
            continue;
        }
        let count = close_marks(rest, reading.read_max(), reading.in_place);
        let sound = rest[1..count].iter().position(is_damaged);
        let count = sound.map_or(count, |sound| 1 + sound);
        let (group, behind) = rest.split_at(count);
        rest = behind;
        if let [one] = group {
            let read = read_extent(&**file, extent_of(one), reading);
            damaged::read_over(store, partition, read)?;
            reading.from = if reading.done { reading.from } else { one.next };
            continue;
        }
        let end = group
            .last()
            .map_or(first.position, |last| last.position + u64::from(last.bytes));
        let span = end - first.position;
        let mut window = Window::waiting(&**file, reading.wait);
        for mark in group {
            let bytes = window.get(mark.position, u64::from(mark.bytes), span)?;
            let read = take_whole(&bytes, extent_of(mark), reading);
            damaged::read_over(store, partition, read)?;
            if reading.done {
                return Ok(());
            }
            reading.from = mark.next;
        }
    }
    Ok(())
}

/// How many of the marks lie so close together that one read of all is the cheaper way.
fn close_marks(marks: &[Mark], left: u64, in_place: bool) -> usize {
    let mut count = 1;
    while let [before, after] = marks.get(count - 1..=count).unwrap_or_default() {
        let gap = after
            .position
            .saturating_sub(before.position + u64::from(before.bytes));
        let span = after.position + u64::from(after.bytes) - marks[0].position.min(after.position);
        if after.segment != before.segment
            || after.position < before.position
            || gap > limits::HEAD_READ_BYTES
            || (in_place && u64::from(after.bytes) >= limits::PLACE_BYTES_MIN)
            || span > left + limits::HEAD_READ_BYTES
        {
            break;
        }
        count += 1;
    }
    count
}

fn extent_of(mark: &Mark) -> Extent {
    Extent {
        segment: mark.segment,
        position: mark.position,
        bytes: u64::from(mark.bytes),
        base: mark.base,
        next: mark.next,
    }
}

/// False where the segment is gone.
fn walk_run(
    store: &Store,
    partition: PartitionId,
    run: &Run,
    reading: &mut Reading,
) -> Result<bool, Error> {
    let dense = u64::from(run.bytes) * 2 >= u64::from(run.span);
    let all = reading.read_max() + limits::HEAD_READ_BYTES;
    let in_place = reading.in_place;
    // Where commits are large enough to be left where they are, only their heads are read.
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
            // A head that was in memory a moment ago speaks for what lies behind it.
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

/// Has the disk begin with what a catch-up will come to: in a cold segment, a partition's runs lie
/// one behind the other, each no larger than a read.
fn read_on(file: &dyn SegmentFile, run: &Run, left: u64) {
    if left > u64::from(run.span) && !file.is_cached(run.position, u64::from(run.span)) {
        file.read_soon(run.position, left);
    }
}

/// Takes what is wanted of an extent, the offsets `base..next`, without reading it into memory.
/// False where it must be.
fn take_in_place(
    file: &Arc<dyn SegmentFile>,
    extent: Extent,
    (base, next): (Offset, Offset),
    is_cached: &dyn Fn() -> bool,
    reading: &mut Reading,
) -> Result<bool, Error> {
    if !reading.in_place || extent.bytes < limits::PLACE_BYTES_MIN {
        return Ok(false);
    }
    let is_cold = !is_cached();
    if is_cold && reading.wait == Wait::Never {
        return Ok(false);
    }
    if !reading.fits(size_of::<Chunk>(), reading.memory_left, reading.is_empty()) {
        return Ok(true);
    }
    // What is sent from there cannot be taken back when the file ends too soon.
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

/// Takes what is wanted of an extent that is in memory.
fn take_whole(bytes: &Bytes, extent: Extent, reading: &mut Reading) -> Result<(), Error> {
    if bytes.len() as u64 != extent.bytes {
        return Err(corrupt(extent, 0, "the segment ends within a commit"));
    }
    let selected = select(bytes, extent, reading)?;
    match selected.cut {
        Some((at, _)) => Err(corrupt(
            extent,
            at as u64,
            "a batch reaches over its commit",
        )),
        None => Ok(()),
    }
}

struct Selected {
    /// A batch that is not whole in the bytes begins here; its length where its header is whole.
    cut: Option<(usize, Option<(usize, BatchHeader)>)>,
    /// Where looking on would go on.
    at: usize,
}

/// Whole batches of `bytes` from the one that holds `reading.from`, while they are below `until`
/// and there is room. Each header is checked against what is expected there.
fn select(bytes: &Bytes, extent: Extent, reading: &mut Reading) -> Result<Selected, Error> {
    let mut at = 0;
    let mut taken: Option<(usize, usize)> = None;
    let mut cut = None;
    while at < bytes.len() {
        let Some(header) = BatchHeader::read(&bytes[at..]) else {
            cut = Some((at, None));
            break;
        };
        let whole =
            check_header(&header, extent).ok_or_else(|| corrupt(extent, at as u64, "no batch"))?;
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

/// Takes what is wanted of an extent on disk without reading more than about what is asked for.
fn read_extent(file: &dyn SegmentFile, extent: Extent, reading: &mut Reading) -> Result<(), Error> {
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
            // Batches that were skipped may end behind what was read.
            None => at += selected.at as u64,
            Some((cut, None)) if cut > 0 => at += cut as u64,
            Some((_, None)) => return Err(corrupt(here, 0, "less than a batch's header")),
            Some((cut, Some((whole, header)))) => {
                let batch = Extent {
                    position: here.position + cut as u64,
                    ..here
                };
                if cut as u64 + whole as u64 > here.bytes {
                    return Err(corrupt(batch, 0, "a batch reaches over its commit"));
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

fn is_damaged(store: &Store, extent: Extent) -> bool {
    store
        .damage
        .touches(extent.segment, extent.position, extent.bytes)
}

/// Takes what is wanted of an extent in which batches are known to be damaged. What is passed on
/// gets batches without records in their place, so that consumers get behind them.
fn read_around(
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

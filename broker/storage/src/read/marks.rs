//! Reads near the end of a log, where marks give the places of its batches.

use std::cell::LazyCell;
use std::sync::Arc;

use sedge_protocol::ids::PartitionId;

use super::reading::Reading;
use super::take::{is_damaged, read_around, read_extent, take_in_place, take_whole};
use crate::catalog::Mark;
use crate::disk::SegmentFile;
use crate::error::Error;
use crate::limits;
use crate::read::damaged;
use crate::read::walk::{Extent, open};
use crate::segment::scan::Window;
use crate::store::Store;

/// Reads the marked batches. Returns false if a segment is gone.
pub(super) fn read_marks(
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

/// Reads the marks of one segment in as few reads as possible: close ones in one.
fn read_marks_of(
    store: &Store,
    partition: PartitionId,
    file: &Arc<dyn SegmentFile>,
    marks: &[Mark],
    reading: &mut Reading,
) -> Result<(), Error> {
    let mut rest = marks;
    // If two places are in the page cache, so is what lies between: it was read or written with
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

/// Returns how many of the marks are so close together that one read of all is cheaper.
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

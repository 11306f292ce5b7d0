//! One segment at a start.

use std::sync::Arc;

use super::Opening;
use crate::api::Hole;
use crate::disk::{SegmentFile, bytes_of};
use crate::error::{Error, io_error};
use crate::format::SEGMENT_HEADER_BYTES;
use crate::ids::{SegmentId, Sequence};
use crate::segment::header::{Known, header_of};
use crate::segment::listing;
use crate::segment::scan::{Found, Scanner};

/// A segment at a start.
pub(super) struct Segment {
    pub id: SegmentId,
    pub file: Arc<dyn SegmentFile>,
    pub generation: u64,
    /// Whether the file held another segment before.
    pub is_recycled: bool,
    pub is_cold: bool,
    /// Whether the header is damaged. Then the frames may be those of an earlier segment, unless
    /// their sequences say otherwise.
    pub is_header_damaged: bool,
    pub first_sequence: Sequence,
    pub file_bytes: u64,
    /// Position at which the frames end, if the segment is sealed.
    pub sealed_at: Option<u64>,
}

impl Opening<'_> {
    /// Returns `None` for a file that was never begun, which is removed if it is empty.
    pub(super) fn segment(&mut self, id: SegmentId) -> Result<Option<Segment>, Error> {
        let Some(file) = self.store.files.get(id)? else {
            return Ok(None);
        };
        let failed = |source| io_error("look at a segment", source);
        let file_bytes = file.bytes().map_err(failed)?;
        let known = header_of(&*file, id)?;
        if known.is_some_and(|known| known.header.id != id) {
            // A file that was about to be reused: it already has its new name, and its contents are
            // dead.
            self.store.files.remove(id)?;
            return Ok(None);
        }
        let Some(Known { header, is_damaged }) = known else {
            if has_data(&*file)? {
                let hole = Hole {
                    segment: id,
                    position: 0,
                    bytes: file_bytes,
                    lost: Vec::new(),
                };
                if !self.report.holes.contains(&hole) {
                    log::error!("segment {} has no header; the file is left alone", id.0);
                    self.report.holes.push(hole);
                }
            } else {
                self.store.files.remove(id)?;
            }
            return Ok(None);
        };
        if is_damaged && !self.report.damaged_headers.contains(&id) {
            log::error!(
                "segment {} has a damaged header: its content is taken from the frames",
                id.0
            );
            self.report.damaged_headers.push(id);
        }
        let generation = header.generation;
        let is_recycled = header.previous_generation.is_some();
        let footer = listing::read_footer(&*file, id, generation)?;
        let sealed_at = footer.map(|footer| footer.frames_end);
        let (first_sequence, is_cold) = (header.first_sequence, header.is_cold);
        Ok(Some(Segment {
            id,
            file,
            generation,
            is_recycled,
            is_cold,
            is_header_damaged: is_damaged,
            first_sequence,
            file_bytes,
            sealed_at,
        }))
    }

    /// Returns the last segment of the log that may contain a commit. A newer file may exist that
    /// has no header yet, or still has the header of the segment that it held before.
    pub(super) fn last_begun(&self) -> Result<Option<SegmentId>, Error> {
        for id in self.ids.iter().rev().filter(|id| !self.cold.contains(id)) {
            let Some(file) = self.store.files.get(*id)? else {
                continue;
            };
            let is_begun = match header_of(&*file, *id)? {
                Some(known) => known.header.id == *id,
                None => has_data(&*file)?,
            };
            if is_begun {
                return Ok(Some(*id));
            }
        }
        Ok(None)
    }

    /// Returns whether the frames of a segment with a damaged header are older than commit
    /// `expected`: then the file was about to be reused.
    pub(super) fn is_of_before(
        &mut self,
        segment: &Segment,
        expected: Sequence,
    ) -> Result<bool, Error> {
        let is_of_before = segment.is_header_damaged && segment.first_sequence < expected;
        if is_of_before {
            self.note_hole(segment.id, 0, segment.file_bytes, &[])?;
        }
        Ok(is_of_before)
    }

    /// Returns whether the next segment begins with the commit after `last`: then the bytes behind
    /// the frames of `id` are the beginning of a footer, and nothing is missing.
    pub(super) fn goes_on_after(&self, id: SegmentId, last: Sequence) -> Result<bool, Error> {
        let is_next = |next: &&SegmentId| **next > id && !self.cold.contains(next);
        let Some(next) = self.ids.iter().find(is_next) else {
            return Ok(false);
        };
        let Some(file) = self.store.files.get(*next)? else {
            return Ok(false);
        };
        let known = header_of(&*file, *next)?;
        Ok(known.is_some_and(|known| known.header.first_sequence.0 == last.0 + 1))
    }
}

/// Returns whether a file without a valid header has any bytes behind the header, which may be
/// frames: without the generation, frames cannot be identified. A file with only a part of a header
/// has no frames, because the header is written first.
fn has_data(file: &dyn SegmentFile) -> Result<bool, Error> {
    let from = SEGMENT_HEADER_BYTES;
    Ok(match Scanner::new(file, 0, from, bytes_of(file)?).next()? {
        Found::End { torn_end, .. } => torn_end > from,
        _ => true,
    })
}

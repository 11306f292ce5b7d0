//! Rebuilds the views: the log's own from footers, the caller's from records.

use super::Opening;
use super::segment::Segment;
use crate::error::Error;
use crate::format::{FrameAt, SEGMENT_HEADER_BYTES};
use crate::ids::{SegmentId, Sequence};
use crate::segment::listing;
use crate::segment::scan::{Found, Scanner};
use crate::views::tables::Applied;

impl Opening<'_> {
    /// Rebuilds everything: the log's own views from footers if possible, the caller's from
    /// records.
    pub(super) fn rebuild(mut self) -> Result<(), Error> {
        self.store.catalog.write().rebuilding = true;
        let mut last = None;
        let mut sequence = Sequence(0);
        self.add_cold_segments(SegmentId(0))?;
        let log: Vec<SegmentId> = self
            .ids
            .iter()
            .copied()
            .filter(|id| !self.cold.contains(id))
            .collect();
        let last_begun = self.last_begun()?;
        for id in &log {
            let Some(segment) = self.segment(*id)? else {
                continue;
            };
            if self.is_of_before(&segment, Sequence(sequence.0 + 1))? {
                continue;
            }
            self.store
                .catalog
                .write()
                .start_segment(*id, segment.generation);
            let is_last = last_begun == Some(*id);
            let end = self.list_segment(&segment, is_last, &mut sequence)?;
            sequence = sequence.max(Sequence(segment.first_sequence.0.saturating_sub(1)));
            self.write_again(&segment, SEGMENT_HEADER_BYTES, end);
            last = Some((segment, end));
        }
        let applied = self.store.catalog.read().applied;
        let applied = if applied.sequence == sequence {
            applied
        } else {
            self.find_last_frame()?
        };
        self.replay_live()?;
        {
            let mut state = self.store.catalog.write();
            state.rebuilding = false;
            let append_ms = state.applied.append_ms.max(applied.append_ms);
            state.applied = Applied {
                append_ms,
                ..applied
            };
        }
        self.note_gaps()?;
        self.remember_holes();
        self.finish(last, sequence)?;
        if sequence > Sequence(0)
            && let Err(error) = self.store.flush(true)
        {
            log::warn!("the views cannot be flushed after the rebuild: {error}");
        }
        Ok(())
    }

    /// Adds one segment to the log's own views.
    fn list_segment(
        &mut self,
        segment: &Segment,
        is_last: bool,
        sequence: &mut Sequence,
    ) -> Result<u64, Error> {
        let (id, file) = (segment.id, segment.file.clone());
        if let Some(footer) = listing::read_footer(&*file, id, segment.generation)? {
            let cold = self.cold_runs(&footer.facts)?;
            self.store
                .catalog
                .apply_footer(&footer.runs, &footer.facts, &cold)?;
            *sequence = footer.last_sequence;
            self.frames_end.insert(id, footer.frames_end);
            self.relieve()?;
            return Ok(footer.frames_end);
        }
        let mut scanner = Scanner::new(
            &*file,
            segment.generation,
            SEGMENT_HEADER_BYTES,
            segment.file_bytes,
        );
        let mut is_whole = true;
        loop {
            match scanner.next()? {
                Found::Frame { position, head, .. } => {
                    self.note_lost(&head)?;
                    let cold = self.cold_runs(&head.entries)?;
                    let at = FrameAt::new(id, position);
                    self.store.catalog.apply(at, &head, &cold, Vec::new())?;
                    *sequence = head.sequence;
                    self.relieve()?;
                }
                Found::Hole { position, end, .. } => {
                    is_whole = false;
                    let heads = scanner.heads(position, end, *sequence)?;
                    self.note_hole(id, position, end - position, &heads)?;
                }
                Found::End {
                    position, torn_end, ..
                } => {
                    let tail = (position, torn_end);
                    let ends_in_hole =
                        self.end_frames(segment, is_last, tail, *sequence, &mut scanner)?;
                    is_whole &= !ends_in_hole;
                    self.frames_end.extend(is_whole.then_some((id, position)));
                    return Ok(position);
                }
            }
        }
    }

    /// Finds the last frame, which becomes the views' applied position.
    fn find_last_frame(&mut self) -> Result<Applied, Error> {
        let mut applied = Applied::default();
        for id in self.ids.iter().rev() {
            if self.cold.contains(id) {
                continue;
            }
            let Some(segment) = self.segment(*id)? else {
                continue;
            };
            let (file, generation) = (segment.file.clone(), segment.generation);
            let end = segment.sealed_at.unwrap_or(segment.file_bytes);
            let mut scanner = Scanner::new(&*file, generation, SEGMENT_HEADER_BYTES, end);
            loop {
                match scanner.next()? {
                    Found::Frame { position, head, .. } => {
                        applied = Applied {
                            sequence: head.sequence,
                            segment: *id,
                            generation,
                            position,
                            end: position + head.frame_bytes(),
                            append_ms: head.append_ms,
                        };
                    }
                    Found::Hole { .. } => {}
                    Found::End { .. } => break,
                }
            }
            if applied.sequence > Sequence(0) {
                break;
            }
        }
        Ok(applied)
    }
}

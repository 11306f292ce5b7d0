//! Catches up: applies the frames after those that the views have, one by one, with their records.

use bytes::Bytes;
use sedge_protocol::batch::Batch;

use super::Opening;
use super::segment::Segment;
use crate::error::Error;
use crate::format::{EntryHead, EntryKind, FrameAt, FrameHead, SEGMENT_HEADER_BYTES};
use crate::ids::{SegmentId, Sequence};
use crate::segment::listing;
use crate::segment::scan::{Found, Scanner};
use crate::views::tables::Applied;

impl Opening<'_> {
    /// Applies only what the views do not have yet.
    pub(super) fn catch_up(mut self, applied: Applied) -> Result<(), Error> {
        self.add_unknown_segments(applied)?;
        let mut expected = Sequence(applied.sequence.0 + 1);
        self.add_cold_segments(applied.segment)?;
        let rest: Vec<SegmentId> = self
            .ids
            .iter()
            .copied()
            .filter(|id| *id >= applied.segment && !self.cold.contains(id))
            .collect();
        let last_begun = self.last_begun()?;
        let mut last = None;
        for id in &rest {
            let Some(segment) = self.segment(*id)? else {
                continue;
            };
            if *id > applied.segment && self.is_of_before(&segment, expected)? {
                continue;
            }
            let from = if *id == applied.segment {
                applied.end
            } else {
                SEGMENT_HEADER_BYTES
            };
            if *id > applied.segment {
                self.store
                    .catalog
                    .write()
                    .start_segment(*id, segment.generation);
            }
            let is_last = last_begun == Some(*id);
            let end = self.replay_segment(&segment, from, is_last, &mut expected)?;
            last = Some((segment, end));
        }
        self.forget_missing_segments();
        self.note_what_segments_lack()?;
        self.remember_holes();
        self.finish(last, Sequence(expected.0 - 1))
    }

    /// Forgets segments that the views know and that are gone. They were freed, if the log says
    /// that they had no live data.
    fn forget_missing_segments(&mut self) {
        let known = self.store.catalog.read().segments.clone();
        for (id, segment) in &known {
            if self.ids.binary_search(id).is_ok() {
                continue;
            }
            if segment.live_slices > 0 {
                log::error!(
                    "segment {} is missing, and had {} live bytes",
                    id.0,
                    segment.live_bytes
                );
                self.gone.insert(*id);
            }
            self.store.catalog.write().forget_segment(*id);
        }
    }

    /// Adds segments that the views do not know: dead ones that were not removed yet.
    fn add_unknown_segments(&mut self, applied: Applied) -> Result<(), Error> {
        let known = self.store.catalog.read().segments.clone();
        for id in self
            .ids
            .iter()
            .filter(|id| **id <= applied.segment && !known.contains_key(id))
        {
            if let Some(segment) = self.segment(*id)? {
                self.store
                    .catalog
                    .write()
                    .add_segment(*id, segment.generation, segment.is_cold);
            }
        }
        Ok(())
    }

    /// Applies the frames from `from` on. Returns where they end.
    fn replay_segment(
        &mut self,
        segment: &Segment,
        from: u64,
        is_last: bool,
        expected: &mut Sequence,
    ) -> Result<u64, Error> {
        let id = segment.id;
        let end = segment.sealed_at.unwrap_or(segment.file_bytes);
        let file = segment.file.clone();
        let mut scanner = Scanner::new(&*file, segment.generation, from, end);
        let mut in_hole = std::mem::take(&mut self.ended_in_hole);
        let mut is_whole = true;
        let mut again = from;
        loop {
            match scanner.next()? {
                Found::Frame {
                    position,
                    head,
                    body,
                } => {
                    if head.sequence > *expected && !in_hole {
                        self.note_gap(id, position, *expected, head.sequence);
                    }
                    in_hole = false;
                    self.note_lost(&head)?;
                    let at = FrameAt::new(id, position);
                    self.replay_frame(at, &head, &body)?;
                    *expected = Sequence(head.sequence.0 + 1);
                    self.report.frames_replayed += 1;
                    if self.is_too_much_pending() {
                        // The views are flushed up to this position, so the log must be on the disk
                        // up to it.
                        let end = position + head.frame_bytes();
                        self.write_again(segment, again, end);
                        again = end;
                        self.relieve()?;
                    }
                }
                Found::Hole { position, end, .. } => {
                    (in_hole, is_whole) = (true, false);
                    let heads = scanner.heads(position, end, Sequence(expected.0 - 1))?;
                    self.note_hole(id, position, end - position, &heads)?;
                }
                Found::End {
                    position, torn_end, ..
                } => {
                    let tail = (position, torn_end);
                    let before = Sequence(expected.0 - 1);
                    if self.end_frames(segment, is_last, tail, before, &mut scanner)? {
                        (self.ended_in_hole, is_whole) = (true, false);
                    }
                    if !is_whole {
                        self.take_from_footer(segment)?;
                    }
                    self.write_again(segment, again, position);
                    // The numbers of lost commits are not reused.
                    *expected = (*expected).max(segment.first_sequence);
                    return Ok(position);
                }
            }
        }
    }

    /// Takes the contents of a sealed segment's damaged frames from its footer. The records are
    /// lost, but their offsets are not reused, and what the frames deleted stays deleted.
    fn take_from_footer(&mut self, segment: &Segment) -> Result<(), Error> {
        if segment.sealed_at.is_none() {
            return Ok(());
        }
        match listing::read_footer(&*segment.file, segment.id, segment.generation)? {
            Some(footer) => {
                let ends = footer.runs.iter();
                let ends =
                    ends.map(|of| EntryHead::end(of.partition, of.run.next, of.run.leader_epoch));
                let facts: Vec<EntryHead> = ends.chain(footer.facts).collect();
                let cold = self.cold_runs(&facts)?;
                self.store.catalog.apply_facts(&facts, &cold)
            }
            None => Ok(()),
        }
    }

    fn replay_frame(&mut self, at: FrameAt, head: &FrameHead, body: &Bytes) -> Result<(), Error> {
        let cold = self.cold_runs(&head.entries)?;
        self.store.catalog.apply(at, head, &cold, Vec::new())?;
        let mut rest = body.clone();
        for entry in &head.entries {
            let mut bytes = rest.split_to(entry.bytes as usize);
            let catalog = &self.store.catalog;
            let updates = match entry.kind {
                EntryKind::Append => {
                    let batches: Vec<Batch> =
                        std::iter::from_fn(|| Batch::split_from(&mut bytes)).collect();
                    let partition = entry.partition;
                    self.recovery
                        .replay(catalog, partition, &batches, head.append_ms)
                }
                EntryKind::Drop => self.recovery.dropped(catalog, entry.partition),
                EntryKind::LogStart
                | EntryKind::Moved
                | EntryKind::Replaced
                | EntryKind::Compacted => continue,
            };
            catalog.put_updates(updates);
        }
        Ok(())
    }
}

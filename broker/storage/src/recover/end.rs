//! The end of the log: the part that may not be on the disk yet, and the position of the writer.

use std::sync::PoisonError;

use super::Opening;
use super::segment::Segment;
use crate::api::TornTail;
use crate::error::{Error, io_error};
use crate::ids::Sequence;
use crate::segment::rewrite;
use crate::segment::scan::Scanner;
use crate::store::writer::{Active, Writer};

impl Opening<'_> {
    /// Examines what is behind the last frame of a segment: a torn frame, which is cut, a hole, or
    /// the beginning of a footer. `last` is the last commit so far. Returns whether it is a hole.
    pub(super) fn end_frames(
        &mut self,
        segment: &Segment,
        is_last: bool,
        (position, torn_end): (u64, u64),
        last: Sequence,
        scanner: &mut Scanner<'_>,
    ) -> Result<bool, Error> {
        if is_last {
            if torn_end > position {
                self.report.torn_tail = Some(TornTail {
                    segment: segment.id,
                    position,
                    bytes: torn_end - position,
                });
                if !segment.is_recycled {
                    rewrite::wipe(&*segment.file, position, torn_end)?;
                }
            }
            return Ok(false);
        }
        // The commits between `last` and this segment are lost, and their numbers are not reused.
        let last = last.max(Sequence(segment.first_sequence.0.saturating_sub(1)));
        // In a reused file, `torn_end` covers at most the first torn frame.
        let heads = scanner.heads(position, u64::MAX, last)?;
        let heads_end = heads.last().map(|(at, head)| at + head.frame_bytes());
        let end = torn_end.max(heads_end.unwrap_or_default());
        if end == position {
            return Ok(false);
        }
        if self.goes_on_after(segment.id, last)? {
            // Once the segments after this one are freed, nothing shows that these bytes are part
            // of a footer.
            if !segment.is_recycled {
                rewrite::wipe(&*segment.file, position, end)?;
            }
            return Ok(false);
        }
        self.note_hole(segment.id, position, end - position, &heads)?;
        Ok(true)
    }

    /// Rewrites what the earlier process may have left only in the kernel's memory, not even queued
    /// for the disk. A footer shows that the frames before it are on the disk.
    pub(super) fn write_again(&self, segment: &Segment, from: u64, to: u64) {
        if segment.sealed_at.is_none()
            && let Err(source) = rewrite::rewrite(&*segment.file, from, to)
        {
            let error = io_error("write a segment again", source);
            log::error!("segment {}: {error}", segment.id.0);
            // If nothing can be written, nothing can be acknowledged either.
            if !matches!(error, Error::Full | Error::ReadOnly) {
                self.store.poison();
            }
        }
        self.store.note_unsynced(&segment.file);
    }

    /// Sets the writer's position to the end of the log.
    pub(super) fn finish(
        &mut self,
        last: Option<(Segment, u64)>,
        sequence: Sequence,
    ) -> Result<(), Error> {
        self.store.find_spares()?;
        if let Some((segment, position)) = &last
            && segment.sealed_at.is_none()
            && segment.is_recycled
        {
            self.cut(segment, *position)?;
        }
        let newest = self.ids.iter().rev().find(|id| !self.cold.contains(id));
        self.writer().sequence = sequence;
        self.writer().last_segment = self.ids.last().copied().unwrap_or_default();
        self.store.opened_at = last.as_ref().map(|(segment, end)| (segment.id, *end));
        if let Some((segment, position)) = last
            && segment.sealed_at.is_none()
            && !segment.is_recycled
            && Some(&segment.id) == newest
        {
            self.writer().active = Some(Active {
                id: segment.id,
                generation: segment.generation,
                file: segment.file,
                position,
                capacity: segment.file_bytes,
                is_recycled: false,
            });
        }
        Ok(())
    }

    fn writer(&mut self) -> &mut Writer {
        let writer = self.store.writer.get_mut();
        writer.unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts what follows the last frame of a reused file. A torn frame there cannot be told from
    /// the bytes of the earlier segment, so all of it is cut. Nothing is written there in any case,
    /// so a disk that refuses the cut does not stop the start.
    fn cut(&mut self, segment: &Segment, position: u64) -> Result<(), Error> {
        if position >= segment.file_bytes {
            return Ok(());
        }
        self.report.tail_unknown = true;
        match segment.file.truncate(position) {
            Ok(()) => self.store.note_unsynced(&segment.file),
            Err(source) => match io_error("cut a segment", source) {
                Error::Full | Error::ReadOnly => {}
                error => return Err(error),
            },
        }
        Ok(())
    }
}

//! Cold segments, and the rows of the log that refer to them.

use super::Opening;
use crate::catalog::ColdRuns;
use crate::disk::SegmentFile;
use crate::error::Error;
use crate::format::{EntryHead, FooterRun};
use crate::ids::SegmentId;
use crate::segment::listing::{self, CutShort};

impl Opening<'_> {
    /// Adds cold segments from `from` on. For those that the views do not know, the log says what
    /// counts; if it says nothing, they are dead.
    pub(super) fn add_cold_segments(&mut self, from: SegmentId) -> Result<(), Error> {
        for id in self.ids.iter().filter(|id| **id >= from) {
            let Some(segment) = self.segment(*id)?.filter(|segment| segment.is_cold) else {
                continue;
            };
            self.cold.insert(*id);
            self.frames_end
                .extend(segment.sealed_at.map(|end| (*id, end)));
            let mut state = self.store.catalog.write();
            // The views may know an earlier one with this number, which was never used.
            let known = state.segments.get(id);
            if known.is_none_or(|known| known.generation != segment.generation) {
                state.add_segment(*id, segment.generation, true);
            }
        }
        Ok(())
    }

    /// Returns the runs that the rows point at. A missing cold segment was freed because something
    /// later replaced it, which the log says as well.
    pub(super) fn cold_runs(&mut self, rows: &[EntryHead]) -> Result<ColdRuns, Error> {
        let mut cold = ColdRuns::default();
        for id in rows.iter().filter_map(EntryHead::cold_segment) {
            if cold.has(id) {
                continue;
            }
            let generation = self.store.catalog.generation(id);
            if let (Some(generation), Some(file)) = (generation, self.store.files.get(id)?) {
                let runs = match listing::read_footer(&*file, id, generation)? {
                    Some(footer) => footer.runs,
                    None => self.frames_of_cold(&*file, id, generation)?,
                };
                cold.insert(id, runs);
            }
        }
        Ok(cold)
    }

    /// Returns the runs of a cold segment without a footer to which a row points. It was complete,
    /// its footer included, before any row pointed to it.
    fn frames_of_cold(
        &mut self,
        file: &dyn SegmentFile,
        id: SegmentId,
        generation: u64,
    ) -> Result<Vec<FooterRun>, Error> {
        let listed = listing::list_frames(file, id, generation)?;
        if !listed.had_footer {
            self.cut_short.insert(id, CutShort::of(&listed.footer));
        } else if !self.report.damaged_footers.contains(&id) {
            self.report.damaged_footers.push(id);
        }
        Ok(listed.footer.runs)
    }
}

//! Examines everything once: segment by segment, then the whole.

use std::collections::{BTreeMap, BTreeSet};

use rustix::io::Errno;
use sedge_protocol::ids::{Offset, PartitionId};

use super::footer::Contents;
use super::offsets::Offsets;
use super::views::ViewsCheck;
use super::{Finding, Inspect, Kind, Report};
use crate::api::{Damaged, LostRange, TO_THE_END, TornTail};
use crate::damage::{DamageList, rest_of};
use crate::disk::unreadable::Patched;
use crate::disk::{Disk, SegmentFile, bytes_of};
use crate::error::{Error, io_error};
use crate::format::{EntryHead, EntryKind, FrameHead, SEGMENT_HEADER_BYTES};
use crate::ids::{SegmentId, Sequence};
use crate::limits;
use crate::segment::examine::{Hit, Looked, Seen};
use crate::segment::header::{Known, header_of};
use crate::segment::listing::{self, CutShort};
use crate::segment::scan::{Found, Scanner};

pub(super) struct Examination<'a> {
    pub disk: &'a dyn Disk,
    pub known: &'a DamageList,
    pub views: Option<ViewsCheck>,
    pub inspect: &'a mut dyn Inspect,
    pub report: Report,
    pub offsets: Offsets,
    /// Sequence of the last commit so far.
    pub sequence: Sequence,
    /// Commits are missing in the stretch before this one.
    pub is_behind_hole: bool,
    /// Whether the current segment is cold.
    pub is_cold: bool,
    pub generations: BTreeMap<SegmentId, u64>,
    /// Partitions that lost something: their byte and offset counts are wrong then.
    pub hurt: BTreeSet<PartitionId>,
    /// Cold segments without a footer.
    pub unfinished: BTreeSet<SegmentId>,
}

impl Examination<'_> {
    pub fn segment(
        &mut self,
        id: SegmentId,
        next: Option<SegmentId>,
        is_followed: bool,
    ) -> Result<(), Error> {
        let Some(file) = self.disk.open(id)? else {
            return Ok(());
        };
        let file = Patched::new(&*file);
        let bytes = bytes_of(&file)?;
        self.report.segments += 1;
        self.report.bytes += bytes;
        let known = header_of(&file, id)?;
        if known.is_some_and(|known| known.header.id != id) {
            // The file was about to be reused: the next start removes it.
            return Ok(());
        }
        let Some(Known { header, is_damaged }) = known else {
            return self.without_header(id, &file, is_followed);
        };
        if is_damaged {
            let what = "the header is damaged; its content is known from the frames";
            self.note(Finding::new(Kind::Header, what).at(id, 0, SEGMENT_HEADER_BYTES));
        }
        self.generations.insert(id, header.generation);
        self.is_cold = header.is_cold;
        let footer = listing::read_footer(&file, id, header.generation)?;
        if header.is_cold && footer.is_none() && file.is_whole() {
            // Left by a crash of a cleaner, unless a row points there.
            self.unfinished.insert(id);
            return Ok(());
        }
        let looked = Looked {
            file: &file,
            id,
            generation: header.generation,
            end: footer.as_ref().map_or(bytes, |footer| footer.frames_end),
            footer: footer.as_ref(),
            is_full: footer.is_some(),
        };
        let findings_before = self.report.findings.len();
        let mut contents = Contents::default();
        if let Some((position, torn_end)) = self.frames(&looked, &mut contents)?
            && torn_end > position
        {
            if !header.is_cold {
                // The commits before the segment may be lost. Their numbers are not reused.
                let before = header.first_sequence.0.saturating_sub(1);
                self.sequence = self.sequence.max(Sequence(before));
            }
            self.tail(&looked, next, (position, torn_end), &mut contents)?;
        }
        if !file.is_whole() {
            self.unreadable(&looked, &file, bytes)?;
        } else if let Some(footer) = &footer
            && self.report.findings.len() == findings_before
            && let Some((partition, what)) = contents.differs(footer)
        {
            let at = (footer.frames_end, bytes - footer.frames_end);
            let finding = Finding::new(Kind::Footer, what).at(id, at.0, at.1);
            self.note(finding.of(partition));
        }
        Ok(())
    }

    /// Handles a segment without a valid header or any frame that would replace it.
    fn without_header(
        &mut self,
        id: SegmentId,
        file: &dyn SegmentFile,
        is_followed: bool,
    ) -> Result<(), Error> {
        let bytes = bytes_of(file)?;
        let is_begun = match Scanner::new(file, 0, 0, bytes).next()? {
            Found::End { torn_end, .. } => torn_end > 0,
            _ => true,
        };
        // Only the newest segment may have been created and not begun.
        if !is_begun && !is_followed {
            return Ok(());
        }
        let what = if is_begun {
            "nothing in the segment can be read"
        } else {
            "the segment is empty"
        };
        let is_known = self.known.end_at(id, 0).is_some();
        let finding = Finding::new(Kind::Segment, what).at(id, 0, bytes);
        self.note(Finding {
            is_known,
            ..finding
        });
        self.report.damaged.push(Damaged {
            segment: id,
            generation: 0,
            position: 0,
            end: bytes.max(1),
            lost: Vec::new(),
        });
        Ok(())
    }

    /// Examines all frames of a segment. Returns where they end, and where non-zero bytes end.
    fn frames(
        &mut self,
        looked: &Looked<'_>,
        contents: &mut Contents,
    ) -> Result<Option<(u64, u64)>, Error> {
        let mut end = None;
        let mut error = None;
        looked.look(SEGMENT_HEADER_BYTES, u64::MAX >> 1, &mut |seen| {
            if let Seen::End { position, torn_end } = seen {
                end = Some((position, torn_end));
            } else if let Err(failed) = self.see(looked.id, seen, contents) {
                error = error.take().or(Some(failed));
            }
        })?;
        error.map_or(Ok(end), Err)
    }

    /// Notes stretches that the device could not read, besides the batches lost with them.
    fn unreadable(
        &mut self,
        looked: &Looked<'_>,
        file: &Patched<'_>,
        bytes: u64,
    ) -> Result<(), Error> {
        if !file.has_answered() {
            return Err(io_error("read any bytes of a segment", Errno::IO.into()));
        }
        let here: Vec<Damaged> = {
            let known = self.known.all().into_iter();
            let found = known.chain(self.report.damaged.iter().cloned());
            found.filter(|of| of.segment == looked.id).collect()
        };
        for (from, to) in rest_of(&file.unreadable(0, bytes), &here) {
            let what = "the device cannot read these bytes, which belong to no partition";
            let finding = Finding::new(Kind::Unreadable, what).at(looked.id, from, to - from);
            self.note(finding);
            self.report
                .damaged
                .push(looked.damaged(from, to, Vec::new()));
        }
        Ok(())
    }

    /// Examines the bytes behind the last whole frame of a segment without a footer.
    fn tail(
        &mut self,
        looked: &Looked<'_>,
        next: Option<SegmentId>,
        (from, to): (u64, u64),
        contents: &mut Contents,
    ) -> Result<(), Error> {
        let Some(next) = next else {
            let torn = TornTail {
                segment: looked.id,
                position: from,
                bytes: to - from,
            };
            self.report.torn_tail = Some(torn);
            let what = "the last write is torn; the next start cuts it off";
            self.note(Finding::new(Kind::TornTail, what).at(looked.id, from, to - from));
            return Ok(());
        };
        let known = match self.disk.open(next)? {
            Some(file) => header_of(&Patched::new(&*file), next)?,
            None => None,
        };
        let is_next = |known: Known| known.header.first_sequence.0 == self.sequence.0 + 1;
        if known.is_some_and(is_next) {
            let what = "the footer is damaged or incomplete; the segment is scanned instead";
            self.note(Finding::new(Kind::Footer, what).at(looked.id, from, to - from));
            return Ok(());
        }
        let mut error = None;
        looked.hole(from, to, &mut |seen| {
            if let Err(failed) = self.see(looked.id, seen, contents) {
                error = Some(failed);
            }
        })?;
        error.map_or(Ok(()), Err)
    }

    fn see(&mut self, id: SegmentId, seen: Seen<'_>, contents: &mut Contents) -> Result<(), Error> {
        match seen {
            Seen::Frame {
                position,
                head,
                is_whole,
            } => {
                contents.add(position, head);
                self.frame(id, position, head, is_whole)?;
            }
            Seen::Batch { entry, batch } => {
                self.report.batches += 1;
                if let Err(what) = self.inspect.batch(entry.partition, batch) {
                    let lost = LostRange {
                        partition: entry.partition,
                        base_offset: batch.header.base_offset(),
                        next_offset: batch.header.next_offset(),
                    };
                    let finding = Finding::new(Kind::Record, what).at(id, 0, 0);
                    self.note(Finding {
                        lost: vec![lost],
                        ..finding
                    });
                }
            }
            Seen::Damaged { damaged, what } => self.damaged(
                damaged,
                match what {
                    Hit::Batch => Kind::Batch,
                    Hit::Frame => Kind::Frame,
                },
            ),
            Seen::Wrong {
                position,
                partition,
                what,
            } => {
                let finding = Finding::new(Kind::Table, what).at(id, position, 0);
                self.note(finding.of(Some(partition)));
            }
            Seen::End { .. } => {}
        }
        Ok(())
    }

    fn frame(
        &mut self,
        id: SegmentId,
        position: u64,
        head: &FrameHead,
        is_whole: bool,
    ) -> Result<(), Error> {
        if self.is_cold {
            return self.entries(id, position, head, is_whole);
        }
        self.report.commits += 1;
        // Commits before a segment may have been freed with another one. The offsets tell whether
        // live data went with them.
        let is_first = position <= crate::format::PAGE_BYTES && head.sequence > self.sequence;
        let is_told = std::mem::take(&mut self.is_behind_hole) || is_first;
        if head.sequence.0 != self.sequence.0 + 1 && !is_told {
            let what = format!(
                "commit {} follows commit {}",
                head.sequence.0, self.sequence.0
            );
            self.note(Finding::new(Kind::Commits, what).at(id, position, 0));
        }
        self.sequence = head.sequence;
        self.entries(id, position, head, is_whole)
    }

    fn entries(
        &mut self,
        id: SegmentId,
        position: u64,
        head: &FrameHead,
        is_whole: bool,
    ) -> Result<(), Error> {
        for entry in &head.entries {
            if !is_whole && entry.kind == EntryKind::Drop {
                // Views written before the damage contain the drop; views rebuilt after it do not.
                self.hurt.insert(entry.partition);
            }
            let goes_on = match is_whole {
                true => self.offsets.see(entry),
                false if self.inspect.ends_at_whole_frames(entry.partition) => true,
                false => self.offsets.see_damaged(entry),
            };
            if !goes_on {
                let what = "the offsets go backwards";
                let finding = Finding::new(Kind::Table, what).at(id, position, 0);
                self.note(finding.of(Some(entry.partition)));
            }
            // Views rebuilt after the damage do not contain the frame.
            if is_whole {
                self.entry_in_views(id, position, head, entry)?;
            }
        }
        Ok(())
    }

    fn entry_in_views(
        &mut self,
        id: SegmentId,
        position: u64,
        head: &FrameHead,
        entry: &EntryHead,
    ) -> Result<(), Error> {
        if let Some(views) = &mut self.views
            && entry.has_batches()
            && let Some(what) = views.entry(id, position, head, entry)?
        {
            let finding = Finding::new(Kind::Views, what).at(id, position, 0);
            self.note(finding.of(Some(entry.partition)));
        }
        Ok(())
    }

    fn damaged(&mut self, damaged: Damaged, kind: Kind) {
        let what = match kind {
            Kind::Batch => "the batch's checksum does not match its bytes",
            _ => "these bytes are not a commit",
        };
        self.lost(damaged, kind, what);
    }

    fn lost(&mut self, damaged: Damaged, kind: Kind, what: &str) {
        let is_known = self
            .known
            .end_at(damaged.segment, damaged.position)
            .is_some_and(|end| damaged.end <= end);
        for lost in &damaged.lost {
            self.offsets.see_lost(lost);
            self.hurt.insert(lost.partition);
        }
        self.is_behind_hole |= kind == Kind::Frame;
        let bytes = damaged.bytes();
        let finding = Finding::new(kind, what).at(damaged.segment, damaged.position, bytes);
        self.note(Finding {
            is_known,
            lost: damaged.lost.clone(),
            ..finding
        });
        if !is_known && self.report.damaged.len() < limits::DAMAGED_PLACES_MAX {
            self.report.damaged.push(damaged);
        }
    }

    /// Handles a cold segment without a footer to which rows point: it was complete before they
    /// were written.
    fn unfinished(&mut self, id: SegmentId, stretches: &[LostRange]) -> Result<(), Error> {
        let Some(file) = self.disk.open(id)? else {
            return Ok(());
        };
        let file = Patched::new(&*file);
        let Some(Known { header, .. }) = header_of(&file, id)? else {
            return Ok(());
        };
        let listed = listing::list_frames(&file, id, header.generation)?;
        let looked = Looked {
            file: &file,
            id,
            generation: header.generation,
            end: listed.footer.frames_end,
            footer: None,
            is_full: true,
        };
        self.is_cold = true;
        self.frames(&looked, &mut Contents::default())?;
        let at = looked.end;
        if listed.had_footer {
            let what = "the footer is damaged or incomplete; the segment is scanned instead";
            let bytes = bytes_of(&file)? - at;
            self.note(Finding::new(Kind::Footer, what).at(id, at, bytes));
            return Ok(());
        }
        let cut = CutShort::of(&listed.footer);
        let lacks = stretches.iter().filter_map(|of| {
            let here = listed.footer.runs.iter().filter(|run| {
                run.partition == of.partition
                    && run.base < of.next_offset
                    && run.run.next > of.base_offset
            });
            let there = here.map(|run| run.run.next).max();
            let base_offset = cut.lacks_from(of.partition, of.base_offset, there)?;
            let lost = LostRange { base_offset, ..*of };
            (base_offset < of.next_offset).then_some(lost)
        });
        let lost: Vec<LostRange> = lacks.collect();
        let damaged = looked.damaged(at, TO_THE_END, lost);
        let what = "the segment ends before its footer: the rest of it is lost";
        self.lost(damaged, Kind::Frame, what);
        Ok(())
    }

    pub fn finish(mut self) -> Result<Report, Error> {
        let generations = self.generations.clone();
        let pointed = self.offsets.settle(&|id| generations.contains_key(&id));
        for id in std::mem::take(&mut self.unfinished) {
            if let Some(stretches) = pointed.by_segment.get(&id) {
                self.unfinished(id, stretches)?;
            }
        }
        self.report.dropped = self.offsets.dropped();
        self.report.newest_partition = self.offsets.newest();
        let held = self.offsets.held();
        for finding in self.inspect.end(&held, self.report.newest_partition) {
            self.note(finding);
        }
        self.accept_what_is_gone();
        for damaged in self.known.all() {
            for lost in &damaged.lost {
                self.offsets.see_lost(lost);
                self.hurt.insert(lost.partition);
            }
        }
        let has_lost_frames = self.report.findings.iter().any(|of| {
            let is_unknown = of.lost.is_empty() || of.kind == Kind::Segment;
            is_unknown && matches!(of.kind, Kind::Frame | Kind::Segment | Kind::Commits)
        });
        for partition in self.offsets.partitions() {
            self.report.partitions += 1;
            let is_compacted = self.inspect.is_compacted(partition);
            for gap in self.offsets.gaps(partition) {
                let of_gone = pointed.gone.iter().find(|(_, lost)| {
                    lost.partition == partition
                        && lost.base_offset < gap.next_offset
                        && gap.base_offset < lost.next_offset
                });
                let what = match of_gone {
                    Some((id, _)) => format!(
                        "these offsets are lost with segment {}, which is missing",
                        id.0
                    ),
                    // If the frames are whole, compaction can be the reason for a gap.
                    None if is_compacted && !has_lost_frames => continue,
                    None => "these offsets are missing without an explanation".to_owned(),
                };
                self.hurt.insert(partition);
                self.note(Finding {
                    lost: vec![gap],
                    ..Finding::new(Kind::Offsets, what)
                });
                self.report.damaged.push(Damaged::nowhere(gap));
            }
        }
        if let Some(views) = &self.views {
            let found =
                views.finish(&self.generations, &self.offsets, self.sequence, &self.hurt)?;
            for finding in found {
                self.report.note(finding);
            }
        }
        Ok(self.report)
    }

    /// Drops lost offsets before a log start, and those of dropped partitions.
    fn accept_what_is_gone(&mut self) {
        let starts: BTreeMap<PartitionId, Offset> = {
            let held = self.offsets.held().into_iter();
            held.map(|of| (of.partition, of.log_start)).collect()
        };
        let offsets = &self.offsets;
        let is_gone = |lost: &LostRange| {
            let start = starts.get(&lost.partition);
            start.is_some_and(|start| lost.next_offset <= *start)
                || offsets.is_dropped(lost.partition)
        };
        for finding in &mut self.report.findings {
            let is_loss = matches!(finding.kind, Kind::Batch | Kind::Frame);
            finding.is_known |=
                is_loss && !finding.lost.is_empty() && finding.lost.iter().all(is_gone);
        }
    }

    fn note(&mut self, finding: Finding) {
        self.report.note(finding);
    }
}

/// Returns the next segment that is not cold.
pub(super) fn next_of_log(
    disk: &dyn Disk,
    behind: &[SegmentId],
) -> Result<Option<SegmentId>, Error> {
    for id in behind {
        let Some(file) = disk.open(*id)? else {
            continue;
        };
        let known = header_of(&Patched::new(&*file), *id)?;
        if known.is_none_or(|known| !known.header.is_cold) {
            return Ok(Some(*id));
        }
    }
    Ok(None)
}

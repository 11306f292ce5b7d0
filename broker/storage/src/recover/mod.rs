//! Opening: from where the views stopped, frame by frame, or, where the views are of no use, all of
//! it anew.

mod end;
mod lost;
mod replay;
mod report;
mod segment;
mod waves;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{Offset, PartitionId};

use crate::api::{OpenReport, Options, Recovery, TornTail};
use crate::catalog::{Catalog, ColdRuns};
use crate::damage::DamageList;
use crate::damage::guarded::Guarded;
use crate::disk::{Disk, SegmentFile};
use crate::error::Error;
use crate::format::{EntryHead, EntryKind, FooterRun, FrameAt, FrameHead, SEGMENT_HEADER_BYTES};
use crate::ids::{SegmentId, Sequence};
use crate::limits;
use crate::segment::header::header_of;
use crate::segment::listing::{self, CutShort};
use crate::segment::rewrite;
use crate::segment::scan::{Found, Scanner};
use crate::store::Store;
use crate::store::files::Files;
use crate::store::writer::Writer;
use crate::views::Base;
use crate::views::tables::Applied;
use segment::Segment;

pub(crate) fn open(
    disk: Arc<dyn Disk>,
    damage: DamageList,
    open_views: &mut dyn FnMut(bool) -> Result<Box<dyn Base>, Error>,
    options: Options,
    recovery: &mut dyn Recovery,
) -> Result<(Store, OpenReport), Error> {
    let started = Instant::now();
    let damage = Arc::new(damage);
    let files = Files::new(Arc::new(Guarded::new(disk, Arc::clone(&damage))));
    let mut report = OpenReport::default();
    let mut ids: Vec<SegmentId> = files.disk.list()?.into_iter().map(|(id, _)| id).collect();
    ids.sort_unstable();
    damage.keep_only(&ids);
    let mut ends = Vec::new();
    let (catalog, applied) = open_catalog(open_views, &files, &ids, &mut report, &mut ends)?;
    catalog.write().set_marks_max(options.segment_bytes);
    let mut store = Store::assemble(options, catalog, files, damage, Writer::default());
    let opening = Opening {
        store: &mut store,
        ids: &ids,
        cold: BTreeSet::new(),
        frames_end: BTreeMap::new(),
        report: &mut report,
        recovery,
        ended_in_hole: false,
        gone: BTreeSet::new(),
        cut_short: BTreeMap::new(),
        ends,
    };
    match applied {
        Some(applied) => opening.catch_up(applied)?,
        None => opening.rebuild()?,
    }
    let seen = store.catalog.read().applied;
    report.newest_append_ms = (seen.sequence > Sequence(0)).then_some(seen.append_ms);
    report.ms = started.elapsed().as_millis() as u64;
    Ok((store, report))
}

/// The views as they are, with the position they stand at; or empty ones.
fn open_catalog(
    open_views: &mut dyn FnMut(bool) -> Result<Box<dyn Base>, Error>,
    files: &Files,
    ids: &[SegmentId],
    report: &mut OpenReport,
    ends: &mut Vec<(PartitionId, Offset)>,
) -> Result<(Catalog, Option<Applied>), Error> {
    let found = open_views(false).and_then(|base| {
        let catalog = Catalog::new(base);
        let applied = catalog.load()?;
        Ok((catalog, applied))
    });
    match found {
        Ok((catalog, Some(applied))) => {
            if is_there(files, &applied)? {
                return Ok((catalog, Some(applied)));
            }
            log::error!(
                "the log ends before commit {}, which it had kept",
                applied.sequence.0
            );
            report.lost_tail = true;
            if let Ok(partitions) = catalog.partitions() {
                for id in partitions {
                    // Views that cannot be read are of no use for this either.
                    ends.extend(catalog.bounds(id).map(|of| (id, of.log.next_offset)));
                }
            }
        }
        Ok((catalog, None)) if ids.is_empty() => return Ok((catalog, None)),
        Ok((catalog, None)) => {
            // Closed before it is removed.
            drop(catalog);
            log::warn!("the views are missing or half made");
        }
        Err(error) => log::warn!("the views are of no use: {error}"),
    }
    report.views_rebuilt = !ids.is_empty();
    Ok((Catalog::new(open_views(true)?), None))
}

/// Whether the frame that the views saw last is in the log.
fn is_there(files: &Files, applied: &Applied) -> Result<bool, Error> {
    let Some(file) = files.get(applied.segment)? else {
        return Ok(false);
    };
    let known = header_of(&*file, applied.segment)?;
    if known.is_none_or(|known| known.header.generation != applied.generation) {
        return Ok(false);
    }
    let mut scanner = Scanner::new(&*file, applied.generation, applied.position, applied.end);
    Ok(match scanner.next()? {
        Found::Frame { head, .. } => head.sequence == applied.sequence,
        _ => false,
    })
}

struct Opening<'a> {
    store: &'a mut Store,
    ids: &'a [SegmentId],
    /// Those that are no part of the log's order, as far as they were looked at.
    cold: BTreeSet<SegmentId>,
    /// Where the frames of a segment end, if all of them are whole.
    frames_end: BTreeMap<SegmentId, u64>,
    report: &'a mut OpenReport,
    recovery: &'a mut dyn Recovery,
    /// The last segment ended in a hole, which took the commits that are missing behind it.
    ended_in_hole: bool,
    /// Segments in which something lives and that are not there.
    gone: BTreeSet<SegmentId>,
    /// Cold segments that something points at and that end before their footer.
    cut_short: BTreeMap<SegmentId, CutShort>,
    /// Where partitions ended by views that have seen more than the log has now.
    ends: Vec<(PartitionId, Offset)>,
}

impl Opening<'_> {
    /// Only what the views have not seen.
    fn catch_up(mut self, applied: Applied) -> Result<(), Error> {
        self.add_unknown_segments(applied)?;
        let mut expected = Sequence(applied.sequence.0 + 1);
        self.add_cold_segments(applied.segment)?;
        let rest: Vec<SegmentId> = self
            .ids
            .iter()
            .copied()
            .filter(|id| *id >= applied.segment && !self.cold.contains(id))
            .collect();
        let mut last = None;
        for id in &rest {
            let Some(segment) = self.segment(*id)? else {
                continue;
            };
            if *id > applied.segment && self.is_of_before(&segment, expected) {
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
            let is_last = rest.last() == Some(id);
            let end = self.replay_segment(&segment, from, is_last, &mut expected)?;
            last = Some((segment, end));
        }
        self.forget_missing_segments();
        self.note_what_segments_lack()?;
        self.remember_holes();
        self.finish(last, Sequence(expected.0 - 1))
    }

    /// Segments that the views know and that are gone. Where the log has said that nothing in them
    /// lives, they
    /// were freed.
    fn forget_missing_segments(&mut self) {
        let known = self.store.catalog.read().segments.clone();
        for (id, segment) in &known {
            if self.ids.binary_search(id).is_ok() {
                continue;
            }
            if segment.live_slices > 0 {
                log::error!(
                    "segment {} is gone with {} live bytes",
                    id.0,
                    segment.live_bytes
                );
                self.gone.insert(*id);
            }
            self.store.catalog.write().forget_segment(*id);
        }
    }

    /// Segments that the views do not know: dead ones that were not yet removed.
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

    /// Cold segments from `from` on. What counts of those that the views do not know is for the
    /// log to say; if it says nothing, they are dead.
    fn add_cold_segments(&mut self, from: SegmentId) -> Result<(), Error> {
        for id in self.ids.iter().filter(|id| **id >= from) {
            let Some(segment) = self.segment(*id)?.filter(|segment| segment.is_cold) else {
                continue;
            };
            self.cold.insert(*id);
            self.frames_end
                .extend(segment.sealed_at.map(|end| (*id, end)));
            let mut state = self.store.catalog.write();
            // The views may know one that had the number before, and was never of use.
            let known = state.segments.get(id);
            if known.is_none_or(|known| known.generation != segment.generation) {
                state.add_segment(*id, segment.generation, true);
            }
        }
        Ok(())
    }

    /// What the rows point at. A cold segment that is gone was freed when something later took its
    /// place, which the log says as well.
    fn cold_runs(&mut self, rows: &[EntryHead]) -> Result<ColdRuns, Error> {
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

    /// Of a cold segment that is pointed at. It was whole, its footer included, before anything
    /// pointed there.
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

    /// Applies the frames from `from` on and returns where they end.
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
                    self.replay_frame(
                        FrameAt {
                            segment: id,
                            position,
                        },
                        &head,
                        &body,
                    )?;
                    *expected = Sequence(head.sequence.0 + 1);
                    self.report.frames_replayed += 1;
                    if self.is_too_much_pending() {
                        // Views are flushed up to here, so here must be on the disk.
                        let end = position + head.frame_bytes();
                        self.write_again(segment, again, end);
                        again = end;
                        self.relieve()?;
                    }
                }
                Found::Hole {
                    position,
                    end,
                    head,
                } => {
                    (in_hole, is_whole) = (true, false);
                    self.note_hole(id, position, end - position, head.as_ref());
                }
                Found::End {
                    position,
                    torn_end,
                    head,
                } => {
                    let bytes = torn_end - position;
                    if bytes > 0 && is_last {
                        self.report.torn_tail = Some(TornTail {
                            segment: id,
                            position,
                            bytes,
                        });
                        if !segment.is_recycled {
                            rewrite::wipe(&*file, position, torn_end)?;
                        }
                    } else if bytes > 0 && !self.goes_on_after(id, Sequence(expected.0 - 1))? {
                        self.note_hole(id, position, bytes, head.as_ref());
                        (self.ended_in_hole, is_whole) = (true, false);
                    }
                    if !is_whole {
                        self.take_from_footer(segment)?;
                    }
                    self.write_again(segment, again, position);
                    // Numbers that lost commits had are not given out again.
                    *expected = (*expected).max(segment.first_sequence);
                    return Ok(position);
                }
            }
        }
    }

    /// What damaged frames of a sealed segment held is not there, but it was: its offsets are not
    /// given out again, and what it deleted stays deleted.
    fn take_from_footer(&mut self, segment: &Segment) -> Result<(), Error> {
        if segment.sealed_at.is_none() {
            return Ok(());
        }
        match listing::read_footer(&*segment.file, segment.id, segment.generation)? {
            Some(footer) => {
                let cold = self.cold_runs(&footer.facts)?;
                self.store
                    .catalog
                    .apply_ends(&footer.runs, &footer.facts, &cold)
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

    fn is_too_much_pending(&self) -> bool {
        self.store.catalog.pending_bytes() >= self.store.options.views_flush_bytes
    }

    /// Keeps what is pending bounded while much is replayed. A failure here is not yet one of the
    /// log.
    fn relieve(&mut self) -> Result<(), Error> {
        if self.is_too_much_pending() {
            match self.store.flush(true) {
                Err(Error::ViewsBusy) => std::thread::sleep(std::time::Duration::from_millis(5)),
                flushed => {
                    if self.store.catalog.pending_bytes() > limits::PENDING_BYTES_MAX {
                        return flushed;
                    }
                }
            }
        }
        Ok(())
    }

    /// Everything anew: the log's own views from footers where there are some, the caller's from
    /// records.
    fn rebuild(mut self) -> Result<(), Error> {
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
        for id in &log {
            let Some(segment) = self.segment(*id)? else {
                continue;
            };
            if self.is_of_before(&segment, Sequence(sequence.0 + 1)) {
                continue;
            }
            self.store
                .catalog
                .write()
                .start_segment(*id, segment.generation);
            let is_last = log.last() == Some(id);
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
            log::warn!("views: not flushed after the rebuild: {error}");
        }
        Ok(())
    }

    /// One segment into the log's own views.
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
                    let at = FrameAt {
                        segment: id,
                        position,
                    };
                    self.store.catalog.apply(at, &head, &cold, Vec::new())?;
                    *sequence = head.sequence;
                    self.relieve()?;
                }
                Found::Hole {
                    position,
                    end,
                    head,
                } => {
                    is_whole = false;
                    self.note_hole(id, position, end - position, head.as_ref());
                }
                Found::End {
                    position,
                    torn_end,
                    head,
                } => {
                    let bytes = torn_end - position;
                    if bytes > 0 && is_last {
                        self.report.torn_tail = Some(TornTail {
                            segment: id,
                            position,
                            bytes,
                        });
                        if !segment.is_recycled {
                            rewrite::wipe(&*file, position, torn_end)?;
                        }
                    } else if bytes > 0 && !self.goes_on_after(id, *sequence)? {
                        is_whole = false;
                        self.note_hole(id, position, bytes, head.as_ref());
                    }
                    self.frames_end.extend(is_whole.then_some((id, position)));
                    return Ok(position);
                }
            }
        }
    }

    /// What the views will say that they have seen.
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

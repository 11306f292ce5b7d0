//! A data directory looked through while no broker has it: frames and their checksums, batches and
//! theirs, footers, views, and whether every offset is accounted for.
//!
//! It does not open the store, because opening mends. It streams segment by segment; what it holds
//! is one segment's table of contents, a stretch of offsets or two for each partition, and the
//! findings, which are bounded.
//!
//! **Invariant:** nothing is changed but by [`Doctor::repair`]. The views are looked at in a copy:
//! fjall writes when it opens. fjall also asserts what it reads, so that damaged views may end the
//! process: look from one that may end, and then with [`Doctor::without_views`].

mod footer;
mod offsets;
mod repair;
mod report;
mod views;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{Offset, PartitionId};

use crate::api::{Damaged, LostRange, TO_THE_END, TornTail};
use crate::damage::{DamageList, rest_of};
use crate::disk::directory::Directory;
use crate::disk::unreadable::Patched;
use crate::disk::{Disk, bytes_of};
use crate::error::{Error, io_error};
use crate::format::{EntryHead, EntryKind, FrameHead, SEGMENT_HEADER_BYTES};
use crate::ids::{SegmentId, Sequence};
use crate::meta::{self, DirectoryLock};
use crate::segment::examine::{Hit, Looked, Seen};
use crate::segment::header::{Known, header_of};
use crate::segment::listing::{self, CutShort};
use crate::segment::scan::{Found, Scanner};
use crate::{backup, limits};
use footer::Contents;
use offsets::Offsets;
use views::ViewsCheck;

pub use report::{Finding, Kind, Repair, Report};
pub use views::remove_copies_of;

/// What the caller knows of the partitions.
pub trait Inspect {
    /// A batch that is what was sent, for a look at its records.
    ///
    /// # Errors
    /// What is wrong with them.
    fn batch(&mut self, partition: PartitionId, batch: &Batch) -> Result<(), String>;
    /// Whether records may be missing because newer ones of their key took their place.
    fn is_compacted(&self, partition: PartitionId) -> bool;
    /// All batches were seen: what is wrong with the partitions as a whole.
    fn end(&mut self, partitions: &[Held], newest: Option<PartitionId>) -> Vec<Finding> {
        let _ = (partitions, newest);
        Vec::new()
    }
}

/// A partition that was not dropped, as the rows of the log have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub partition: PartitionId,
    pub log_start: Offset,
    pub end: Offset,
}

/// Has a data directory for itself while it lives.
#[derive(Debug)]
pub struct Doctor {
    directory: PathBuf,
    disk: Arc<dyn Disk>,
    /// Why the views are not looked at.
    views_unread: Option<String>,
    _lock: DirectoryLock,
}

impl Doctor {
    /// Takes the directory's lock.
    ///
    /// # Errors
    /// [`Error::NoData`], [`Error::Locked`], or the disk's.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let segments = directory.join("segments");
        if !directory.join(meta::META).exists() && !segments.exists() {
            let directory = directory.to_owned();
            return Err(Error::NoData { directory });
        }
        let lock = DirectoryLock::take(directory)?;
        let disk = Arc::new(Directory::existing(&segments));
        Ok(Self {
            directory: directory.to_owned(),
            disk,
            views_unread: None,
            _lock: lock,
        })
    }

    /// One that does not look at the views, and says why: a look at them has ended a process.
    #[must_use]
    pub fn without_views(self, why: String) -> Self {
        Self {
            views_unread: Some(why),
            ..self
        }
    }

    /// One of segments that are elsewhere.
    #[cfg(test)]
    pub(crate) fn over(directory: &Path, disk: Arc<dyn Disk>) -> Self {
        Self {
            directory: directory.to_owned(),
            disk,
            views_unread: None,
            _lock: DirectoryLock::take(directory).unwrap(),
        }
    }

    /// The batches of one partition that are whole, by offset. For internal topics, which are
    /// small.
    ///
    /// # Errors
    /// The disk's.
    pub fn read_partition(&self, partition: PartitionId) -> Result<Vec<Batch>, Error> {
        let mut batches = BTreeMap::new();
        let mut log_start = Offset::ZERO;
        for id in self.segments()? {
            let Some(file) = self.disk.open(id)? else {
                continue;
            };
            let file = Patched::new(&*file);
            let Some(Known { header, .. }) = header_of(&file, id)? else {
                continue;
            };
            let (end, generation) = (bytes_of(&file)?, header.generation);
            let (runs, facts) = listing::contents(&file, id, generation, end)?;
            let is_start =
                |fact: &&EntryHead| fact.partition == partition && fact.kind == EntryKind::LogStart;
            let starts = facts.iter().filter(is_start).map(|fact| fact.base);
            log_start = starts.max().max(Some(log_start)).unwrap_or_default();
            for of in runs.iter().filter(|of| of.partition == partition) {
                let end = of.run.position + u64::from(of.run.span);
                let mut scanner = Scanner::new(&file, generation, of.run.position, end);
                loop {
                    match scanner.next()? {
                        Found::Frame { head, body, .. } => {
                            take_batches(&head, body, partition, &mut batches);
                        }
                        Found::Hole { .. } => {}
                        Found::End { .. } => break,
                    }
                }
            }
        }
        let batches = batches.into_values();
        let is_there = |batch: &Batch| batch.header.next_offset() > log_start;
        Ok(batches.filter(is_there).collect())
    }

    /// Looks at everything.
    ///
    /// # Errors
    /// The disk's. What is wrong with the data is in the report.
    pub fn examine(&self, inspect: &mut dyn Inspect) -> Result<Report, Error> {
        let mut report = Report::default();
        match meta::read(&self.directory) {
            Ok(identity) => report.identity = Some(identity),
            Err(error) => report.note(Finding::new(Kind::Meta, error.to_string())),
        }
        match backup::check_whole(&self.directory) {
            Err(Error::IncompleteBackup { missing, .. }) => {
                report.note(Finding::new(Kind::Backup, missing.to_string()));
            }
            checked => checked?,
        }
        let known = DamageList::load(&self.directory)?;
        let ids = self.segments()?;
        let views = self.views(!ids.is_empty(), &mut report)?;
        let mut examination = Examination {
            disk: &*self.disk,
            known: &known,
            views,
            inspect,
            report,
            offsets: Offsets::default(),
            sequence: Sequence(0),
            is_behind_hole: false,
            is_cold: false,
            generations: BTreeMap::new(),
            hurt: BTreeSet::new(),
            unfinished: BTreeSet::new(),
        };
        for (index, id) in ids.iter().enumerate() {
            let behind = ids.get(index + 1..).unwrap_or_default();
            let next = next_of_log(&*self.disk, behind)?;
            examination.segment(*id, next, !behind.is_empty())?;
        }
        examination.finish()
    }

    fn views(&self, has_log: bool, report: &mut Report) -> Result<Option<ViewsCheck>, Error> {
        let path = self.directory.join("views");
        if let Some(why) = &self.views_unread
            && path.exists()
        {
            report.note(Finding::new(
                Kind::Views,
                format!("they cannot be read: {why}"),
            ));
            return Ok(None);
        }
        match ViewsCheck::open(&path) {
            Ok(None) if has_log => {
                let what = "there are none that are whole; the next start makes them";
                report.note(Finding::new(Kind::NoViews, what));
                Ok(None)
            }
            Ok(views) => Ok(views),
            Err(error @ (Error::Full | Error::ReadOnly | Error::Io { .. })) => Err(error),
            Err(error) => {
                let what = format!("they cannot be opened: {error}");
                report.note(Finding::new(Kind::Views, what));
                Ok(None)
            }
        }
    }

    fn segments(&self) -> Result<Vec<SegmentId>, Error> {
        let mut ids: Vec<SegmentId> = self.disk.list()?.into_iter().map(|(id, _)| id).collect();
        ids.sort_unstable();
        Ok(ids)
    }
}

struct Examination<'a> {
    disk: &'a dyn Disk,
    known: &'a DamageList,
    views: Option<ViewsCheck>,
    inspect: &'a mut dyn Inspect,
    report: Report,
    offsets: Offsets,
    /// Of the last commit so far.
    sequence: Sequence,
    /// Commits that are missing were in the stretch before.
    is_behind_hole: bool,
    /// The segment that is looked at.
    is_cold: bool,
    generations: BTreeMap<SegmentId, u64>,
    /// Partitions that lost something: what counts their bytes and offsets is not right then.
    hurt: BTreeSet<PartitionId>,
    /// Cold segments without a footer.
    unfinished: BTreeSet<SegmentId>,
}

impl Examination<'_> {
    fn segment(
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
            // It was to be used again: the next start removes it.
            return Ok(());
        }
        let Some(Known { header, is_damaged }) = known else {
            let is_begun = match Scanner::new(&file, 0, 0, bytes).next()? {
                Found::End { torn_end, .. } => torn_end > 0,
                _ => true,
            };
            // Only the newest one may have been made and not begun.
            if is_begun || is_followed {
                let what = if is_begun {
                    "nothing in the segment can be read"
                } else {
                    "nothing is in the segment any more"
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
            }
            return Ok(());
        };
        if is_damaged {
            let what = "the header is damaged; what it said is known from the frames";
            self.note(Finding::new(Kind::Header, what).at(id, 0, SEGMENT_HEADER_BYTES));
        }
        self.generations.insert(id, header.generation);
        self.is_cold = header.is_cold;
        let footer = listing::read_footer(&file, id, header.generation)?;
        if header.is_cold && footer.is_none() && file.is_whole() {
            // What a crash left of a cleaner's work, unless something points there.
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
        let mut error = None;
        let mut end = None;
        let mut each = |seen: Seen<'_>| {
            if let Seen::End { position, torn_end } = seen {
                end = Some((position, torn_end));
            } else if let Err(failed) = self.see(id, seen, &mut contents) {
                error = error.take().or(Some(failed));
            }
        };
        looked.look(SEGMENT_HEADER_BYTES, u64::MAX >> 1, &mut each)?;
        if let Some((position, torn_end)) = end
            && torn_end > position
        {
            self.tail(&looked, next, (position, torn_end), &mut contents)?;
        }
        if let Some(error) = error {
            return Err(error);
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

    /// What the device has not given, besides the batches that it cost.
    fn unreadable(
        &mut self,
        looked: &Looked<'_>,
        file: &Patched<'_>,
        bytes: u64,
    ) -> Result<(), Error> {
        if !file.has_answered() {
            return Err(io_error("read anything of a segment", Errno::IO.into()));
        }
        let here: Vec<Damaged> = {
            let known = self.known.all().into_iter();
            let found = known.chain(self.report.damaged.iter().cloned());
            found.filter(|of| of.segment == looked.id).collect()
        };
        for (from, to) in rest_of(&file.unreadable(0, bytes), &here) {
            let what = "the device does not give these bytes, which no partition has";
            let finding = Finding::new(Kind::Unreadable, what).at(looked.id, from, to - from);
            self.note(finding);
            self.report
                .damaged
                .push(looked.damaged(from, to, Vec::new()));
        }
        Ok(())
    }

    /// Bytes behind the last whole frame of a segment without a footer.
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
            let what = "the last write is not whole; the next start cuts it";
            self.note(Finding::new(Kind::TornTail, what).at(looked.id, from, to - from));
            return Ok(());
        };
        let known = match self.disk.open(next)? {
            Some(file) => header_of(&Patched::new(&*file), next)?,
            None => None,
        };
        let is_next = |known: Known| known.header.first_sequence.0 == self.sequence.0 + 1;
        if known.is_some_and(is_next) {
            let what = "the footer is damaged or not whole; the segment is scanned in its place";
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
            Seen::Frame { position, head } => {
                contents.add(position, head);
                self.frame(id, position, head)?;
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

    fn frame(&mut self, id: SegmentId, position: u64, head: &FrameHead) -> Result<(), Error> {
        if self.is_cold {
            return self.entries(id, position, head);
        }
        self.report.commits += 1;
        // Commits before a segment may have gone with one that was freed. Whether something that
        // lives went with them, the offsets tell.
        let is_first = position <= crate::format::PAGE_BYTES && head.sequence > self.sequence;
        let is_told = std::mem::take(&mut self.is_behind_hole) || is_first;
        if head.sequence.0 != self.sequence.0 + 1 && !is_told {
            let what = format!("commit {} after {}", head.sequence.0, self.sequence.0);
            self.note(Finding::new(Kind::Commits, what).at(id, position, 0));
        }
        self.sequence = head.sequence;
        self.entries(id, position, head)
    }

    fn entries(&mut self, id: SegmentId, position: u64, head: &FrameHead) -> Result<(), Error> {
        for entry in &head.entries {
            if !self.offsets.see(entry) {
                let what = "the offsets go back";
                let finding = Finding::new(Kind::Table, what).at(id, position, 0);
                self.note(finding.of(Some(entry.partition)));
            }
            self.entry_in_views(id, position, head, entry)?;
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
            Kind::Batch => "its bytes are not what was sent: the checksum does not hold",
            _ => "bytes where commits should be",
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

    /// A cold segment without a footer to which rows point: it was whole before they were written.
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
        let (mut contents, mut error) = (Contents::default(), None);
        looked.look(SEGMENT_HEADER_BYTES, u64::MAX >> 1, &mut |seen| {
            if let Err(failed) = self.see(id, seen, &mut contents) {
                error = error.take().or(Some(failed));
            }
        })?;
        if let Some(error) = error {
            return Err(error);
        }
        let at = looked.end;
        if listed.had_footer {
            let what = "the footer is damaged or not whole; the segment is scanned in its place";
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
        let what = "the segment ends before its footer: what it had behind is gone";
        self.lost(damaged, Kind::Frame, what);
        Ok(())
    }

    fn finish(mut self) -> Result<Report, Error> {
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
                    Some((id, _)) => format!("segment {}, which had them, is gone", id.0),
                    // Where frames are whole, compaction is a reason too.
                    None if is_compacted && !has_lost_frames => continue,
                    None => "offsets are missing, and nothing explains it".to_owned(),
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

    /// Offsets before a log start, and those of partitions that were dropped, nobody misses.
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

/// The next segment that is not cold.
fn next_of_log(disk: &dyn Disk, behind: &[SegmentId]) -> Result<Option<SegmentId>, Error> {
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

fn take_batches(
    head: &FrameHead,
    mut body: bytes::Bytes,
    partition: PartitionId,
    batches: &mut BTreeMap<Offset, Batch>,
) {
    for entry in &head.entries {
        let mut part = body.split_to(entry.bytes as usize);
        if entry.partition != partition || !entry.has_batches() {
            continue;
        }
        while let Some(batch) = Batch::split_from(&mut part) {
            batches.insert(batch.header.base_offset(), batch);
        }
    }
}

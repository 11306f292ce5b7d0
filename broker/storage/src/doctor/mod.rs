//! Examines a data directory that no broker uses: frames and their checksums, batches and theirs,
//! footers, views, and whether every offset is accounted for.
//!
//! The doctor does not open the store, because opening repairs. It reads segment by segment and
//! holds one segment's table of contents, an offset range or two for each partition, and the
//! findings, which are bounded.
//!
//! **Invariant:** only [`Doctor::repair`] changes anything. The views are opened in a copy, because
//! fjall writes when it opens. fjall also asserts on what it reads, so that damaged views may end
//! the process: examine in a process that may end, and then with [`Doctor::without_views`].

mod examination;
mod footer;
mod offsets;
mod repair;
mod report;
mod views;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{Offset, PartitionId};

use crate::backup;
use crate::damage::DamageList;
use crate::disk::directory::Directory;
use crate::disk::unreadable::Patched;
use crate::disk::{Disk, bytes_of};
use crate::error::Error;
use crate::format::{EntryHead, EntryKind, FrameHead};
use crate::ids::{SegmentId, Sequence};
use crate::meta::{self, DirectoryLock};
use crate::segment::header::{Known, header_of};
use crate::segment::listing;
use crate::segment::scan::{Found, Scanner};
use examination::{Examination, next_of_log};
use offsets::Offsets;
use views::ViewsCheck;

pub use report::{Finding, Kind, Repair, Report};
pub use views::remove_copies_of;

/// The caller's knowledge about partitions.
pub trait Inspect {
    /// Checks the records of a batch whose checksum is correct.
    ///
    /// # Errors
    /// A description of what is wrong with them.
    fn batch(&mut self, partition: PartitionId, batch: &Batch) -> Result<(), String>;
    /// Returns whether records may be missing because newer ones of their key replaced them.
    fn is_compacted(&self, partition: PartitionId) -> bool;
    /// Returns the same as [`crate::Recovery::ends_at_whole_frames`].
    fn ends_at_whole_frames(&self, partition: PartitionId) -> bool {
        let _ = partition;
        false
    }
    /// Returns findings about partitions as a whole, after all batches were seen.
    fn end(&mut self, partitions: &[Held], newest: Option<PartitionId>) -> Vec<Finding> {
        let _ = (partitions, newest);
        Vec::new()
    }
}

/// A partition that was not dropped, by the rows of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub partition: PartitionId,
    pub log_start: Offset,
    pub end: Offset,
}

/// A data directory, locked for the lifetime of this value.
#[derive(Debug)]
pub struct Doctor {
    directory: PathBuf,
    disk: Arc<dyn Disk>,
    /// Reason why the views are not examined.
    views_unread: Option<String>,
    _lock: DirectoryLock,
}

impl Doctor {
    /// Locks the directory.
    ///
    /// # Errors
    /// [`Error::NoData`], [`Error::Locked`], or an error of the disk.
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

    /// Returns a doctor that skips the views and reports why: examining them has ended a process.
    #[must_use]
    pub fn without_views(self, why: String) -> Self {
        Self {
            views_unread: Some(why),
            ..self
        }
    }

    /// Creates a doctor over segments on another disk.
    #[cfg(test)]
    pub(crate) fn over(directory: &Path, disk: Arc<dyn Disk>) -> Self {
        Self {
            directory: directory.to_owned(),
            disk,
            views_unread: None,
            _lock: DirectoryLock::take(directory).unwrap(),
        }
    }

    /// Returns the undamaged batches of one partition, by offset. For internal topics, which are
    /// small.
    ///
    /// # Errors
    /// The disk cannot be read.
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

    /// Examines everything.
    ///
    /// # Errors
    /// The disk cannot be read. Damaged data is not an error; it is in the report.
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
                format!("the views cannot be read: {why}"),
            ));
            return Ok(None);
        }
        match ViewsCheck::open(&path) {
            Ok(None) if has_log => {
                let what =
                    "there are no complete views of this version; the next start rebuilds them";
                report.note(Finding::new(Kind::NoViews, what));
                Ok(None)
            }
            Ok(views) => Ok(views),
            Err(error @ (Error::Full | Error::ReadOnly | Error::Io { .. })) => Err(error),
            Err(error) => {
                let what = format!("the views cannot be opened: {error}");
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

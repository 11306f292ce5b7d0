//! Checks the views against the log.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{DirBuilder, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use sedge_protocol::ids::{Offset, PartitionId};

use super::offsets::Offsets;
use super::{Finding, Kind};
use crate::api::{LostRange, Slice};
use crate::catalog::Catalog;
use crate::error::{Error, io_error};
use crate::format::{EntryHead, EntryKind, FrameHead, Run};
use crate::ids::{SegmentId, Sequence};
use crate::limits;
use crate::views::fjall_base::FjallBase;
use crate::views::tables::{Applied, Bounds, VERSION, ViewsVersion};

/// Number of copies made by this process, used in their names.
static COPIES: AtomicU32 = AtomicU32::new(0);

/// Views opened in a copy.
#[derive(Debug)]
pub(super) struct ViewsCheck {
    catalog: Catalog,
    applied: Applied,
    bounds: HashMap<PartitionId, Option<Bounds>>,
    /// The run of each partition that was looked up last: the next entries are mostly in the same
    /// run.
    runs: HashMap<PartitionId, (Offset, Run)>,
    /// Slices of partitions with replaced ranges.
    slices: HashMap<PartitionId, Vec<Slice>>,
    _copy: Copy,
}

/// A copy on disk, removed on drop.
#[derive(Debug)]
struct Copy(PathBuf);

impl Drop for Copy {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            log::warn!("{} cannot be removed: {error}", self.0.display());
        }
    }
}

fn copy_prefix(process: u32) -> String {
    format!("sedge-doctor-{process}-")
}

/// Removes the copy left behind by a process that ended while it examined views.
pub fn remove_copies_of(process: u32) {
    let prefix = copy_prefix(process);
    let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            drop(Copy(entry.path()));
        }
    }
}

impl ViewsCheck {
    /// Opens a copy of the views. Returns `None` if there are none, if they are incomplete because
    /// a rebuild was in progress, or if another version wrote them.
    pub fn open(path: &Path) -> Result<Option<Self>, Error> {
        if !path.exists() {
            return Ok(None);
        }
        let number = COPIES.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}{number}", copy_prefix(std::process::id()));
        let copy = Copy(std::env::temp_dir().join(name));
        copy_directory(path, &copy.0).map_err(|source| io_error("copy the views", source))?;
        let base = FjallBase::open_copy(&copy.0, limits::DOCTOR_CACHE_BYTES)?;
        let Some(version) = ViewsVersion::of(&base)? else {
            return Ok(None);
        };
        // The next start rebuilds such views.
        if version.tables != VERSION {
            return Ok(None);
        }
        let catalog = Catalog::new(Box::new(base), version);
        let Some(applied) = catalog.load()? else {
            return Ok(None);
        };
        Ok(Some(Self {
            catalog,
            applied,
            bounds: HashMap::new(),
            runs: HashMap::new(),
            slices: HashMap::new(),
            _copy: copy,
        }))
    }

    /// Compares the index with an entry of a frame. Returns the difference, if any.
    pub fn entry(
        &mut self,
        segment: SegmentId,
        position: u64,
        head: &FrameHead,
        entry: &EntryHead,
    ) -> Result<Option<&'static str>, Error> {
        let is_cold = entry.kind == EntryKind::Moved;
        // The frames of a cold segment are no commits.
        if !is_cold && head.sequence > self.applied.sequence {
            return Ok(None);
        }
        let Some(bounds) = self.bounds_of(entry.partition)? else {
            // Dropped, or missing altogether, which the check of the log's end reports.
            return Ok(None);
        };
        if entry.next <= bounds.log.log_start {
            return Ok(None);
        }
        let last = entry.next.plus(-1);
        let holds = |(base, run): &(Offset, Run)| *base <= last && last < run.next;
        let cached = self.runs.get(&entry.partition).copied().filter(holds);
        let found = match cached {
            Some(found) => Some(found),
            None => self
                .catalog
                .run_at(entry.partition, last)?
                .filter(|found| holds(found)),
        };
        let Some((base, run)) = found else {
            let may_be_gone = is_cold || self.is_replaced(entry.partition, last)?;
            return Ok((!may_be_gone).then_some("the index lacks these live batches"));
        };
        self.runs.insert(entry.partition, (base, run));
        let end = position + head.frame_bytes();
        let is_here = run.segment == segment
            && run.position <= position
            && end <= run.position + u64::from(run.span);
        // Replaced batches are in a cold segment now; batches in a cold segment need not count.
        let is_elsewhere = run.segment != segment && (is_cold || self.is_cold(run.segment));
        Ok((!is_here && !is_elsewhere).then_some("the index has these batches in another place"))
    }

    /// Returns whether the batches there may have been removed by a replacement: the slices cover
    /// holes too.
    fn is_replaced(&mut self, partition: PartitionId, offset: Offset) -> Result<bool, Error> {
        if !self.slices.contains_key(&partition) {
            let slices = self.catalog.slices(partition)?;
            self.slices.insert(partition, slices);
        }
        let slices = self.slices.get(&partition).map_or(&[][..], Vec::as_slice);
        Ok(slices.iter().any(|slice| {
            (slice.first_offset..slice.next_offset).contains(&offset) && self.is_cold(slice.segment)
        }))
    }

    fn is_cold(&self, id: SegmentId) -> bool {
        let state = self.catalog.read();
        state
            .segments
            .get(&id)
            .is_some_and(|segment| segment.is_cold)
    }

    fn bounds_of(&mut self, partition: PartitionId) -> Result<Option<Bounds>, Error> {
        if let Some(known) = self.bounds.get(&partition) {
            return Ok(*known);
        }
        let found = self.catalog.bounds(partition)?;
        let found = (found != Bounds::default()).then_some(found);
        self.bounds.insert(partition, found);
        Ok(found)
    }

    /// Returns the differences that show only after the whole log was seen.
    pub fn finish(
        &self,
        generations: &BTreeMap<SegmentId, u64>,
        offsets: &Offsets,
        last: Sequence,
        hurt: &BTreeSet<PartitionId>,
    ) -> Result<Vec<Finding>, Error> {
        let mut found = Vec::new();
        if self.applied.sequence > last {
            let what = format!(
                "the views contain commit {}, but the log ends at commit {}: commits that were \
                 synced are lost",
                self.applied.sequence.0, last.0
            );
            found.push(Finding::new(Kind::Views, what));
        }
        let known = self.catalog.read().segments.clone();
        for (id, segment) in &known {
            let what = match generations.get(id) {
                Some(generation) if *generation == segment.generation => continue,
                Some(_) => "the views have another generation of this segment",
                None if segment.live_slices == 0 => continue,
                None => "the segment is missing or unreadable, and has live batches",
            };
            found.push(Finding::new(Kind::Views, what).at(*id, 0, segment.live_bytes));
        }
        let mut live: BTreeMap<SegmentId, (u64, u64)> = BTreeMap::new();
        let partitions = self.catalog.partitions()?;
        if self.applied.sequence > last {
            for partition in &partitions {
                let base_offset = offsets.bounds(*partition).map_or(Offset::ZERO, |of| of.1);
                let next_offset = self.catalog.bounds(*partition)?.log.next_offset;
                if base_offset < next_offset && !offsets.is_dropped(*partition) {
                    let lost = vec![LostRange {
                        partition: *partition,
                        base_offset,
                        next_offset,
                    }];
                    let what = "the log ends before these offsets, which the views contain";
                    let finding = Finding::new(Kind::Views, what);
                    found.push(Finding { lost, ..finding });
                }
            }
        }
        for partition in &partitions {
            let wrong = self.partition(*partition, offsets, last, hurt, &mut live)?;
            found.extend(wrong.map(|what| Finding::new(Kind::Views, what).of(Some(*partition))));
        }
        for (id, segment) in &known {
            let counted = live.get(id).copied().unwrap_or_default();
            if counted != (segment.live_slices, segment.live_bytes) {
                let what = "the segment's live bytes differ from the sum of its slices";
                found.push(Finding::new(Kind::Views, what).at(*id, 0, segment.live_bytes));
            }
        }
        if self.applied.sequence == last {
            let known: BTreeSet<PartitionId> = partitions.into_iter().collect();
            for partition in offsets.partitions() {
                if !known.contains(&partition) && !hurt.contains(&partition) {
                    let what = "the views lack this partition";
                    found.push(Finding::new(Kind::Views, what).of(Some(partition)));
                }
            }
        }
        Ok(found)
    }

    fn partition(
        &self,
        partition: PartitionId,
        offsets: &Offsets,
        last: Sequence,
        hurt: &BTreeSet<PartitionId>,
        live: &mut BTreeMap<SegmentId, (u64, u64)>,
    ) -> Result<Option<&'static str>, Error> {
        let bounds = self.catalog.bounds(partition)?;
        let mut wrong = None;
        let mut sum = 0;
        for slice in self.catalog.slices(partition)? {
            sum += slice.bytes;
            let (slices, bytes) = live.entry(slice.segment).or_default();
            (*slices, *bytes) = (*slices + 1, *bytes + slice.bytes);
            let first = self.catalog.run_at(partition, slice.first_offset)?;
            let is_there = first.is_some_and(|(base, run)| {
                base <= slice.first_offset && run.segment == slice.segment
            });
            if !is_there && !self.is_cold(slice.segment) {
                wrong = Some("the index has no entry at the start of a slice");
            }
        }
        if sum != bounds.live_bytes {
            wrong = Some("the partition's live bytes differ from the sum of its slices");
        }
        // The views may be behind the log, which does no harm; then the log has more than they do.
        if self.applied.sequence == last && !hurt.contains(&partition) {
            let (log_start, end) = offsets.bounds(partition).unwrap_or_default();
            let log = bounds.log;
            if offsets.is_dropped(partition) {
                wrong = Some("the views still have this deleted partition");
            } else if log.next_offset != end {
                wrong = Some("the partition's end offset differs from the log's");
            } else if log.log_start != log_start {
                wrong = Some("the partition's log start offset differs from the log's");
            }
        }
        Ok(wrong)
    }
}

/// Copies a whole directory as sparse files: fjall's journal is 64 MiB, mostly zeros.
fn copy_directory(from: &Path, to: &Path) -> std::io::Result<()> {
    DirBuilder::new().mode(0o700).create(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_directory(&entry.path(), &target)?;
        } else {
            copy_sparse(&entry.path(), &target)?;
        }
    }
    Ok(())
}

fn copy_sparse(from: &Path, to: &Path) -> std::io::Result<()> {
    let (mut from, mut to) = (File::open(from)?, File::create(to)?);
    let mut block = vec![0; limits::SCAN_READ_BYTES as usize];
    let zeros = block.clone();
    let mut length = 0;
    loop {
        let bytes = from.read(&mut block)?;
        if bytes == 0 {
            break;
        }
        if block[..bytes] != zeros[..bytes] {
            to.seek(SeekFrom::Start(length))?;
            to.write_all(&block[..bytes])?;
        }
        length += bytes as u64;
    }
    to.set_len(length)
}

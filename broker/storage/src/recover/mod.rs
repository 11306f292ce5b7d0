//! Opens the log. If the views are usable, the frames after those that they have are replayed;
//! otherwise the views are rebuilt from the whole log.

mod catch_up;
mod cold;
mod end;
mod lost;
mod rebuild;
mod replay;
mod report;
mod segment;
mod waves;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use sedge_protocol::ids::{Offset, PartitionId};

use crate::api::{OpenReport, Options, Recovery};
use crate::catalog::Catalog;
use crate::damage::DamageList;
use crate::damage::guarded::Guarded;
use crate::disk::Disk;
use crate::error::Error;
use crate::ids::{SegmentId, Sequence};
use crate::limits;
use crate::segment::header::header_of;
use crate::segment::listing::CutShort;
use crate::segment::scan::{Found, Scanner};
use crate::store::Store;
use crate::store::files::Files;
use crate::store::writer::Writer;
use crate::views::tables::{Applied, ViewsVersion};
use crate::views::{self, Base};

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
    let version = ViewsVersion::with_caller(recovery.views_version());
    let (catalog, applied) =
        open_catalog(open_views, version, &files, &ids, &mut report, &mut ends)?;
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

/// Opens the views with their applied position; or empty ones.
fn open_catalog(
    open_views: &mut dyn FnMut(bool) -> Result<Box<dyn Base>, Error>,
    version: ViewsVersion,
    files: &Files,
    ids: &[SegmentId],
    report: &mut OpenReport,
    ends: &mut Vec<(PartitionId, Offset)>,
) -> Result<(Catalog, Option<Applied>), Error> {
    let mut other = None;
    let found = open_views(false).and_then(|base| {
        other = ViewsVersion::of(&*base)?.filter(|of| *of != version);
        let can_be_read = other.is_none_or(|of| of.tables == version.tables);
        let is_empty = views::is_empty(&*base)?;
        let catalog = Catalog::new(base, version);
        let applied = if can_be_read { catalog.load()? } else { None };
        Ok((catalog, applied, is_empty))
    });
    if let Some(other) = other {
        log::warn!("the views have version {other}, not {version}: they are rebuilt");
    }
    match found {
        Ok((catalog, Some(applied), _)) => {
            if !is_there(files, &applied)? {
                log::error!(
                    "the log ends before commit {}, although that commit was synced",
                    applied.sequence.0
                );
                report.lost_tail = true;
                if let Ok(partitions) = catalog.partitions() {
                    for id in partitions {
                        // Views that cannot be read are useless for this too.
                        ends.extend(catalog.bounds(id).map(|of| (id, of.log.next_offset)));
                    }
                }
            } else if other.is_none() {
                return Ok((catalog, Some(applied)));
            }
        }
        Ok((catalog, None, true)) if ids.is_empty() => return Ok((catalog, None)),
        Ok((catalog, None, _)) => {
            // Closed before it is removed.
            drop(catalog);
            if other.is_none() {
                log::warn!(
                    "the views are missing, incomplete, or of an older version: they are rebuilt"
                );
            }
        }
        Err(error) => log::warn!("the views cannot be used and are rebuilt: {error}"),
    }
    report.views_rebuilt = !ids.is_empty();
    Ok((Catalog::new(open_views(true)?, version), None))
}

/// Returns whether the last frame that the views have is in the log.
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
    /// Segments examined so far that are not part of the log's order.
    cold: BTreeSet<SegmentId>,
    /// The position at which a segment's frames end, if all of them are whole.
    frames_end: BTreeMap<SegmentId, u64>,
    report: &'a mut OpenReport,
    recovery: &'a mut dyn Recovery,
    /// The last segment ended in a hole, which took the commits that are missing behind it.
    ended_in_hole: bool,
    /// Missing segments that had live data.
    gone: BTreeSet<SegmentId>,
    /// Cold segments to which rows point and that end before their footer.
    cut_short: BTreeMap<SegmentId, CutShort>,
    /// Ends of partitions by views that have seen more than the log has now.
    ends: Vec<(PartitionId, Offset)>,
}

impl Opening<'_> {
    pub(super) fn is_too_much_pending(&self) -> bool {
        self.store.catalog.pending_bytes() >= self.store.options.views_flush_bytes
    }

    /// Keeps pending updates bounded during a long replay. A failure here is not yet a failure of
    /// the log.
    pub(super) fn relieve(&mut self) -> Result<(), Error> {
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
}

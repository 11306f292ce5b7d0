//! The store: catalog, files and the one writer, behind [`LogStore`].

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use sedge_protocol::ids::{Offset, PartitionId};

use crate::api::{
    Commit, Freed, Identity, Located, LogBounds, LogStore, OpenReport, Options, ReadLimits,
    Recovery, SegmentId, SegmentUse, Sequence, Slice, Usage, View, ViewReader, Wait,
};
use crate::catalog::Catalog;
use crate::cold::{self, ColdSegment};
use crate::disk::directory::io_error;
use crate::disk::{Disk, SegmentFile};
use crate::error::Error;
use crate::files::Files;
use crate::known_damage::{DamageList, Damaged};
use crate::limits;
use crate::meta::{self, DirectoryLock};
use crate::recent_heads::RecentHeads;
use crate::recycle::Spares;
use crate::room::Room;
use crate::scrub::{self, ScrubCursor, Scrubbed};
use crate::views::Base;
use crate::views::fjall_base::FjallBase;
use crate::write::{Sealing, Writer};
use crate::{backup, clean, free, read, recover, times};

/// See the module.
#[derive(Debug)]
pub struct Store {
    pub(crate) options: Options,
    pub(crate) catalog: Catalog,
    pub(crate) files: Files,
    pub(crate) writer: Mutex<Writer>,
    pub(crate) counters: Counters,
    /// Files with writes that no sync has covered.
    pub(crate) unsynced: Mutex<Vec<Arc<dyn SegmentFile>>>,
    pub(crate) sealing: Mutex<Vec<Sealing>>,
    pub(crate) spares: Mutex<Spares>,
    pub(crate) damage: Arc<DamageList>,
    pub(crate) recent_heads: RecentHeads,
    /// Segments in which a read found something else than the index says: the scrub looks there
    /// first.
    pub(crate) suspects: Mutex<BTreeSet<SegmentId>>,
    /// The segment that was written to last before this start, and where it ended then: what lies
    /// before was on the device while nothing ran.
    pub(crate) opened_at: Option<(SegmentId, u64)>,
    syncing: Mutex<()>,
    poisoned: AtomicBool,
    identity: Identity,
    /// Where the views are, on a real disk.
    views: Option<PathBuf>,
    /// Held for as long as the store is open.
    lock: Option<DirectoryLock>,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub payload_bytes: AtomicU64,
    pub log_bytes: AtomicU64,
    pub cleaned_bytes: AtomicU64,
    pub syncs: AtomicU64,
    pub recycled: AtomicU64,
    /// Commits that a read found damaged and passed over.
    pub damaged: AtomicU64,
}

/// Opens the data directory, makes it where it is missing, and brings the views up to date.
///
/// `directory` gets `meta.toml`, `lock`, `segments/` and `views/`.
pub fn open(
    directory: &Path,
    options: Options,
    recovery: &mut dyn Recovery,
) -> Result<(Store, OpenReport), Error> {
    std::fs::create_dir_all(directory)
        .map_err(|source| io_error("create the data directory", source))?;
    backup::check_finished(directory)?;
    let lock = DirectoryLock::take(directory)?;
    backup::check_whole(directory)?;
    let identity = meta::check_or_write(directory, &options)?;
    let segments = crate::disk::directory::Directory::open(&directory.join("segments"))?;
    let disk = Arc::new(segments);
    let damage = DamageList::load(directory)?;
    let views = directory.join("views");
    let cache_bytes = options.cache_bytes;
    let open_views = |anew: bool| -> Result<Box<dyn Base>, Error> {
        if anew && views.exists() {
            std::fs::remove_dir_all(&views)
                .map_err(|source| io_error("remove the views", source))?;
        }
        Ok(Box::new(FjallBase::open(&views, cache_bytes)?))
    };
    let views_opening = ViewsOpening::begin(directory)?;
    let mut open_views = |anew: bool| open_views(anew || views_opening.has_failed());
    let (mut store, report) = recover::open(disk, damage, &mut open_views, options, recovery)?;
    views_opening.end();
    match backup::make_ordinary(directory, &identity) {
        // It stays a backup then, and whole: nothing is written to it.
        Err(Error::Full | Error::ReadOnly) => {}
        made => made?,
    }
    store.identity = identity;
    store.lock = Some(lock);
    store.views = Some(views);
    Ok((store, report))
}

/// Opens on any disk with any base for the views: for tests with faults. `open_views` is called
/// again, with true, where what it gave first is of no use.
pub fn open_with(
    disk: Arc<dyn Disk>,
    open_views: &mut dyn FnMut(bool) -> Result<Box<dyn Base>, Error>,
    options: Options,
    recovery: &mut dyn Recovery,
) -> Result<(Store, OpenReport), Error> {
    recover::open(disk, DamageList::default(), open_views, options, recovery)
}

/// Damaged views may end the process that opens them, as fjall asserts what it reads. This counts
/// the starts that did not come to their end; behind two of them in a row, the views are made anew.
struct ViewsOpening {
    path: PathBuf,
    failed: usize,
}

impl ViewsOpening {
    fn begin(directory: &Path) -> Result<Self, Error> {
        let path = directory.join("views.opening");
        let failed = std::fs::read(&path).map_or(0, |marks| marks.len());
        match std::fs::write(&path, vec![b'.'; failed + 1])
            .map_err(|source| io_error("note that the views are opened", source))
        {
            // Such a disk is opened too.
            Ok(()) | Err(Error::Full | Error::ReadOnly) => Ok(Self { path, failed }),
            Err(error) => Err(error),
        }
    }

    fn has_failed(&self) -> bool {
        self.failed >= limits::VIEWS_OPENED_MAX
    }

    fn end(&self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Store {
    pub(crate) fn assemble(
        options: Options,
        catalog: Catalog,
        files: Files,
        damage: Arc<DamageList>,
        writer: Writer,
    ) -> Self {
        let identity = Identity {
            cluster_id: options.cluster_id.clone().unwrap_or_default(),
            node_id: options.node_id,
        };
        Self {
            options,
            catalog,
            files,
            writer: Mutex::new(writer),
            counters: Counters::default(),
            unsynced: Mutex::default(),
            sealing: Mutex::default(),
            spares: Mutex::default(),
            damage,
            recent_heads: RecentHeads::default(),
            suspects: Mutex::default(),
            opened_at: None,
            syncing: Mutex::default(),
            poisoned: AtomicBool::new(false),
            identity,
            views: None,
            lock: None,
        }
    }

    /// Whose data this is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(crate) fn lock_writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn check_health(&self) -> Result<(), Error> {
        if self.poisoned.load(Ordering::Acquire) {
            Err(Error::Poisoned)
        } else {
            Ok(())
        }
    }

    pub(crate) fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
    }

    pub(crate) fn note_unsynced(&self, file: &Arc<dyn SegmentFile>) {
        let mut unsynced = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
        if !unsynced.last().is_some_and(|last| Arc::ptr_eq(last, file)) {
            unsynced.push(file.clone());
        }
    }

    /// Bytes of a cold segment.
    pub(crate) fn count_cleaned(&self, bytes: u64) {
        self.counters.log_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.counters
            .cleaned_bytes
            .fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether nothing was written since the last sync, or the one that is under way.
    pub(crate) fn is_synced(&self) -> bool {
        self.unsynced
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }

    pub(crate) fn sync_log(&self) -> Result<(), Error> {
        let _one = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_health()?;
        // Before the files: all frames of these are among them, or synced already.
        let sealing =
            std::mem::take(&mut *self.sealing.lock().unwrap_or_else(PoisonError::into_inner));
        let files =
            std::mem::take(&mut *self.unsynced.lock().unwrap_or_else(PoisonError::into_inner));
        for file in files {
            file.sync_data().map_err(|source| {
                // The kernel may have thrown the pages away: a second try would say yes to nothing.
                self.poison();
                Error::Io {
                    doing: "sync a segment",
                    source,
                }
            })?;
            self.counters.syncs.fetch_add(1, Ordering::Relaxed);
        }
        for full in sealing {
            self.write_footer(&full);
        }
        Ok(())
    }

    pub(crate) fn flush(&self, forced: bool) -> Result<(), Error> {
        self.catalog.flush(forced, &|| self.sync_log())
    }
}

impl ViewReader for Store {
    fn view_get(&self, view: View, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.catalog.view_get(view, key)
    }

    fn view_scan_from(
        &self,
        view: View,
        prefix: &[u8],
        from: &[u8],
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        self.catalog.view_scan_from(view, prefix, from, each)
    }
}

impl LogStore for Store {
    fn reserve(&self, room: Room) -> Result<(), Error> {
        self.reserve_room(room)
    }

    fn append(&self, commit: Commit) -> Result<Sequence, Error> {
        self.append_commit(commit)
    }

    fn sync(&self) -> Result<(), Error> {
        self.sync_log()
    }

    fn bounds(&self, partition: PartitionId) -> Result<LogBounds, Error> {
        Ok(self.catalog.bounds(partition)?.log)
    }

    fn partitions(&self) -> Result<Vec<PartitionId>, Error> {
        self.catalog.partitions()
    }

    fn newest_partition(&self) -> Result<Option<PartitionId>, Error> {
        self.catalog.newest_partition()
    }

    fn read(
        &self,
        partition: PartitionId,
        from: Offset,
        until: Offset,
        bytes_max: usize,
    ) -> Result<Vec<Bytes>, Error> {
        let read = read::read(self, partition, from, until, bytes_max);
        self.note_failed(partition, from, read)
    }

    fn locate(
        &self,
        partition: PartitionId,
        from: Offset,
        until: Offset,
        limits: ReadLimits,
        wait: Wait,
    ) -> Result<Located, Error> {
        let located = read::locate(self, partition, (from, until), limits, wait);
        self.note_failed(partition, from, located)
    }

    fn first_batch_at(
        &self,
        partition: PartitionId,
        timestamp: i64,
        from: Offset,
        until: Offset,
    ) -> Result<Option<Bytes>, Error> {
        times::first_batch_at(self, partition, timestamp, from, until)
    }

    fn max_timestamp_batch(
        &self,
        partition: PartitionId,
        from: Offset,
        until: Offset,
    ) -> Result<Option<Bytes>, Error> {
        times::max_timestamp_batch(self, partition, from, until)
    }

    fn slices(&self, partition: PartitionId) -> Result<Vec<Slice>, Error> {
        self.catalog.slices(partition)
    }

    fn partition_bytes(&self, partition: PartitionId) -> Result<u64, Error> {
        Ok(self.catalog.bounds(partition)?.live_bytes)
    }

    fn begin_cold(&self, bytes: u64) -> Result<Box<dyn ColdSegment + '_>, Error> {
        Ok(Box::new(cold::Writing::begin(self, bytes)?))
    }

    fn active_segment(&self) -> Option<SegmentId> {
        self.lock_writer().active.as_ref().map(|active| active.id)
    }

    fn roll(&self) -> Result<(), Error> {
        self.roll_segment()
    }

    fn segments(&self) -> Result<Vec<SegmentUse>, Error> {
        clean::segments(self)
    }

    fn live_slices(&self, of: &[SegmentId]) -> Result<Vec<(PartitionId, Slice)>, Error> {
        clean::live_slices(self, of)
    }

    fn free_segments(&self) -> Result<Freed, Error> {
        free::free_segments(self)
    }

    fn evict_spares(&self) -> Result<(), Error> {
        self.evict_spare_files()
    }

    fn limit_spares(&self, bytes_max: u64) -> Result<(), Error> {
        self.limit_spare_files(bytes_max)
    }

    fn scrub(&self, cursor: &mut ScrubCursor, bytes_max: u64) -> Result<Scrubbed, Error> {
        scrub::scrub(self, cursor, bytes_max)
    }

    fn damaged(&self) -> Vec<Damaged> {
        self.damage.all()
    }

    fn flush_views(&self) -> Result<(), Error> {
        self.flush(false)
    }

    fn usage(&self) -> Usage {
        let disk = self.files.disk.list().unwrap_or_default();
        let (pending_entries, pending_bytes, degraded, view_flushes, view_bytes_written) =
            self.catalog.flush_figures();
        let active_segment = self.lock_writer().active.as_ref().map(|active| active.id);
        let state = self.catalog.read();
        let (spare_segments, spare_bytes) = self.spare_figures();
        let reclaimable = disk.iter().filter_map(|(id, bytes)| {
            let segment = state
                .segments
                .get(id)
                .filter(|_| Some(*id) != active_segment)?;
            let sparse_bytes = bytes / limits::SPARSE_LIVE_SHARE;
            let goes = segment.live_slices == 0 || segment.live_bytes <= sparse_bytes;
            goes.then(|| bytes.saturating_sub(segment.live_bytes))
        });
        Usage {
            disk_bytes: disk.iter().map(|(_, bytes)| bytes).sum(),
            live_bytes: state
                .segments
                .values()
                .map(|segment| segment.live_bytes)
                .sum(),
            segments: disk.len() as u64,
            payload_bytes_written: self.counters.payload_bytes.load(Ordering::Relaxed),
            log_bytes_written: self.counters.log_bytes.load(Ordering::Relaxed),
            cleaned_bytes_written: self.counters.cleaned_bytes.load(Ordering::Relaxed),
            view_bytes_written,
            view_disk_bytes: self
                .views
                .as_deref()
                .map_or(0, |views| allocated_bytes(views, 2)),
            reclaimable_bytes: reclaimable.sum(),
            spare_segments,
            spare_bytes,
            segments_recycled: self.counters.recycled.load(Ordering::Relaxed),
            active_segment,
            segment_bytes: self.options.segment_bytes,
            volume_bytes: self.files.disk.volume_bytes(),
            volume_free_bytes: self.files.disk.free_bytes(),
            pending_entries,
            pending_bytes,
            degraded,
            view_flushes,
            syncs: self.counters.syncs.load(Ordering::Relaxed),
            damaged: self.counters.damaged.load(Ordering::Relaxed),
        }
    }

    fn close(&self) -> Result<(), Error> {
        self.close_writer();
        self.sync_log()?;
        // The footer that the first one wrote, where it wrote one.
        self.sync_log()?;
        self.flush(true)
    }
}

/// What the files below `directory` take, so many folders deep: their blocks, as fjall allocates
/// journals ahead.
fn allocated_bytes(directory: &Path, depth: u32) -> u64 {
    const BLOCK_BYTES: u64 = 512;
    let Ok(entries) = std::fs::read_dir(directory) else {
        return 0;
    };
    let bytes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(of) if of.is_dir() && depth > 0 => allocated_bytes(&entry.path(), depth - 1),
        Ok(of) => of.blocks() * BLOCK_BYTES,
        Err(_) => 0,
    });
    bytes.sum()
}

//! Implements [`LogStore`] for the store: each method calls the module that does the work.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use sedge_protocol::ids::{Offset, PartitionId};

use crate::api::{
    ColdSegment, Commit, Damaged, Freed, Located, LogBounds, LogStore, OpenReport, Options,
    ReadLimits, Recovery, Room, ScrubCursor, Scrubbed, SegmentUse, Slice, Usage, View, ViewReader,
    Wait,
};
use crate::damage::DamageList;
use crate::disk::Disk;
use crate::disk::directory::Directory;
use crate::error::{Error, io_error};
use crate::ids::{SegmentId, Sequence};
use crate::meta::{self, DirectoryLock};
use crate::read::{self, times};
use crate::space::{free, live, usage};
use crate::store::Store;
use crate::views::Base;
use crate::views::fjall_base::FjallBase;
use crate::views::opening::ViewsOpening;
use crate::write::cold;
use crate::{backup, recover, scrub};

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
        live::segments(self)
    }

    fn live_slices(&self, of: &[SegmentId]) -> Result<Vec<(PartitionId, Slice)>, Error> {
        live::live_slices(self, of)
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

    fn wants_view_flush(&self) -> bool {
        self.catalog.pending_bytes() >= self.options.views_flush_bytes
    }

    fn distrust_views(&self) {
        let directory = self.views().and_then(Path::parent);
        let noted = directory.map_or(Ok(()), ViewsOpening::distrust);
        if let Err(error) = noted {
            log::error!("the next start does not make the views anew by itself: {error}");
        }
    }

    fn usage(&self) -> Usage {
        usage::usage(self)
    }

    fn close(&self) -> Result<(), Error> {
        self.close_writer();
        self.sync_log()?;
        // The footer written by the first sync, if it wrote one.
        self.sync_log()?;
        self.flush(true)
    }
}

/// Opens the data directory, creates it if it is missing, and brings the views up to date.
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
    let segments = Directory::open(&directory.join("segments"))?;
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
        // The directory stays a backup then, and complete: nothing is written to it.
        Err(Error::Full | Error::ReadOnly) => {}
        made => made?,
    }
    store.hold(identity, views, lock);
    Ok((store, report))
}

/// Opens a store on any disk with any base for the views: for tests with faults. `open_views` is
/// called again, with true, if what it returned first is unusable.
pub fn open_with(
    disk: Arc<dyn Disk>,
    open_views: &mut dyn FnMut(bool) -> Result<Box<dyn Base>, Error>,
    options: Options,
    recovery: &mut dyn Recovery,
) -> Result<(Store, OpenReport), Error> {
    recover::open(disk, DamageList::default(), open_views, options, recovery)
}

//! Figures of the space that the store uses.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::Ordering;

use crate::api::Usage;
use crate::limits;
use crate::store::Store;

/// See [`crate::LogStore::usage`].
pub(crate) fn usage(store: &Store) -> Usage {
    let disk = store.files.disk.list().unwrap_or_default();
    let (pending_entries, pending_bytes, degraded, view_flushes, view_bytes_written) =
        store.catalog.flush_figures();
    let active_segment = store.lock_writer().active.as_ref().map(|active| active.id);
    let state = store.catalog.read();
    let (spare_segments, spare_bytes) = store.spare_figures();
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
        payload_bytes_written: store.counters.payload_bytes.load(Ordering::Relaxed),
        log_bytes_written: store.counters.log_bytes.load(Ordering::Relaxed),
        cleaned_bytes_written: store.counters.cleaned_bytes.load(Ordering::Relaxed),
        view_bytes_written,
        view_disk_bytes: store.views().map_or(0, |views| allocated_bytes(views, 2)),
        reclaimable_bytes: reclaimable.sum(),
        spare_segments,
        spare_bytes,
        segments_recycled: store.counters.recycled.load(Ordering::Relaxed),
        active_segment,
        segment_bytes: store.options.segment_bytes,
        volume_bytes: store.files.disk.volume_bytes(),
        volume_free_bytes: store.files.disk.free_bytes(),
        pending_entries,
        pending_bytes,
        degraded,
        view_flushes,
        syncs: store.counters.syncs.load(Ordering::Relaxed),
        damaged: store.counters.damaged.load(Ordering::Relaxed),
    }
}

/// Returns the allocated bytes of the files below `directory`, up to `depth` folders deep: blocks,
/// not lengths, as fjall allocates journals ahead.
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

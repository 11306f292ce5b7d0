//! Figures for a cleaner's choice: the live bytes of each segment, and its live slices.

use std::collections::{BTreeMap, BTreeSet};

use sedge_protocol::ids::PartitionId;

use crate::api::{SegmentUse, Slice};
use crate::error::Error;
use crate::ids::SegmentId;
use crate::space::free;
use crate::store::Store;

/// See [`crate::LogStore::segments`].
pub(crate) fn segments(store: &Store) -> Result<Vec<SegmentUse>, Error> {
    let bytes: BTreeMap<SegmentId, u64> = store.files.disk.list()?.into_iter().collect();
    // Locked, so that no segment begins in between.
    let writer = store.lock_writer();
    let in_use = free::in_use(store, &writer);
    let state = store.catalog.read();
    let full = state.segments.iter().filter(|(id, _)| !in_use.contains(id));
    Ok(full
        .map(|(id, segment)| SegmentUse {
            id: *id,
            file_bytes: bytes.get(id).copied().unwrap_or_default(),
            live_bytes: segment.live_bytes,
            live_slices: segment.live_slices,
            is_cold: segment.is_cold,
        })
        .collect())
}

/// See [`crate::LogStore::live_slices`].
pub(crate) fn live_slices(
    store: &Store,
    of: &[SegmentId],
) -> Result<Vec<(PartitionId, Slice)>, Error> {
    let mut partitions = BTreeSet::new();
    for id in of {
        let Some(generation) = store.catalog.generation(*id) else {
            continue;
        };
        let contents = free::contents(store, *id, generation)?;
        partitions.extend(contents.runs.iter().map(|run| run.partition));
    }
    let mut found = Vec::new();
    for partition in partitions {
        let slices = store.catalog.slices(partition)?;
        let wanted = slices
            .into_iter()
            .filter(|slice| of.contains(&slice.segment));
        found.extend(wanted.map(|slice| (partition, slice)));
    }
    Ok(found)
}

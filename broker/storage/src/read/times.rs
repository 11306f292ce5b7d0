//! Finds batches by the timestamps of their records: by slice, then by run, then by header.

use bytes::Bytes;
use sedge_protocol::ids::{Offset, PartitionId};

use crate::error::Error;
use crate::format::EntryHead;
use crate::read::walk::{Extent, each_header, read_batch, runs_of};
use crate::store::Store;

/// See [`crate::LogStore::first_batch_at`].
pub(crate) fn first_batch_at(
    store: &Store,
    partition: PartitionId,
    timestamp: i64,
    from: Offset,
    until: Offset,
) -> Result<Option<Bytes>, Error> {
    let from = from.max(store.catalog.bounds(partition)?.log.log_start);
    for slice in store.catalog.slices(partition)? {
        let is_beside = slice.next_offset <= from || slice.first_offset >= until;
        if is_beside || slice.max_timestamp < timestamp {
            continue;
        }
        for (first, run) in runs_of(store, partition, &slice)? {
            if run.max_timestamp < timestamp {
                continue;
            }
            let mut found = None;
            let wanted = |entry: &EntryHead| entry.max_timestamp >= timestamp;
            each_header(store, partition, &run, &wanted, &mut |header, at| {
                if header.next_offset() <= first.max(from) || header.max_timestamp() < timestamp {
                    return true;
                }
                found = Some((header, at));
                false
            })?;
            match found {
                Some((header, _)) if header.base_offset() >= until => return Ok(None),
                Some((_, at)) => return read_batch(store, at),
                None => {}
            }
        }
    }
    Ok(None)
}

/// See [`crate::LogStore::max_timestamp_batch`].
pub(crate) fn max_timestamp_batch(
    store: &Store,
    partition: PartitionId,
    from: Offset,
    until: Offset,
) -> Result<Option<Bytes>, Error> {
    let from = from.max(store.catalog.bounds(partition)?.log.log_start);
    let mut slices = store.catalog.slices(partition)?;
    slices.sort_by_key(|slice| std::cmp::Reverse(slice.max_timestamp));
    // (timestamp, offset, place): the largest timestamp, and of those the smallest offset.
    let mut best: Option<(i64, Offset, Extent)> = None;
    for slice in slices {
        if best.is_some_and(|(timestamp, ..)| timestamp > slice.max_timestamp) {
            break;
        }
        if slice.next_offset <= from || slice.first_offset >= until {
            continue;
        }
        for (first, run) in runs_of(store, partition, &slice)? {
            if best.is_some_and(|(timestamp, ..)| timestamp > run.max_timestamp) {
                continue;
            }
            let floor = best.map_or(i64::MIN, |(timestamp, ..)| timestamp);
            let wanted = |entry: &EntryHead| entry.max_timestamp >= floor;
            each_header(store, partition, &run, &wanted, &mut |header, at| {
                let (timestamp, base) = (header.max_timestamp(), header.base_offset());
                let live = header.next_offset() > first.max(from) && base < until;
                let better = best.is_none_or(|(most, offset, _)| {
                    timestamp > most || (timestamp == most && base < offset)
                });
                if live && better {
                    best = Some((timestamp, base, at));
                }
                true
            })?;
        }
    }
    best.map_or(Ok(None), |(.., at)| read_batch(store, at))
}

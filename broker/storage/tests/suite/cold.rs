//! Tests cold segments: replacing ranges, failures in between, and freeing segments and rebuilding
//! views afterwards.

use std::sync::Arc;

use bytes::Bytes;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::disk::Disk;
use sedge_storage::disk::memory::{Faults, Fuse, MemoryDisk};
use sedge_storage::views::memory_base::MemoryBase;
use sedge_storage::{Cold, Entry, Error, LogStore, SegmentId, Store};

use crate::bytes_of::{append, batch, commit};
use crate::stores::{in_memory, small};

const P: PartitionId = PartitionId(5);
const FAR: Offset = Offset(i64::MAX);

/// Writes batches of one record and 1,061 bytes at `from..to`, one per commit, with another
/// partition's in between.
fn fill(store: &Store, from: i64, to: i64) {
    for at in from..to {
        let entries = vec![
            append(P.0, vec![batch(at, 1, at * 10, 1000)]),
            append(9, vec![batch(at, 1, at * 10, 200)]),
        ];
        store.append(commit(entries, at)).unwrap();
    }
}

fn offsets(store: &Store, from: i64) -> Vec<i64> {
    let mut read = Bytes::from(
        store
            .read(P, Offset(from), FAR, usize::MAX >> 1)
            .unwrap()
            .concat(),
    );
    std::iter::from_fn(|| Batch::split_from(&mut read))
        .map(|batch| batch.header.base_offset().0)
        .collect()
}

/// Writes a cold segment of those batches at `from..to` that are `kept`.
fn cold(store: &Store, from: i64, to: i64, kept: impl Fn(i64) -> bool) -> Result<Arc<Cold>, Error> {
    let read = store
        .read(P, Offset(from), Offset(to), usize::MAX >> 1)
        .unwrap();
    let mut read = Bytes::from(read.concat());
    let mut writing = store.begin_cold(read.len() as u64)?;
    while let Some(batch) = Batch::split_from(&mut read) {
        if kept(batch.header.base_offset().0) {
            writing.push(P, batch, 77)?;
        }
    }
    writing.finish().map(Arc::new)
}

fn replace(store: &Store, cold: &Arc<Cold>, base: i64, next: i64) {
    let entry = Entry::Replace {
        cold: cold.clone(),
        partition: P,
        base: Offset(base),
        next: Offset(next),
        leader_epoch: None,
        is_compacted: true,
    };
    store.append(commit(vec![entry], 0)).unwrap();
}

/// Returns the end of P's records in the segments before the active one.
fn full_until(store: &Store) -> i64 {
    let active = store.active_segment();
    let slices = store.slices(P).unwrap();
    let mut full = slices.iter().filter(|slice| Some(slice.segment) != active);
    full.next_back().unwrap().next_offset.0
}

#[test]
fn what_is_replaced_is_read_looked_up_and_counted_as_what_it_is_now() {
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    let (store, _) = in_memory(&disk, &base, small());
    fill(&store, 0, 200);
    let end = full_until(&store);
    let cold = cold(&store, 0, end, |at| at % 7 == 0).unwrap();
    replace(&store, &cold, 0, end);
    let check = |store: &Store| {
        let expected: Vec<i64> = (0..200).filter(|at| at % 7 == 0 || *at >= end).collect();
        for from in [0, 1, 7, 8, 50, end - 1, end, 199] {
            let from_here = expected.iter().copied().filter(|at| *at >= from);
            assert_eq!(
                offsets(store, from),
                from_here.collect::<Vec<_>>(),
                "{from}"
            );
        }
        let at = |time| {
            let mut found = store
                .first_batch_at(P, time, Offset(0), FAR)
                .unwrap()
                .unwrap();
            Batch::split_from(&mut found)
                .unwrap()
                .header
                .base_offset()
                .0
        };
        assert_eq!((at(0), at(1), at(70), at(71)), (0, 7, 7, 14));
        let bounds = store.bounds(P).unwrap();
        assert_eq!(
            (bounds.log_start, bounds.next_offset),
            (Offset(0), Offset(200))
        );
        assert_eq!(bounds.compacted_until, Offset(end));
        let slices = store.slices(P).unwrap();
        assert_eq!(slices[0].next_offset, Offset(end));
        assert_eq!((slices[0].append_ms, slices[0].oldest_ms), (77, 77));
        let bytes: u64 = expected.len() as u64 * 1061;
        assert_eq!(store.partition_bytes(P).unwrap(), bytes);
        // The other partition has not changed.
        let other = store
            .read(PartitionId(9), Offset(0), FAR, usize::MAX >> 1)
            .unwrap();
        assert_eq!(other.concat().len(), 200 * 261);
    };
    check(&store);
    store.free_segments().unwrap();
    check(&store);
    store.close().unwrap();
    drop(store);
    let (store, _) = in_memory(&disk, &base, small());
    check(&store);
    drop(store);
    let (store, report) = in_memory(&disk, &MemoryBase::new(), small());
    assert!(report.views_rebuilt);
    check(&store);
}

/// The segment with the rows that adopt a cold one is freed like any other: the rows are carried
/// on.
#[test]
fn a_cold_segment_outlives_the_segment_that_adopted_it() {
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    let (store, _) = in_memory(&disk, &base, small());
    let (mut next, mut from) = (0, 0);
    for _ in 0..6 {
        fill(&store, next, next + 100);
        next += 100;
        let end = full_until(&store);
        let some = cold(&store, from, end, |at| at % 50 == 0).unwrap();
        replace(&store, &some, from, end);
        from = end;
        let entry = Entry::LogStart {
            partition: PartitionId(9),
            offset: Offset(next),
        };
        store.append(commit(vec![entry], 0)).unwrap();
        while store.free_segments().unwrap().segments > 0 {}
    }
    let before = offsets(&store, 0);
    assert!(
        disk.list().unwrap().iter().all(|(id, _)| id.0 > 3),
        "the first are gone"
    );
    drop(store);
    let (store, _) = in_memory(&disk, &MemoryBase::new(), small());
    assert_eq!(offsets(&store, 0), before);
}

#[test]
fn what_was_not_adopted_goes() {
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    let (store, _) = in_memory(&disk, &base, small());
    fill(&store, 0, 100);
    let count = || disk.list().unwrap().len();
    let before = count();
    let some = cold(&store, 0, 20, |_| true).unwrap();
    assert_eq!(count(), before + 1);
    drop(some);
    assert_eq!(count(), before);
    // A process that ended before it could remove the file.
    std::mem::forget(cold(&store, 0, 20, |_| true).unwrap());
    std::mem::forget(store.begin_cold(10_000).unwrap());
    assert_eq!(count(), before + 2);
    drop(store);
    for base in [base, MemoryBase::new()] {
        let disk = disk.after_kill();
        let (store, report) = in_memory(&disk, &base, small());
        assert_eq!((report.torn_tail, report.holes.len()), (None, 0));
        assert_eq!(offsets(&store, 0), (0..100).collect::<Vec<_>>());
        assert_eq!(store.free_segments().unwrap().segments, 2);
        assert_eq!(disk.list().unwrap().len(), before);
        fill(&store, 100, 101);
    }
}

#[test]
fn a_full_disk_stops_a_cleaner_and_nothing_else() {
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    disk.set_faults(Faults {
        capacity: Some(256 << 10),
        ..Faults::default()
    });
    let (store, _) = in_memory(&disk, &base, small());
    fill(&store, 0, 150);
    let refused = cold(&store, 0, 100, |_| true).unwrap_err();
    assert!(matches!(refused, Error::Full), "{refused}");
    fill(&store, 150, 151);
    let some = cold(&store, 0, 100, |at| at > 95);
    assert_eq!(offsets(&store, 0), (0..151).collect::<Vec<_>>());
    drop(some);
}

#[test]
fn a_partition_that_was_dropped_meanwhile_stays_dropped() {
    for in_one_commit in [false, true] {
        let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
        let (store, _) = in_memory(&disk, &base, small());
        fill(&store, 0, 100);
        let some = cold(&store, 0, 20, |_| true).unwrap();
        let drop_it = Entry::Drop { partition: P };
        let replace = Entry::Replace {
            cold: some,
            partition: P,
            base: Offset(0),
            next: Offset(20),
            leader_epoch: None,
            is_compacted: false,
        };
        if in_one_commit {
            store.append(commit(vec![drop_it, replace], 0)).unwrap();
        } else {
            store.append(commit(vec![drop_it], 0)).unwrap();
            store.append(commit(vec![replace], 0)).unwrap();
        }
        let gone = |store: &Store| {
            assert_eq!(store.bounds(P).unwrap().next_offset, Offset(0));
            assert!(store.slices(P).unwrap().is_empty());
        };
        gone(&store);
        drop(store);
        let (store, _) = in_memory(&disk, &MemoryBase::new(), small());
        gone(&store);
    }
}

/// A segment that another one has already replaced must not be adopted again after it is gone.
#[test]
fn a_freed_cold_segment_is_not_adopted_again() {
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    let (store, _) = in_memory(&disk, &base, small());
    fill(&store, 0, 100);
    let some = cold(&store, 0, 20, |_| true).unwrap();
    replace(&store, &some, 0, 10);
    let start = |offset| Entry::LogStart {
        partition: P,
        offset: Offset(offset),
    };
    store.append(commit(vec![start(10)], 0)).unwrap();
    let id = |of: &Store| of.segments().unwrap().iter().any(|of| of.is_cold);
    assert!(id(&store));
    store.free_segments().unwrap();
    assert!(!id(&store));
    replace(&store, &some, 10, 20);
    assert_eq!(offsets(&store, 10), (10..100).collect::<Vec<_>>());
    assert!(store.live_slices(&[SegmentId(1)]).unwrap().len() == 2);
}

/// A compaction is cut off at each of its writes and syncs. Kept records are always there, removed
/// ones may be there or not, offsets do not change, and the log ends where it did.
#[test]
fn a_crash_at_any_write_leaves_what_was_or_what_is() {
    for power_cut in [false, true] {
        let mut writes = 0;
        loop {
            let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
            let (store, _) = in_memory(&disk, &base, small());
            fill(&store, 0, 150);
            store.close().unwrap();
            drop(store);
            let fuse = Fuse::default();
            disk.set_fuse(fuse.clone());
            let base = base.with_fuse(fuse.clone());
            let (store, _) = in_memory(&disk, &base, small());
            fuse.set(writes);
            let is_done = compact(&store).is_ok() && !fuse.is_blown();
            drop(store);
            let disk = if power_cut {
                // One write in three is lost, varying from run to run.
                let mut count = writes;
                disk.after_power_cut(&mut || {
                    count += 1;
                    count % 3 > 0
                })
            } else {
                disk.after_kill()
            };
            for base in [base.copy(), MemoryBase::new()] {
                let disk = disk.after_kill();
                let (store, report) = in_memory(&disk, &base, small());
                assert!(report.holes.is_empty(), "{writes}: {report:?}");
                let found = offsets(&store, 0);
                assert!(found.is_sorted(), "{writes}: {found:?}");
                let missing = |at: &i64| (at % 10 == 0 || *at > 140) && !found.contains(at);
                assert_eq!((0..150).find(missing), None, "{writes}: {found:?}");
                let bounds = store.bounds(P).unwrap();
                assert_eq!(bounds.next_offset, Offset(150), "{writes}");
                fill(&store, 150, 152);
                assert_eq!(offsets(&store, 150), [150, 151], "{writes}");
            }
            if is_done {
                assert!(writes > 10, "{writes} writes");
                break;
            }
            writes += 1;
        }
    }
}

/// Keeps every tenth record of the full segments, in two commits, and frees dead segments.
fn compact(store: &Store) -> Result<(), Error> {
    let end = full_until(store).min(140);
    let middle = store.slices(P)?[0].next_offset.0;
    for (from, until) in [(0, middle), (middle, end)] {
        let some = cold(store, from, until, |at| at % 10 == 0)?;
        let entry = Entry::Replace {
            cold: some,
            partition: P,
            base: Offset(from),
            next: Offset(until),
            leader_epoch: None,
            is_compacted: true,
        };
        store.append(commit(vec![entry], 0))?;
        store.free_segments()?;
    }
    store.flush_views()?;
    store.close()
}

/// A backup may have the row and not the segment: then it has the range that was to be replaced.
#[test]
fn a_row_without_its_cold_segment_takes_nothing() {
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    let (store, _) = in_memory(&disk, &base, small());
    fill(&store, 0, 100);
    let end = full_until(&store);
    let some = cold(&store, 0, end, |at| at % 7 == 0).unwrap();
    replace(&store, &some, 0, end);
    let segments = store.segments().unwrap();
    let id = segments.iter().find(|of| of.is_cold).unwrap().id;
    store.close().unwrap();
    drop(store);
    disk.remove(id).unwrap();
    let (store, _) = in_memory(&disk, &MemoryBase::new(), small());
    assert_eq!(offsets(&store, 0), (0..100).collect::<Vec<_>>());
}

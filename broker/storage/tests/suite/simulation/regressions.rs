//! Bugs that the simulation found, each reproduced as briefly as possible.

use std::sync::Arc;

use bytes::Bytes;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::Found;
use sedge_storage::disk::memory::{Faults, MemoryDisk};
use sedge_storage::limits::FLUSH_CALLS;
use sedge_storage::views::memory_base::MemoryBase;
use sedge_storage::{
    Cold, Entry, Error, LogStore, Options, SegmentId, Store, View, ViewReader, scan_segment,
};

use crate::bytes_of::{append, batch, commit, whole};
use crate::stores::{in_memory, small};

const P: PartitionId = PartitionId(5);
const Q: PartitionId = PartitionId(6);
const FAR: Offset = Offset(i64::MAX);
const FIRST: SegmentId = SegmentId(1);

/// Appends a batch of one record to each of the partitions.
fn append_to(store: &Store, offset: i64, partitions: &[PartitionId], bytes: usize) {
    let one = |of: &PartitionId| append(of.0, vec![batch(offset, 1, offset, bytes)]);
    let entries = partitions.iter().map(one).collect();
    store.append(commit(entries, 0)).unwrap();
}

fn forget_before(store: &Store, partition: PartitionId, offset: i64) {
    let offset = Offset(offset);
    let entry = Entry::LogStart { partition, offset };
    store.append(commit(vec![entry], 0)).unwrap();
}

fn offsets(store: &Store, partition: PartitionId, bytes: usize) -> Vec<i64> {
    let start = store.bounds(partition).unwrap().log_start;
    let read = store.read(partition, start, FAR, usize::MAX >> 1).unwrap();
    let base = |one: &[u8]| i64::from_be_bytes(*one.first_chunk().unwrap());
    read.concat().chunks(61 + bytes).map(base).collect()
}

/// Returns the positions of the frames in the first segment.
fn frames(disk: &MemoryDisk) -> Vec<u64> {
    let (_, found, _) = scan_segment(&disk.contents(FIRST).unwrap()).unwrap();
    let position = |found: &Found| match found {
        Found::Frame { position, .. } => Some(*position),
        _ => None,
    };
    found.iter().filter_map(position).collect()
}

/// Writes a partition's batches before `until` to a cold segment.
fn cold(store: &Store, partition: PartitionId, until: i64) -> Result<Cold, Error> {
    let mut writing = store.begin_cold(1000)?;
    let read = store.read(partition, Offset(0), Offset(until), usize::MAX >> 1)?;
    let mut read = Bytes::from(read.concat());
    while let Some(batch) = Batch::split_from(&mut read) {
        writing.push(partition, batch, 0)?;
    }
    writing.finish()
}

#[test]
fn what_is_replaced_was_synced_with_the_rest_of_its_commit() {
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    let (store, _) = in_memory(&disk, &base, small());
    append_to(&store, 0, &[P, Q], 100);
    let writing = store.begin_cold(1000).unwrap();
    disk.set_faults(Faults {
        sync_fails: true,
        ..Faults::default()
    });
    writing.finish().unwrap_err();
    disk.set_faults(Faults::default());
    let syncs = store.usage().syncs;
    cold(&store, Q, 1).unwrap();
    assert!(store.usage().syncs > syncs, "the commit too");
}

#[test]
fn views_that_a_power_cut_takes_back_do_not_need_what_was_freed() {
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    let (store, _) = in_memory(&disk, &base, small());
    append_to(&store, 0, &[P, Q], 100);
    for offset in 1..40 {
        append_to(&store, offset, &[P], 1000);
    }
    forget_before(&store, P, 39);
    let entry = Entry::Replace {
        cold: Arc::new(cold(&store, Q, 1).unwrap()),
        partition: Q,
        base: Offset(0),
        next: Offset(1),
        leader_epoch: None,
        is_compacted: false,
    };
    store.append(commit(vec![entry], 0)).unwrap();
    assert_eq!(store.free_segments().unwrap().segments, 1);
    let cut = base.cut_power(&mut |_| 0);
    drop(store);
    let (store, report) = in_memory(&disk.after_kill(), &cut, small());
    assert!(
        !report.views_rebuilt && report.holes.is_empty(),
        "{report:?}"
    );
    let end = store.view_get(View::Producers, &Q.0.to_be_bytes()).unwrap();
    assert_eq!(end, Some(1i64.to_be_bytes().to_vec()));
    assert_eq!(offsets(&store, Q, 100), [0]);
}

#[test]
fn what_a_failed_sync_gave_up_is_written_again_before_it_counts() {
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    let (store, _) = in_memory(&disk, &base, small());
    append_to(&store, 0, &[P], 100);
    store.sync().unwrap();
    append_to(&store, 1, &[P], 100);
    disk.set_faults(Faults {
        sync_fails: true,
        ..Faults::default()
    });
    store.sync().unwrap_err();
    drop(store);
    // The next process reads it, and reports it as present.
    let disk = disk.after_kill();
    let (store, _) = in_memory(&disk, &base, small());
    assert_eq!(offsets(&store, P, 100), [0, 1]);
    store.sync().unwrap();
    drop(store);
    let cut = disk.cut_power(&mut |_| 0);
    let (store, _) = in_memory(&cut, &base, small());
    assert_eq!(offsets(&store, P, 100), [0, 1]);
}

#[test]
fn a_damaged_head_costs_its_commit_and_no_other() {
    for (at, lost) in [(0, 0), (1, 1), (2, 2)] {
        let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
        let (store, _) = in_memory(&disk, &base, small());
        for offset in 0..3 {
            append_to(&store, offset, &[P], 1000);
        }
        let frame = frames(&disk)[at];
        store.close().unwrap();
        drop(store);
        // Opening checks the applied frame; so these are opened without marks.
        let (store, _) = in_memory(&disk, &base, small());
        disk.flip(FIRST, frame + 20, 1);
        let left: Vec<i64> = (0..3).filter(|offset| *offset != lost).collect();
        assert_eq!(offsets(&store, P, 1000), left);
        assert!(store.usage().damaged > 0);
        let after = store.read(P, Offset(lost), FAR, 1).unwrap().concat();
        assert_eq!(after.is_empty(), lost == 2);
    }
}

#[test]
fn a_damaged_batch_header_does_not_take_the_offsets_behind_it() {
    // The base offset, the length, the last offset delta.
    for field in [7, 10, 25] {
        let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
        let (store, _) = in_memory(&disk, &base, small());
        for offset in 0..3 {
            append_to(&store, offset, &[P], 1000);
        }
        disk.flip(FIRST, frames(&disk)[1] + 48 + 40 + field, 0x40);
        assert_eq!(offsets(&store, P, 1000), [0, 2], "{field}");
        store.close().unwrap();
        drop(store);
        let (store, _) = in_memory(&disk, &base, small());
        assert_eq!(offsets(&store, P, 1000), [0, 2], "{field}");
        drop(store);
        // In a rebuild, that batch's length must not lead out of its commit.
        let (store, report) = in_memory(&disk, &MemoryBase::new(), small());
        assert_eq!(offsets(&store, P, 1000), [0, 2], "{field}");
        assert!(!report.holes.is_empty());
    }
}

#[test]
fn a_frame_behind_a_hole_begins_where_it_begins() {
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    let options = Options {
        segment_bytes: 256 << 10,
        ..Options::default()
    };
    let (store, _) = in_memory(&disk, &base, options.clone());
    // The last frame is a whole page, so it begins at one.
    for (offset, bytes) in [(0, 1000), (1, 1000), (2, 4096 - 61 - 48 - 40)] {
        append_to(&store, offset, &[P], bytes);
        store.sync().unwrap();
    }
    let frames = frames(&disk);
    assert_eq!(frames[2] % 4096, 0, "{frames:?}");
    drop(store);
    disk.flip(FIRST, frames[1] + 200, 1);
    let (store, report) = in_memory(&disk, &MemoryBase::new(), options);
    assert_eq!(report.holes.len(), 1, "{report:?}");
    let read = store.read(P, Offset(1), FAR, 1).unwrap().concat();
    assert_eq!(read.first_chunk(), Some(&2i64.to_be_bytes()));
}

#[test]
fn a_footer_does_not_hide_a_hole() {
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    let (store, _) = in_memory(&disk, &base, small());
    append_to(&store, 0, &[P], 1000);
    append_to(&store, 1, &[P], 1000);
    store.close().unwrap();
    drop(store);
    // Opened behind it, so that the footer is made from a scan.
    let (store, _) = in_memory(&disk, &base, small());
    disk.flip(FIRST, frames(&disk)[0] + 200, 1);
    for offset in 2..40 {
        append_to(&store, offset, &[P], 1000);
    }
    store.close().unwrap();
    drop(store);
    let (_, report) = in_memory(&disk, &MemoryBase::new(), small());
    assert!(!report.holes.is_empty(), "{report:?}");
}

#[test]
fn offsets_that_were_acknowledged_are_not_given_out_again() {
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    let (store, _) = in_memory(&disk, &base, small());
    append_to(&store, 0, &[P, Q], 1000);
    (0..FLUSH_CALLS).for_each(|_| store.flush_views().unwrap());
    append_to(&store, 1, &[P, Q], 1000);
    for offset in 2..40 {
        append_to(&store, offset, &[P], 1000);
    }
    store.sync().unwrap();
    drop(store);
    // Q's last batch rots in a segment that is sealed and not yet in the views.
    disk.flip(FIRST, frames(&disk)[1] + 200, 1);
    let (store, report) = in_memory(&disk, &base, small());
    assert_eq!(report.holes.len(), 1, "{report:?}");
    assert_eq!(store.bounds(Q).unwrap().next_offset, Offset(2));
    append_to(&store, 2, &[Q], 1000);
    assert_eq!(offsets(&store, Q, 1000), [0, 2]);
    let read = store.read(Q, Offset(2), FAR, 1).unwrap().concat();
    assert_eq!(read, whole(&batch(2, 1, 2, 1000)));
}

#[test]
fn a_replacement_that_a_later_one_cut_short_is_carried_with_the_rest_of_it() {
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    let (store, _) = in_memory(&disk, &base, small());
    for offset in 0..6 {
        append_to(&store, offset, &[P], 100);
    }
    // All of the range, and then its first half again.
    for next in [6, 3] {
        store.roll().unwrap();
        let mut cold = store.begin_cold(10_000).unwrap();
        for offset in 0..next {
            cold.push(P, batch(offset, 1, offset, 100), 0).unwrap();
        }
        let entry = Entry::Replace {
            cold: Arc::new(cold.finish().unwrap()),
            partition: P,
            base: Offset(0),
            next: Offset(next),
            leader_epoch: None,
            is_compacted: false,
        };
        store.append(commit(vec![entry], 0)).unwrap();
    }
    store.roll().unwrap();
    append_to(&store, 0, &[Q], 100);
    assert!(store.free_segments().unwrap().segments > 1);
    assert_eq!(offsets(&store, P, 100), [0, 1, 2, 3, 4, 5]);
    drop(store);
    let (store, _) = in_memory(&disk, &MemoryBase::new(), small());
    assert_eq!(offsets(&store, P, 100), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_log_start_is_carried_when_what_it_follows_from_is_synced() {
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    let (store, _) = in_memory(&disk, &base, small());
    append_to(&store, 0, &[P], 1000);
    forget_before(&store, P, 1);
    store.roll().unwrap();
    append_to(&store, 1, &[P], 1000);
    store.sync().unwrap();
    forget_before(&store, P, 2);
    let before = store.usage().log_bytes_written;
    disk.set_faults(Faults {
        sync_fails: true,
        ..Faults::default()
    });
    store.free_segments().unwrap_err();
    assert_eq!(store.usage().log_bytes_written, before, "nothing carried");
}

#[test]
fn a_piece_of_a_header_is_no_lost_segment() {
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    let (store, _) = in_memory(&disk, &base, small());
    disk.set_faults(Faults {
        write_fails: true,
        write_keeps: 19,
        ..Faults::default()
    });
    store
        .append(commit(vec![append(P.0, vec![batch(0, 1, 0, 100)])], 0))
        .unwrap_err();
    drop(store);
    // The power cut undoes the removal of the file, and keeps its written bytes.
    let mut is_removal = true;
    let cut = disk.cut_power(&mut |states| {
        if std::mem::take(&mut is_removal) {
            0
        } else {
            states - 1
        }
    });
    let (store, report) = in_memory(&cut, &base, small());
    assert_eq!(report.holes, []);
    append_to(&store, 0, &[P], 100);
    assert_eq!(offsets(&store, P, 100), [0]);
}

#[test]
fn a_dropped_partition_does_not_come_back_with_the_file_that_was_removed_last() {
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    let (store, _) = in_memory(&disk, &base, small());
    // The older segment has more rows than the one with the drop, so that it is listed behind it.
    append_to(&store, 0, &[P, Q], 100);
    forget_before(&store, Q, 0);
    forget_before(&store, Q, 1);
    store.roll().unwrap();
    let drop_p = Entry::Drop { partition: P };
    store.append(commit(vec![drop_p], 0)).unwrap();
    store.roll().unwrap();
    append_to(&store, 1, &[Q], 100);
    store.sync().unwrap();
    assert_eq!(store.free_segments().unwrap().segments, 2);
    drop(store);
    let mut is_removal = true;
    let cut = disk.cut_power(&mut |states| {
        if std::mem::take(&mut is_removal) {
            assert_eq!(states, 3, "both files are removed");
            1
        } else {
            states - 1
        }
    });
    let (store, _) = in_memory(&cut, &MemoryBase::new(), small());
    assert_eq!(store.bounds(P).unwrap().next_offset, Offset(0));
}

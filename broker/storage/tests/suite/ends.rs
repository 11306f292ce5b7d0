//! Log ends after the last batches are lost: offsets that were assigned once are not assigned
//! again.

use std::os::unix::fs::FileExt;
use std::path::Path;

use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::backup::{BackupOptions, back_up};
use sedge_storage::disk::Disk;
use sedge_storage::disk::memory::MemoryDisk;
use sedge_storage::doctor::{Doctor, Repair};
use sedge_storage::limits::FLUSH_CALLS;
use sedge_storage::views::memory_base::MemoryBase;
use sedge_storage::{Entry, LogStore, LostRange, OpenReport, SegmentId, Store};

use crate::bytes_of::{append, batch, commit, whole};
use crate::doctor::{Nothing, examine};
use crate::stores::{Directory, in_memory, on_disk, small};

const P: PartitionId = PartitionId(5);
const OTHER: PartitionId = PartitionId(9);
const FAR: Offset = Offset(i64::MAX);
const FIRST: SegmentId = SegmentId(1);
/// Bytes of a frame: head, one row, and a batch with 1000 bytes of records.
const FRAME: u64 = 48 + 40 + 61 + 1000;

/// Positions in a frame at which a flipped bit damages the head, or the batch.
const IN_HEAD: u64 = 10;
const IN_BATCH: u64 = 500;

/// Returns the position of a byte of a frame in the first segment.
const fn at(frame: u64, byte: u64) -> u64 {
    64 + frame * FRAME + byte
}

fn append_to(store: &Store, partition: PartitionId, offset: i64) {
    let one = append(partition.0, vec![batch(offset, 1, offset, 1000)]);
    store.append(commit(vec![one], 0)).unwrap();
}

/// Appends some batches of P, and then one of another partition.
fn fill(store: &Store, batches: i64) {
    (0..batches).for_each(|offset| append_to(store, P, offset));
    append_to(store, OTHER, 0);
}

const fn lost(base: i64, next: i64) -> LostRange {
    LostRange {
        partition: P,
        base_offset: Offset(base),
        next_offset: Offset(next),
    }
}

fn told(report: &OpenReport) -> Vec<LostRange> {
    let holes = report.holes.iter().flat_map(|hole| &hole.lost);
    holes.copied().collect()
}

fn listed(store: &Store) -> Vec<LostRange> {
    let places = store.damaged().into_iter();
    places.flat_map(|place| place.lost).collect()
}

/// Checks that the log of P ends at `next`, and that a consumer at `from` gets the next batch.
fn check_goes_on(store: &Store, from: i64, next: i64) {
    assert_eq!(store.bounds(P).unwrap().next_offset, Offset(next));
    append_to(store, P, next);
    let read = store.read(P, Offset(from), FAR, 1).unwrap().concat();
    assert_eq!(read, whole(&batch(next, 1, next, 1000)));
}

fn flip(data: &Path, position: u64) {
    let path = data.join("segments/0000000001.seg");
    let file = std::fs::File::options().read(true).write(true).open(path);
    let (file, mut byte) = (file.unwrap(), [0]);
    file.read_exact_at(&mut byte, position).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], position).unwrap();
}

/// Only the head of the damaged frame states the log end of P: there is no later frame of P, and no
/// footer.
#[test]
fn offsets_that_rotted_at_the_end_of_a_log_are_not_given_out_again() {
    let directory = Directory::new();
    let data = directory.path();
    let (store, _) = on_disk(data, small());
    fill(&store, 2);
    store.close().unwrap();
    drop(store);
    flip(data, at(1, IN_BATCH));
    // At the second start, the place is on the list of damage.
    for start in 0..2 {
        std::fs::remove_dir_all(data.join("views")).unwrap();
        let (store, report) = on_disk(data, small());
        assert_eq!(store.bounds(P).unwrap().next_offset, Offset(2));
        let expected = if start == 0 { vec![lost(1, 2)] } else { vec![] };
        assert_eq!(told(&report), expected, "start {start}");
        assert_eq!(listed(&store), [lost(1, 2)], "start {start}");
        store.close().unwrap();
    }
    let report = examine(data);
    assert!(report.is_clean(), "{:?}", report.findings);
    std::fs::remove_dir_all(data.join("views")).unwrap();
    let (store, _) = on_disk(data, small());
    check_goes_on(&store, 1, 2);
}

#[test]
fn each_whole_head_in_a_hole_tells_where_a_log_ended() {
    // The first frame of the hole has a damaged head, or a whole one.
    for first in [IN_HEAD, IN_BATCH] {
        for with_views in [true, false] {
            let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
            let (store, _) = in_memory(&disk, &base, small());
            append_to(&store, P, 0);
            (0..FLUSH_CALLS).for_each(|_| store.flush_views().unwrap());
            (1..3).for_each(|offset| append_to(&store, P, offset));
            append_to(&store, OTHER, 0);
            drop(store);
            disk.flip(FIRST, at(1, first), 0x10);
            disk.flip(FIRST, at(2, IN_BATCH), 0x10);
            let base = if with_views { base } else { MemoryBase::new() };
            let (store, report) = in_memory(&disk, &base, small());
            assert_eq!(told(&report), [lost(1, 3)], "{report:?}");
            assert_eq!(report.views_rebuilt, !with_views);
            check_goes_on(&store, 1, 3);
        }
    }
}

/// When the segment with the head is removed, its log end is written again: for a segment without a
/// footer, and for one that was sealed before the damage.
#[test]
fn a_log_that_ended_in_damage_ends_there_when_the_segment_is_freed() {
    for is_sealed in [false, true] {
        let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
        let (store, _) = in_memory(&disk, &base, small());
        append_to(&store, P, 0);
        (0..FLUSH_CALLS).for_each(|_| store.flush_views().unwrap());
        append_to(&store, P, 1);
        append_to(&store, OTHER, 0);
        let mut next = 1;
        let until = |store: &Store, next: &mut i64, segments| {
            while disk.list().unwrap().len() < segments {
                append_to(store, OTHER, *next);
                *next += 1;
            }
            store.sync().unwrap();
        };
        if is_sealed {
            until(&store, &mut next, 2);
        }
        drop(store);
        disk.flip(FIRST, at(1, IN_BATCH), 0x10);
        let (store, _) = in_memory(&disk, &base, small());
        until(&store, &mut next, 3);
        for (partition, offset) in [(P, 1), (OTHER, next)] {
            let offset = Offset(offset);
            let start = Entry::LogStart { partition, offset };
            store.append(commit(vec![start], 0)).unwrap();
        }
        while store.free_segments().unwrap().segments > 0 {}
        assert!(disk.contents(FIRST).is_none());
        // Remove the segment with the row that was written again, too.
        until(&store, &mut next, 3);
        let offset = Offset(next);
        let start = Entry::LogStart {
            partition: OTHER,
            offset,
        };
        store.append(commit(vec![start], 0)).unwrap();
        while store.free_segments().unwrap().segments > 0 {}
        store.close().unwrap();
        drop(store);
        let (store, _) = in_memory(&disk, &MemoryBase::new(), small());
        assert_eq!(store.bounds(P).unwrap().log_start, Offset(1));
        check_goes_on(&store, 1, 2);
    }
}

/// The footer of the sealed segment is all that states the log end, and the list of damage is lost.
#[test]
fn a_segment_with_the_last_end_of_a_log_tells_it_without_the_list_of_damage() {
    let second = SegmentId(2);
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    let (store, _) = in_memory(&disk, &base, small());
    append_to(&store, P, 0);
    store.roll().unwrap();
    (0..FLUSH_CALLS).for_each(|_| store.flush_views().unwrap());
    append_to(&store, P, 1);
    let mut next = 0;
    while disk.list().unwrap().len() < 4 {
        append_to(&store, OTHER, next);
        next += 1;
    }
    store.sync().unwrap();
    drop(store);
    disk.flip(second, at(0, IN_BATCH), 0x10);
    let (store, report) = in_memory(&disk, &base, small());
    assert_eq!(told(&report), [lost(1, 2)]);
    store.close().unwrap();
    drop(store);
    // A disk in memory has no place for the list.
    let (store, report) = in_memory(&disk, &base, small());
    assert!(!report.views_rebuilt && listed(&store).is_empty());
    let entry = Entry::LogStart {
        partition: OTHER,
        offset: Offset(next),
    };
    store.append(commit(vec![entry], 0)).unwrap();
    while store.free_segments().unwrap().segments > 0 {}
    assert!(disk.contents(second).is_none());
    store.close().unwrap();
    drop(store);
    let (store, _) = in_memory(&disk, &MemoryBase::new(), small());
    check_goes_on(&store, 1, 2);
}

/// The batches that had the epoch are lost, and the log start behind them has it.
#[test]
fn a_log_start_keeps_the_epoch_of_batches_that_are_lost() {
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    let (store, _) = in_memory(&disk, &base, small());
    append_to(&store, P, 0);
    append_to(&store, P, 1);
    let epoch = store.bounds(P).unwrap().leader_epoch;
    assert!(epoch.is_some());
    let (partition, offset) = (P, Offset(1));
    let start = Entry::LogStart { partition, offset };
    store.append(commit(vec![start], 0)).unwrap();
    append_to(&store, OTHER, 0);
    store.sync().unwrap();
    drop(store);
    (0..2).for_each(|frame| disk.flip(FIRST, at(frame, IN_BATCH), 0x10));
    let (store, _) = in_memory(&disk, &MemoryBase::new(), small());
    let bounds = store.bounds(P).unwrap();
    assert_eq!(bounds.log_start..bounds.next_offset, Offset(1)..Offset(2));
    assert_eq!(bounds.leader_epoch, epoch);
}

/// No whole frame follows, so none of its records was acknowledged as durable.
#[test]
fn a_torn_frame_at_the_end_of_the_log_is_cut_with_its_offsets() {
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    let (store, _) = in_memory(&disk, &base, small());
    append_to(&store, OTHER, 0);
    append_to(&store, P, 0);
    append_to(&store, P, 1);
    drop(store);
    disk.flip(FIRST, at(2, IN_BATCH), 0x10);
    let (store, report) = in_memory(&disk, &MemoryBase::new(), small());
    assert!(report.torn_tail.is_some() && report.holes.is_empty());
    check_goes_on(&store, 1, 1);
}

#[test]
fn a_backup_ends_logs_where_the_original_does() {
    let directory = Directory::new();
    let data = directory.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let (store, _) = on_disk(&data, small());
    fill(&store, 2);
    store.close().unwrap();
    drop(store);
    flip(&data, at(1, IN_BATCH));
    let target = directory.path().join("backup");
    back_up(&data, &target, BackupOptions::default()).unwrap();
    let (store, report) = on_disk(&target, small());
    assert_eq!(told(&report), [lost(1, 2)]);
    check_goes_on(&store, 1, 2);
}

/// Damage that the doctor lists before any start has seen it must not hide a log end.
#[test]
fn damage_that_the_doctor_accepted_ends_logs_where_a_start_would() {
    for byte in [IN_HEAD, IN_BATCH] {
        let directory = Directory::new();
        let data = directory.path();
        let (store, _) = on_disk(data, small());
        fill(&store, 3);
        store.close().unwrap();
        drop(store);
        flip(data, at(1, byte));
        flip(data, at(2, IN_BATCH));
        let found = Doctor::open(data).unwrap();
        let report = found.examine(&mut Nothing).unwrap();
        assert!(!report.is_clean());
        for repair in [Repair::Damage, Repair::Views] {
            found.repair(repair, &report).unwrap();
        }
        drop(found);
        let (store, _) = on_disk(data, small());
        assert_eq!(store.bounds(P).unwrap().next_offset, Offset(3));
        store.close().unwrap();
        drop(store);
        let report = examine(data);
        let wrong = report.findings.iter().filter(|of| of.is_wrong()).count();
        assert_eq!(wrong, 0, "{:?}", report.findings);
        let (store, _) = on_disk(data, small());
        check_goes_on(&store, 1, 3);
    }
}

//! Tests a disk that is full, read-only, damaged, or fails to sync, and views that cannot be
//! written.

use rustix::io::Errno;
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::disk::Disk;
use sedge_storage::disk::memory::{Faults, MemoryDisk};
use sedge_storage::limits::{FLUSH_CALLS, FREEING_ROWS_MAX};
use sedge_storage::views::memory_base::MemoryBase;
use sedge_storage::{
    Entry, Error, LogStore, LostRange, Options, Room, SegmentId, Urgency, scan_segment,
};

use crate::bytes_of::{append, batch, commit, whole};
use crate::stores::{in_memory, small};

const P: PartitionId = PartitionId(5);
const FAR: Offset = Offset(i64::MAX);

fn freeing(rows: u64) -> Room {
    Room {
        batch_bytes: 0,
        rows,
        urgency: Urgency::Upkeep,
    }
}

fn append_one(store: &dyn LogStore, offset: i64) -> Result<(), Error> {
    store.reserve(Room::ordinary(1061, 1))?;
    store.append(commit(
        vec![append(P.0, vec![batch(offset, 1, offset, 1000)])],
        0,
    ))?;
    Ok(())
}

fn all(store: &dyn LogStore) -> usize {
    let start = store.bounds(P).unwrap().log_start;
    store
        .read(P, start, FAR, usize::MAX >> 1)
        .unwrap()
        .concat()
        .len()
        / 1061
}

#[test]
fn a_full_disk_is_an_answer_and_is_over_when_there_is_room() {
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    disk.set_faults(Faults {
        capacity: Some(200 << 10),
        ..Faults::default()
    });
    let (store, _) = in_memory(&disk, &base, small());
    let mut written = 0;
    let full = loop {
        match append_one(&store, written) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, Error::Full), "{full}");
    assert!(written > 100);
    assert_eq!(all(&store), written as usize, "reads go on");
    assert_eq!(store.bounds(P).unwrap().next_offset, Offset(written));

    // Deleting must be possible on a full disk.
    let entry = Entry::LogStart {
        partition: P,
        offset: Offset(written - 10),
    };
    store.append(commit(vec![entry], 0)).unwrap();
    assert!(store.free_segments().unwrap().bytes > 100_000);
    for offset in written..written + 20 {
        append_one(&store, offset).unwrap();
    }
    assert_eq!(all(&store), 30);
}

/// With thousands of partitions in each segment, the rows of log starts take more than a page: a
/// reserved commit finds its room, and any other is refused before anything is written.
#[test]
fn a_full_disk_of_many_partitions_is_emptied_row_by_row() {
    const PARTITIONS: u32 = 6_000;
    const BATCH_BYTES: i64 = 1_061;
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    let options = Options {
        segment_bytes: 8 << 20,
        ..small()
    };
    disk.set_faults(Faults {
        capacity: Some(2 * options.segment_bytes + 1_000),
        ..Faults::default()
    });
    let (store, _) = in_memory(&disk, &base, options);
    let all: Vec<u32> = (1..=PARTITIONS).collect();
    let mut written = 0;
    let full = 'fill: loop {
        for some in all.chunks(1_000) {
            let one = |id: &u32| append(*id, vec![batch(written, 1, 0, BATCH_BYTES as usize - 61)]);
            let rows = some.len() as u64;
            if let Err(error) = store.reserve(Room::ordinary(rows * BATCH_BYTES as u64, rows)) {
                break 'fill error;
            }
            store
                .append(commit(some.iter().map(one).collect(), 0))
                .expect("it was reserved");
        }
        written += 1;
    };
    assert!(matches!(full, Error::Full), "{full}");
    assert!(written >= 2, "each segment has some of each partition");
    // A commit with too many rows is refused, and the log stays unchanged.
    let usage = store.usage();
    let rows = usage.segment_bytes / 40;
    assert!(matches!(store.reserve(freeing(rows)), Err(Error::Full)));
    assert_eq!(store.usage().segments, usage.segments);
    for some in all.chunks(FREEING_ROWS_MAX) {
        store.reserve(freeing(some.len() as u64)).unwrap();
        let entry = |id: &u32| Entry::LogStart {
            partition: PartitionId(*id),
            offset: Offset(written),
        };
        let entries = some.iter().map(entry).collect();
        store.append(commit(entries, 0)).expect("it was reserved");
    }
    assert_eq!(store.free_segments().unwrap().segments, 1);
    store.reserve(Room::ordinary(1 << 20, 1)).unwrap();
    let start = store.bounds(PartitionId(PARTITIONS)).unwrap().log_start;
    assert_eq!(start, Offset(written));

    // The start after a kill has room too, even if others took the space that the kill freed.
    let disk = disk.after_kill();
    let used: u64 = disk.list().unwrap().iter().map(|(_, bytes)| bytes).sum();
    disk.set_faults(Faults {
        capacity: Some(used),
        ..Faults::default()
    });
    let (store, _) = in_memory(&disk, &base, small());
    store.reserve(freeing(FREEING_ROWS_MAX as u64)).unwrap();
    assert_eq!(
        store.bounds(PartitionId(1)).unwrap().log_start,
        Offset(written)
    );
}

#[test]
fn a_process_out_of_descriptors_or_memory_is_refused_and_not_broken() {
    let of = |errno: Errno| Error::Io {
        doing: "create a segment",
        source: errno.into(),
    };
    for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN] {
        assert!(of(errno).is_refusal(), "{errno}");
    }
    assert!(!of(Errno::IO).is_refusal());
    assert!(Error::Full.is_refusal() && Error::ReadOnly.is_refusal());
    assert!(!Error::Poisoned.is_refusal());
}

#[test]
fn a_full_disk_is_emptied_though_the_views_cannot_be_flushed() {
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    disk.set_faults(Faults {
        capacity: Some(200 << 10),
        ..Faults::default()
    });
    let (store, _) = in_memory(&disk, &base, small());
    let mut written = 0;
    while append_one(&store, written).is_ok() {
        written += 1;
        if written == 100 {
            store.flush_views().unwrap();
            (0..FLUSH_CALLS).for_each(|_| store.flush_views().unwrap());
        }
    }
    base.set_failing(true);
    let entry = Entry::LogStart {
        partition: P,
        offset: Offset(written - 10),
    };
    store.reserve(freeing(1)).unwrap();
    store.append(commit(vec![entry], 0)).unwrap();
    assert!(store.free_segments().unwrap().bytes >= 2 * (32 << 10));
    append_one(&store, written).unwrap();
    assert_eq!(all(&store), 11);
    drop(store);

    base.set_failing(false);
    let (store, report) = in_memory(&disk, &base, small());
    assert!(
        !report.views_rebuilt && report.holes.is_empty(),
        "{report:?}"
    );
    assert_eq!(all(&store), 11);
}

#[test]
fn a_read_only_volume_is_an_answer() {
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    let (store, _) = in_memory(&disk, &base, small());
    append_one(&store, 0).unwrap();
    disk.set_faults(Faults {
        read_only: true,
        ..Faults::default()
    });
    // Refused even if the active segment would have room.
    for room in [
        Room::ordinary(100_000, 1),
        Room::ordinary(10, 1),
        freeing(1),
    ] {
        let error = store.reserve(room).unwrap_err();
        assert!(matches!(error, Error::ReadOnly), "{error}");
    }
    assert_eq!(all(&store), 1);
    disk.set_faults(Faults::default());
    append_one(&store, 1).unwrap();
}

#[test]
fn a_failed_sync_is_final() {
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    let (store, _) = in_memory(&disk, &base, small());
    append_one(&store, 0).unwrap();
    disk.set_faults(Faults {
        sync_fails: true,
        ..Faults::default()
    });
    assert!(matches!(store.sync().unwrap_err(), Error::Io { .. }));
    disk.set_faults(Faults::default());
    assert!(matches!(store.sync().unwrap_err(), Error::Poisoned));
    assert!(matches!(
        append_one(&store, 1).unwrap_err(),
        Error::Poisoned
    ));
    assert_eq!(all(&store), 1, "reads go on");
}

#[test]
fn a_failed_write_is_final() {
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    let (store, _) = in_memory(&disk, &base, small());
    append_one(&store, 0).unwrap();
    disk.set_faults(Faults {
        write_fails: true,
        ..Faults::default()
    });
    assert!(matches!(
        append_one(&store, 1).unwrap_err(),
        Error::Io { .. }
    ));
    disk.set_faults(Faults::default());
    assert!(matches!(
        append_one(&store, 1).unwrap_err(),
        Error::Poisoned
    ));
    drop(store);
    let (store, report) = in_memory(&disk, &base, small());
    assert_eq!((report.torn_tail, all(&store)), (None, 1));
}

#[test]
fn failing_views_stop_nothing_until_too_much_waits() {
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    let options = sedge_storage::Options {
        segment_bytes: 1 << 20,
        ..small()
    };
    let (store, _) = in_memory(&disk, &base, options);
    base.set_failing(true);
    let mut offset = 0;
    let error = loop {
        // Runs of a new partition each time need many pending entries.
        let entries: Vec<_> = (0..500)
            .map(|n| append(offset as u32 * 500 + n, vec![batch(0, 1, 0, 1)]))
            .collect();
        if let Err(error) = store.reserve(Room::ordinary(500 * 62, 500)) {
            break error;
        }
        store.append(commit(entries, 0)).unwrap();
        offset += 1;
    };
    assert!(matches!(error, Error::Full), "{error}");
    assert!(store.usage().degraded);
    assert_eq!(
        store.bounds(PartitionId(499)).unwrap().next_offset,
        Offset(1)
    );
    base.set_failing(false);
    store.flush_views().unwrap();
    store.reserve(Room::ordinary(500 * 62, 500)).unwrap();
    assert!(!store.usage().degraded);
    let last = PartitionId(offset as u32 * 500 - 1);
    assert_eq!(
        store.read(last, Offset(0), FAR, 100).unwrap().concat(),
        whole(&batch(0, 1, 0, 1))
    );
}

#[test]
fn a_torn_last_frame_is_cut_and_does_not_come_back() {
    for keep in [0, 1, 47, 48, 60, 500, 1100] {
        let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
        let (store, _) = in_memory(&disk, &base, small());
        for offset in 0..3 {
            append_one(&store, offset).unwrap();
        }
        drop(store);
        // The frames are 1149 bytes each, behind the header of 64.
        for position in 64 + 2 * 1149 + keep..64 + 3 * 1149 {
            let byte = disk.contents(SegmentId(1)).unwrap()[position as usize];
            disk.flip(SegmentId(1), position, byte);
        }
        let (store, report) = in_memory(&disk, &base, small());
        assert_eq!(report.torn_tail.is_some(), keep > 0, "{keep}: {report:?}");
        assert_eq!(report.holes, []);
        assert_eq!(all(&store), 2);
        append_one(&store, 2).unwrap();
        drop(store);
        let (store, report) = in_memory(&disk, &base, small());
        assert_eq!((report.torn_tail, all(&store)), (None, 3));
    }
}

#[test]
fn bit_rot_is_a_hole_and_what_is_behind_it_stays() {
    let lost = LostRange {
        partition: P,
        base_offset: Offset(1),
        next_offset: Offset(2),
    };
    // In the head, in the table, in the batch.
    for at in [10, 60, 500] {
        let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
        let (store, _) = in_memory(&disk, &base, small());
        for offset in 0..4 {
            append_one(&store, offset).unwrap();
        }
        drop(store);
        disk.flip(SegmentId(1), 64 + 1149 + at, 0x10);
        let (store, report) = in_memory(&disk, &base, small());
        let [hole] = &report.holes[..] else {
            panic!("{report:?}")
        };
        assert_eq!((hole.position, hole.bytes), (64 + 1149, 1149));
        assert_eq!(hole.lost, [lost], "at {at}");
        assert_eq!(all(&store), 3);
        assert_eq!(
            store.read(P, Offset(1), FAR, 1).unwrap().concat(),
            whole(&batch(2, 1, 2, 1000))
        );
    }
}

#[test]
fn views_ahead_of_the_log_are_made_again() {
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    let (store, _) = in_memory(&disk, &base, small());
    for offset in 0..4 {
        append_one(&store, offset).unwrap();
    }
    store.close().unwrap();
    drop(store);
    // The disk claimed to have synced, and had not.
    for position in 64 + 2 * 1149..64 + 4 * 1149 {
        let byte = disk.contents(SegmentId(1)).unwrap()[position as usize];
        disk.flip(SegmentId(1), position, byte);
    }
    let (store, report) = in_memory(&disk, &base, small());
    assert!(report.lost_tail && report.views_rebuilt);
    assert_eq!(all(&store), 2);
    assert_eq!(store.bounds(P).unwrap().next_offset, Offset(2));
}

#[test]
fn the_newest_append_clock_is_found_again() {
    for views in [true, false] {
        let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
        let (store, report) = in_memory(&disk, &base, small());
        assert_eq!(report.newest_append_ms, None);
        // The largest time and not the last: a moved batch keeps its time.
        for (offset, append_ms) in (0..).zip([5, 900, 7, 8]) {
            let entries = vec![append(P.0, vec![batch(offset, 1, 0, 20_000)])];
            store.append(commit(entries, append_ms)).unwrap();
        }
        store.close().unwrap();
        drop(store);
        let base = if views { base } else { MemoryBase::new() };
        for _ in 0..2 {
            let (_, report) = in_memory(&disk, &base, small());
            assert_eq!(report.newest_append_ms, Some(900), "views: {views}");
        }
    }
}

#[test]
fn a_record_that_looks_like_a_frame_is_no_frame() {
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    let (store, _) = in_memory(&disk, &base, small());
    append_one(&store, 0).unwrap();
    let frame = disk.contents(SegmentId(1)).unwrap()[64..64 + 1149].to_vec();
    drop(store);
    // Another log's frame, as the body of a batch in a log with another generation.
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    let (store, _) = in_memory(&disk, &base, small());
    let mut evil = batch(0, 1, 0, frame.len());
    evil.body = frame.into();
    store
        .append(commit(vec![append(9, vec![evil])], 0))
        .unwrap();
    drop(store);
    disk.flip(SegmentId(1), 64 + 20, 1);
    let (store, report) = in_memory(&disk, &base, small());
    assert!(report.torn_tail.is_some() && report.holes.is_empty());
    assert_eq!(store.bounds(P).unwrap().next_offset, Offset(0));
}

#[test]
fn a_segment_scans_from_bytes() {
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    let (store, _) = in_memory(&disk, &base, small());
    for offset in 0..60 {
        append_one(&store, offset).unwrap();
    }
    store.sync().unwrap();
    let bytes = disk.contents(SegmentId(1)).unwrap();
    let (header, found, footer) = scan_segment(&bytes).unwrap();
    let footer = footer.unwrap();
    assert_eq!((header.id, header.first_sequence.0), (SegmentId(1), 1));
    assert_eq!(
        found.len() as u64,
        footer.last_sequence.0 + 1,
        "frames and the end"
    );
    assert_eq!(
        footer
            .runs
            .iter()
            .map(|of| u64::from(of.run.bytes))
            .sum::<u64>()
            % 1061,
        0
    );
    for at in 0..bytes.len() {
        assert!(scan_segment(&bytes[..at.min(200)]).is_none_or(|(_, found, _)| found.len() == 1));
    }
}

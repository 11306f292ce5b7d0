//! Tests rebuilding the views of many partitions.

use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::disk::memory::MemoryDisk;
use sedge_storage::views::memory_base::MemoryBase;
use sedge_storage::{Entry, LogStore, Options, Room, Store, View, ViewReader};

use crate::bytes_of::{append, batch, commit, whole};
use crate::stores::in_memory;

const BODY_BYTES: usize = 300;

fn options() -> Options {
    Options {
        segment_bytes: 256 << 10,
        ..Options::default()
    }
}

/// Writes one commit with a batch for each of `partitions`.
fn append_to_all(store: &Store, partitions: u32, offset: i64) {
    let entries = (1..=partitions)
        .map(|partition| append(partition, vec![batch(offset, 1, offset, BODY_BYTES)]))
        .collect();
    store.reserve(Room::ordinary(1 << 20, 1)).unwrap();
    store.append(commit(entries, offset)).unwrap();
}

/// 100,000 partitions took more than half a minute: the table of a commit was read again for each
/// of its partitions.
#[test]
fn each_commit_of_many_partitions_is_read_once_for_all_of_them() {
    const PARTITIONS: u32 = 400;
    const COMMITS: i64 = 30;
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    let (store, _) = in_memory(&disk, &base, options());
    for offset in 0..COMMITS {
        append_to_all(&store, PARTITIONS, offset);
    }
    // Some logs have lost their beginning, and one partition is dropped.
    let mut entries: Vec<Entry> = (1..10)
        .map(|partition| Entry::LogStart {
            partition: PartitionId(partition),
            offset: Offset(20),
        })
        .collect();
    entries.push(Entry::Drop {
        partition: PartitionId(PARTITIONS),
    });
    store.append(commit(entries, COMMITS)).unwrap();
    let stored = store.usage().disk_bytes;
    store.close().unwrap();
    let expected = |store: &Store, partition: u32| {
        let mut found = Vec::new();
        store
            .view_scan(
                View::Producers,
                &partition.to_be_bytes(),
                &mut |key, value| {
                    found.push((key.to_vec(), value.to_vec()));
                },
            )
            .unwrap();
        found
    };
    let before: Vec<_> = (1..=PARTITIONS).map(|of| expected(&store, of)).collect();
    drop(store);

    let disk = disk.after_kill();
    let (store, report) = in_memory(&disk, &MemoryBase::new(), options());
    assert!(report.views_rebuilt && report.holes.is_empty());
    let read = disk.bytes_read();
    assert!(read < 4 * stored, "{read} bytes read of {stored}");
    let after: Vec<_> = (1..=PARTITIONS).map(|of| expected(&store, of)).collect();
    assert!(before == after, "the caller's views differ");
    for partition in [1, 10, PARTITIONS - 1] {
        let bounds = store.bounds(PartitionId(partition)).unwrap();
        let start = if partition < 10 { 20 } else { 0 };
        assert_eq!((bounds.log_start.0, bounds.next_offset.0), (start, COMMITS));
        let (from, until) = (Offset(start), Offset(COMMITS));
        let read = store.read(PartitionId(partition), from, until, usize::MAX >> 1);
        let wanted: Vec<u8> = (start..COMMITS)
            .flat_map(|offset| whole(&batch(offset, 1, offset, BODY_BYTES)))
            .collect();
        assert!(read.unwrap().concat() == wanted, "partition {partition}");
    }
}

//! Bit rot found while the store is open.

use sedge_protocol::batch::BatchHeader;
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::disk::memory::MemoryDisk;
use sedge_storage::scan::Found;
use sedge_storage::views::memory_base::MemoryBase;
use sedge_storage::{Chunk, LogStore, ScrubCursor, Scrubbed, SegmentId, Store, Wait, scan_segment};

use crate::bytes_of::{append, batch, commit, whole};
use crate::stores::{in_memory, small};

const P: PartitionId = PartitionId(5);
const Q: PartitionId = PartitionId(8);
const FAR: Offset = Offset(i64::MAX);

fn filled(disk: &MemoryDisk, views: &MemoryBase) -> Store {
    let (store, _) = in_memory(disk, views, small());
    for n in 0..200 {
        let entries = vec![
            append(P.0, vec![batch(n, 1, n, 900)]),
            append(Q.0, vec![batch(n, 1, n, 80)]),
        ];
        store.append(commit(entries, n)).unwrap();
    }
    store.sync().unwrap();
    store
}

/// A whole round, a little at a time.
fn round(store: &Store, cursor: &mut ScrubCursor) -> (u64, Vec<(u32, i64, i64)>) {
    let (mut bytes, mut lost) = (0, Vec::new());
    loop {
        let Scrubbed {
            bytes: more,
            damaged,
            is_done,
        } = store.scrub(cursor, 4096).unwrap();
        bytes += more;
        for of in damaged.iter().flat_map(|damaged| &damaged.lost) {
            lost.push((of.partition.0, of.base_offset.0, of.next_offset.0));
        }
        if is_done {
            return (bytes, lost);
        }
    }
}

/// Where the batch of `P` at `offset` lies, and its frame.
fn find(disk: &MemoryDisk, offset: i64) -> (SegmentId, u64, u64) {
    for id in 1.. {
        let contents = disk.contents(SegmentId(id)).expect("it is somewhere");
        let (_, found, _) = scan_segment(&contents).unwrap();
        for frame in found {
            if let Found::Frame {
                position,
                head,
                body,
            } = frame
                && BatchHeader::read(&body).unwrap().base_offset().0 == offset
            {
                return (SegmentId(id), position + head.bytes(), position);
            }
        }
    }
    unreachable!("the disk ends")
}

fn read(store: &Store, partition: PartitionId) -> Vec<u8> {
    let chunks = store.read(partition, Offset(0), FAR, usize::MAX >> 1);
    chunks.unwrap().concat()
}

fn expect(bytes: usize, lost: &[i64]) -> Vec<u8> {
    let there = (0..200).filter(|n| !lost.contains(n));
    there.flat_map(|n| whole(&batch(n, 1, n, bytes))).collect()
}

#[test]
fn what_is_whole_is_left_alone() {
    let (disk, views) = (MemoryDisk::new(), MemoryBase::default());
    let store = filled(&disk, &views);
    let mut cursor = ScrubCursor::default();
    let (bytes, lost) = round(&store, &mut cursor);
    assert_eq!(lost, []);
    let sealed = store.usage().disk_bytes - (32 << 10);
    assert!(
        bytes > sealed * 9 / 10 && bytes < sealed,
        "{bytes} of {sealed}"
    );
    assert_eq!(round(&store, &mut cursor), (bytes, vec![]), "again");
    cursor.is_resting = true;
    assert_eq!(round(&store, &mut cursor), (0, vec![]));
}

#[test]
fn a_flipped_bit_costs_its_batch_and_is_told_once() {
    let (disk, views) = (MemoryDisk::new(), MemoryBase::default());
    let store = filled(&disk, &views);
    let (id, position, _) = find(&disk, 40);
    disk.flip(id, position + 300, 0x10);
    // Nobody has noticed.
    assert!(read(&store, P) != expect(900, &[]));
    let mut cursor = ScrubCursor::default();
    assert_eq!(round(&store, &mut cursor).1, [(P.0, 40, 41)]);
    assert_eq!(store.damaged().len(), 1);
    assert!(read(&store, P) == expect(900, &[40]));
    assert!(read(&store, Q) == expect(80, &[]));
    assert_eq!(round(&store, &mut cursor).1, [], "once");
    // What is only passed on has an empty batch there.
    let chunks = store
        .locate(P, Offset(40), FAR, 1000, Wait::ForDisk)
        .unwrap();
    let first = chunks.into_iter().next().map(Chunk::read);
    let header = BatchHeader::read(&first.unwrap().unwrap()).unwrap();
    assert_eq!(
        (header.base_offset(), header.record_count()),
        (Offset(40), 0)
    );
}

#[test]
fn a_frame_that_reads_complain_of_is_looked_at_first() {
    let (disk, views) = (MemoryDisk::new(), MemoryBase::default());
    let store = filled(&disk, &views);
    let (id, _, position) = find(&disk, 40);
    disk.flip(id, position + 20, 0x10);
    let mut cursor = ScrubCursor::default();
    cursor.is_resting = true;
    assert_eq!(round(&store, &mut cursor).1, []);
    assert!(read(&store, P) == expect(900, &[40]), "it is read over");
    let mut lost = round(&store, &mut cursor).1;
    lost.sort_unstable();
    assert_eq!(lost, [(P.0, 40, 41), (Q.0, 40, 41)]);
    assert!(read(&store, P) == expect(900, &[40]));
    assert!(read(&store, Q) == expect(80, &[40]));
}

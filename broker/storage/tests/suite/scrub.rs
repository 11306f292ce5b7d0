//! Tests the detection of bit rot while the store is open.

use sedge_protocol::batch::BatchHeader;
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::Found;
use sedge_storage::disk::Disk as _;
use sedge_storage::disk::memory::MemoryDisk;
use sedge_storage::views::memory_base::MemoryBase;
use sedge_storage::{
    Chunk, Entry, Error, LogStore, ReadLimits, ScrubCursor, Scrubbed, SegmentId, Store, Wait,
    scan_segment,
};

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

/// Runs a whole round, in small steps.
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

/// Returns the position of the batch of `P` at `offset`, and that of its frame.
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
    // The damage has not been noticed yet.
    assert!(read(&store, P) != expect(900, &[]));
    let mut cursor = ScrubCursor::default();
    assert_eq!(round(&store, &mut cursor).1, [(P.0, 40, 41)]);
    assert_eq!(store.damaged().len(), 1);
    assert!(read(&store, P) == expect(900, &[40]));
    assert!(read(&store, Q) == expect(80, &[]));
    assert_eq!(round(&store, &mut cursor).1, [], "once");
    // A read that passes batches on has an empty batch there.
    let chunks = store
        .locate(P, Offset(40), FAR, ReadLimits::of(1000), Wait::ForDisk)
        .unwrap()
        .chunks;
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

/// Returns the offsets of `partition` whose batch, of `bytes`, overlaps the page.
fn hit(disk: &MemoryDisk, id: SegmentId, page: u64, partition: PartitionId) -> Vec<i64> {
    let (_, found, _) = scan_segment(&disk.contents(id).unwrap()).unwrap();
    let is_hit = |from: u64, to: u64| from < page + PAGE && to > page;
    let mut hit = Vec::new();
    for frame in found {
        let Found::Frame { position, head, .. } = frame else {
            continue;
        };
        let is_head_hit = is_hit(position, position + head.bytes());
        let mut at = position + head.bytes();
        for entry in &head.entries {
            let end = at + u64::from(entry.bytes);
            if entry.partition == partition && (is_head_hit || is_hit(at, end)) {
                hit.push(entry.base.0);
            }
            at = end;
        }
    }
    hit
}

const PAGE: u64 = 4096;

#[test]
fn a_page_that_cannot_be_read_costs_what_lies_in_it() {
    let (disk, views) = (MemoryDisk::new(), MemoryBase::default());
    let store = filled(&disk, &views);
    let (id, position, _) = find(&disk, 40);
    let page = position - position % PAGE;
    let (of_p, of_q) = (hit(&disk, id, page, P), hit(&disk, id, page, Q));
    assert!(of_p.len() > 3 && of_p.contains(&40), "{of_p:?}");
    disk.make_unreadable(id, position);
    let failed = store.read(P, Offset(0), FAR, usize::MAX >> 1);
    assert!(
        matches!(failed, Err(Error::Io { .. })),
        "nothing is made up"
    );
    // The failed read makes the scrub check it first.
    let mut cursor = ScrubCursor::default();
    cursor.is_resting = true;
    let lost = round(&store, &mut cursor).1;
    let of = |partition: PartitionId| -> Vec<i64> {
        let of = lost.iter().filter(|of| of.0 == partition.0);
        let mut offsets: Vec<i64> = of.flat_map(|of| of.1..of.2).collect();
        offsets.sort_unstable();
        offsets
    };
    assert_eq!((of(P), of(Q)), (of_p.clone(), of_q.clone()));
    assert!(read(&store, P) == expect(900, &of_p));
    assert!(read(&store, Q) == expect(80, &of_q));
    cursor.is_resting = false;
    assert_eq!(round(&store, &mut cursor).1, [], "once");
    let mut behind = store
        .locate(P, Offset(of_p[0]), FAR, ReadLimits::of(400), Wait::ForDisk)
        .unwrap()
        .chunks;
    let header = BatchHeader::read(&behind.remove(0).read().unwrap()).unwrap();
    assert_eq!(
        (header.base_offset().0, header.record_count()),
        (of_p[0], 0)
    );
}

#[test]
fn a_segment_goes_whose_footer_cannot_be_read() {
    let (disk, views) = (MemoryDisk::new(), MemoryBase::default());
    let store = filled(&disk, &views);
    let (id, ..) = find(&disk, 0);
    let bytes = disk.contents(id).unwrap().len() as u64;
    disk.make_unreadable(id, bytes - 1);
    let start = |partition| Entry::LogStart {
        partition,
        offset: Offset(200),
    };
    store.append(commit(vec![start(P), start(Q)], 0)).unwrap();
    while store.free_segments().unwrap().more {}
    assert!(disk.contents(id).is_some(), "what it says is not known");
    round(&store, &mut ScrubCursor::default());
    while store.free_segments().unwrap().more {}
    assert!(disk.contents(id).is_none());
}

#[test]
fn a_device_that_gives_nothing_is_not_given_up() {
    let (disk, views) = (MemoryDisk::new(), MemoryBase::default());
    let store = filled(&disk, &views);
    for (id, bytes) in disk.list().unwrap() {
        for page in 0..bytes.div_ceil(PAGE) {
            disk.make_unreadable(id, page * PAGE);
        }
    }
    let failed = store.scrub(&mut ScrubCursor::default(), 4096);
    assert!(matches!(failed, Err(Error::Io { .. })), "{failed:?}");
    assert_eq!(store.damaged(), []);
}

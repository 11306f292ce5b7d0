//! Tests frames that begin on a page, so that a synced page is not written again for them.

use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::disk::memory::MemoryDisk;
use sedge_storage::format::{ENTRY_BYTES, FRAME_HEAD_BYTES, PAGE_BYTES};
use sedge_storage::views::memory_base::MemoryBase;
use sedge_storage::{LogStore, Options, Store};

use crate::bytes_of::{append, batch, commit, whole};
use crate::stores::{Directory, in_memory, on_disk};

const P: PartitionId = PartitionId(5);
const FAR: Offset = Offset(i64::MAX);
/// Bytes of a batch without its records and of its frame's head and table: the rest of whole pages.
const OF_PAGES: usize = 61 + FRAME_HEAD_BYTES as usize + ENTRY_BYTES as usize;

fn options() -> Options {
    Options {
        segment_bytes: 256 << 10,
        ..Options::default()
    }
}

/// Writes commits over several segments, of which every third is synced and some are whole pages.
/// Returns the bytes that a read must return.
fn fill(store: &Store, count: i64) -> Vec<u8> {
    let mut all = Vec::new();
    for n in 0..count {
        let bytes = [
            4 * PAGE_BYTES as usize - OF_PAGES,
            900,
            PAGE_BYTES as usize - OF_PAGES,
            20_000,
        ][n as usize % 4];
        let one = batch(n, 1, n, bytes);
        all.extend(whole(&one));
        store
            .append(commit(vec![append(P.0, vec![one])], n))
            .unwrap();
        if n % 3 != 1 {
            store.sync().unwrap();
        }
    }
    store.sync().unwrap();
    all
}

fn read(store: &Store) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let from = Offset(count_of(&all));
        let chunks = store.read(P, from, FAR, 1 << 20).unwrap();
        if chunks.is_empty() {
            return all;
        }
        all.extend(chunks.concat());
    }
}

fn count_of(batches: &[u8]) -> i64 {
    let (mut at, mut count) = (0, 0);
    while at < batches.len() {
        let length = i32::from_be_bytes(batches[at + 8..at + 12].try_into().unwrap());
        at += 12 + length as usize;
        count += 1;
    }
    count
}

#[test]
fn a_synced_commit_of_whole_pages_is_written_in_so_many() {
    let directory = Directory::new();
    let (store, _) = on_disk(directory.path(), options());
    let before = store.usage().log_bytes_written;
    for n in 0..8 {
        let one = batch(n, 1, n, 4 * PAGE_BYTES as usize - OF_PAGES);
        store
            .append(commit(vec![append(P.0, vec![one])], n))
            .unwrap();
        store.sync().unwrap();
    }
    // The segment's header, and only padding to a page between the frames.
    let frames = store.usage().log_bytes_written - before;
    assert!(frames <= 8 * 4 * PAGE_BYTES + 64, "{frames}");
    let path = directory.path().join("segments/0000000001.seg");
    let bytes = std::fs::read(path).unwrap();
    for n in 0..8 {
        let at = ((1 + 4 * n) * PAGE_BYTES) as usize;
        assert_eq!(&bytes[at..at + 4], b"SFRM", "frame {n}");
    }
}

#[test]
fn padded_frames_are_read_reopened_and_rebuilt() {
    let directory = Directory::new();
    let (store, _) = on_disk(directory.path(), options());
    let all = fill(&store, 120);
    assert!(read(&store) == all);
    store.close().unwrap();
    drop(store);
    let (store, report) = on_disk(directory.path(), options());
    assert!(report.holes.is_empty() && report.torn_tail.is_none());
    assert!(read(&store) == all);
    drop(store);
    std::fs::remove_dir_all(directory.path().join("views")).unwrap();
    let (store, report) = on_disk(directory.path(), options());
    assert!(report.views_rebuilt && report.holes.is_empty() && report.torn_tail.is_none());
    assert!(read(&store) == all);
}

#[test]
fn a_crash_among_padded_frames_keeps_what_was_synced() {
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    let (store, _) = in_memory(&disk, &base, options());
    let all = fill(&store, 50);
    drop(store);
    let disk = disk.after_power_cut(&mut || false);
    let (store, report) = in_memory(&disk, &base, options());
    assert!(report.holes.is_empty(), "{report:?}");
    assert!(read(&store) == all);
    let more = batch(50, 1, 0, PAGE_BYTES as usize - OF_PAGES);
    let all = [all, whole(&more)].concat();
    store
        .append(commit(vec![append(P.0, vec![more])], 0))
        .unwrap();
    assert!(read(&store) == all);
}

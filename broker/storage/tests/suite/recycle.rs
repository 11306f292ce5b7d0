//! Tests segments that reuse the files of freed ones.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::thread::CpuSet;
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::disk::memory::{Faults, MemoryDisk};
use sedge_storage::views::memory_base::MemoryBase;
use sedge_storage::{
    Chunk, Entry, Error, Found, LogStore, LostRange, OpenReport, ReadLimits, Room, SegmentId,
    Store, Urgency, Usage, Wait, limits, scan_segment,
};

use crate::bytes_of::{append, batch, commit, whole};
use crate::crash::Random;
use crate::stores::{Directory, in_memory, on_disk, small};

const P: PartitionId = PartitionId(5);
const FAR: Offset = Offset(i64::MAX);
/// Bytes of a commit large enough to be sent from its file.
const LARGE: usize = 5000;
/// Only a failing test waits this long.
const LOOKS: Duration = Duration::from_secs(10);

fn body_bytes(offset: i64) -> usize {
    500 + (offset as usize * 37) % 1500
}

fn append_from(store: &dyn LogStore, from: i64, until: i64) {
    for offset in from..until {
        let batches = vec![batch(offset, 1, offset, body_bytes(offset))];
        store.reserve(Room::ordinary(2000, 1)).unwrap();
        store
            .append(commit(vec![append(P.0, batches)], offset))
            .unwrap();
    }
}

fn delete_before(store: &dyn LogStore, offset: i64) {
    let (partition, offset) = (P, Offset(offset));
    store
        .append(commit(vec![Entry::LogStart { partition, offset }], 0))
        .unwrap();
    while store.free_segments().unwrap().more {}
}

fn check(store: &dyn LogStore, from: i64, until: i64) {
    let bounds = store.bounds(P).unwrap();
    assert_eq!((bounds.log_start.0, bounds.next_offset.0), (from, until));
    let got = store.read(P, Offset(from), FAR, usize::MAX >> 1).unwrap();
    let want: Vec<u8> = (from..until)
        .flat_map(|offset| whole(&batch(offset, 1, offset, body_bytes(offset))))
        .collect();
    assert!(got.concat() == want, "{from}..{until}");
}

/// Fills a store until its active segment reuses a file, whose old frames reach up to the returned
/// offset.
fn recycled(store: &Store) -> (SegmentId, i64) {
    let mut until = 0;
    while store.usage().segments_recycled == 0 {
        append_from(store, until, until + 10);
        until += 10;
        delete_before(store, until - 5);
    }
    (store.usage().active_segment.unwrap(), until)
}

#[test]
fn freed_files_are_used_again() {
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    let (store, _) = in_memory(&disk, &base, small());
    let mut created = 0;
    for round in 0..40 {
        append_from(&store, round * 20, round * 20 + 20);
        delete_before(&store, round * 20 + 10);
        let usage = store.usage();
        created = created.max(usage.segments + usage.spare_segments);
        assert!(
            usage.spare_segments <= 2 && usage.segments <= 4,
            "{usage:?}"
        );
        check(&store, round * 20 + 10, round * 20 + 20);
    }
    let usage = store.usage();
    assert!(usage.segments_recycled > 15, "{usage:?}");
    drop(store);
    // Killed: losing the old bytes in the files costs nothing, and the spares are still there.
    let (store, report) = in_memory(&disk.after_kill(), &base.copy(), small());
    assert_eq!((report.torn_tail, report.holes.len()), (None, 0));
    check(&store, 790, 800);
    append_from(&store, 800, 860);
    check(&store, 790, 860);
    assert!(store.usage().segments_recycled > 0);
    drop(store);
    // The same without the views.
    let (store, report) = in_memory(&disk.after_kill(), &MemoryBase::new(), small());
    assert!(report.views_rebuilt && report.holes.is_empty() && report.torn_tail.is_none());
    assert_eq!(store.bounds(P).unwrap().log_start, Offset(790));
}

#[test]
fn old_bytes_are_neither_torn_nor_wiped() {
    for views in [true, false] {
        let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
        let (store, _) = in_memory(&disk, &base, small());
        let (active, until) = recycled(&store);
        drop(store);
        let before = disk.contents(active).unwrap();
        let base = if views {
            base.copy()
        } else {
            MemoryBase::new()
        };
        let disk = disk.after_kill();
        let (store, report) = in_memory(&disk, &base, small());
        assert_eq!((report.torn_tail, &report.holes[..]), (None, &[][..]));
        assert!(report.tail_unknown);
        check(&store, until - 5, until);
        // The file was cut and not overwritten: nothing behind the last frame can come back.
        let after = disk.contents(active).unwrap();
        assert!(after.len() < before.len() && before.starts_with(&after));
        append_from(&store, until, until + 40);
        assert_ne!(store.usage().active_segment, Some(active));
        store.close().unwrap();
        drop(store);
        let (store, report) = in_memory(&disk, &base, small());
        assert!(
            !report.tail_unknown && report.holes.is_empty(),
            "{report:?}"
        );
        check(&store, until - 5, until + 40);
    }
}

#[test]
fn a_process_that_ends_in_order_seals_what_it_wrote_over_old_bytes() {
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    let (store, _) = in_memory(&disk, &base, small());
    let (_, until) = recycled(&store);
    store.close().unwrap();
    drop(store);
    let (store, report) = in_memory(&disk, &base, small());
    assert_eq!(report.frames_replayed, 0);
    assert!(!report.tail_unknown && report.torn_tail.is_none() && report.holes.is_empty());
    check(&store, until - 5, until);
}

#[test]
fn a_torn_frame_over_old_bytes_is_cut_and_does_not_come_back() {
    for seed in 0..200 {
        let mut random = Random(seed);
        let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
        let (store, _) = in_memory(&disk, &base, small());
        let (_, until) = recycled(&store);
        append_from(&store, until, until + 4);
        store.sync().unwrap();
        let (synced, mut next) = (until + 4, until + 4);
        append_from(&store, next, next + 6);
        drop(store);
        let mut disk = disk.after_power_cut(&mut || random.below(2) == 0);
        // Twice: what the first crash left must not appear after the second.
        for _ in 0..2 {
            let (store, report) = in_memory(&disk, &base.copy(), small());
            let bounds = store.bounds(P).unwrap();
            assert!(bounds.next_offset.0 >= synced, "seed {seed}: {report:?}");
            assert!(bounds.next_offset.0 <= next + 6, "seed {seed}");
            let start = bounds.log_start;
            let read = store.read(P, start, FAR, usize::MAX >> 1).unwrap().concat();
            let there = offsets_of(&read);
            let wanted: Vec<i64> = (start.0..synced).collect();
            assert!(
                there.starts_with(&wanted),
                "seed {seed}: {there:?}, {report:?}"
            );
            next = bounds.next_offset.0;
            append_from(&store, next, next + 6);
            drop(store);
            disk = disk.after_power_cut(&mut || random.below(2) == 0);
        }
    }
}

/// A reused file whose first frame was torn is cut, and the next segment begins with the same
/// commit. A power cut brings the torn frame back.
#[test]
fn a_torn_frame_that_was_written_again_loses_nothing_after_a_hole() {
    for seed in 0..100 {
        let mut random = Random(seed);
        let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
        let (store, _) = in_memory(&disk, &base, small());
        let mut next = 0;
        while store.usage().segments_recycled == 0 {
            append_from(&store, next, next + 1);
            next += 1;
            if next % 5 == 0 {
                delete_before(&store, next - 3);
            }
        }
        let last = store.usage().active_segment.unwrap();
        let before = SegmentId(last.0 - 1);
        store.sync().unwrap();
        drop(store);
        // The newest frame, and the one before it, without the footer that lists it.
        disk.flip(last, 64 + 300, 0x10);
        let contents = disk.contents(before).unwrap();
        disk.flip(before, contents.len() as u64 - 3, 0x10);
        let (_, found, _) = scan_segment(&contents).unwrap();
        let frames = found.iter().filter_map(|of| match of {
            Found::Frame { position, .. } => Some(*position),
            _ => None,
        });
        disk.flip(before, frames.last().unwrap() + 300, 0x10);
        next -= 1;
        let lost = LostRange {
            partition: P,
            base_offset: Offset(next - 1),
            next_offset: Offset(next),
        };
        let lost_of = |report: &OpenReport| -> Vec<LostRange> {
            let holes = report.holes.iter().flat_map(|hole| &hole.lost);
            holes.copied().collect()
        };
        let (store, report) = in_memory(&disk, &base.copy(), small());
        assert!(report.tail_unknown && lost_of(&report) == [lost]);
        assert_eq!(store.bounds(P).unwrap().next_offset, Offset(next));
        append_from(&store, next, next + 1);
        drop(store);
        let disk = disk.after_power_cut(&mut || random.below(2) == 0);
        for base in [base.copy(), MemoryBase::new()] {
            let (store, report) = in_memory(&disk.after_kill(), &base, small());
            assert_eq!(lost_of(&report), [lost], "seed {seed}: {report:?}");
            let bounds = store.bounds(P).unwrap();
            assert!(bounds.next_offset.0 <= next + 1, "seed {seed}");
        }
    }
}

/// Returns the offsets of batches, checking that each is the one that was written there.
fn offsets_of(mut bytes: &[u8]) -> Vec<i64> {
    let mut offsets = Vec::new();
    while let Some(base) = bytes.first_chunk::<8>() {
        let offset = i64::from_be_bytes(*base);
        let expected = whole(&batch(offset, 1, offset, body_bytes(offset)));
        assert!(bytes.starts_with(&expected), "offset {offset}");
        bytes = &bytes[expected.len()..];
        offsets.push(offset);
    }
    assert!(offsets.is_sorted(), "{offsets:?}");
    offsets
}

/// Returns a store with two spares, and its usage.
fn with_spares() -> (MemoryDisk, Store, Usage) {
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    let (store, _) = in_memory(&disk, &base, small());
    append_from(&store, 0, 200);
    delete_before(&store, 195);
    let usage = store.usage();
    assert_eq!(usage.spare_segments, 2);
    (disk, store, usage)
}

#[test]
fn spares_take_no_more_than_they_may() {
    let (_, store, usage) = with_spares();
    store.limit_spares(usage.spare_bytes - 1).unwrap();
    assert_eq!(store.usage().spare_segments, 1);
    append_from(&store, 200, 400);
    delete_before(&store, 395);
    assert!(store.usage().spare_bytes < usage.spare_bytes);
    check(&store, 395, 400);
}

#[test]
fn a_full_disk_takes_the_spares_first() {
    let (disk, store, usage) = with_spares();
    disk.set_faults(Faults {
        capacity: Some(usage.disk_bytes + usage.spare_bytes + 1000),
        ..Faults::default()
    });
    // No spare is large enough for this commit.
    store.reserve(Room::ordinary(40 << 10, 1)).unwrap();
    assert_eq!(store.usage().spare_segments, 0);
}

/// A start cuts a file whose end is unknown, and thereby loses its headroom.
#[test]
fn a_start_on_a_full_disk_has_room_to_free() {
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    let (store, _) = in_memory(&disk, &base, small());
    append_from(&store, 0, 200);
    delete_before(&store, 195);
    // The freed files are no longer written to.
    store.sync().unwrap();
    store.sync().unwrap();
    append_from(&store, 200, 240);
    assert!(store.usage().segments_recycled > 0);
    disk.set_faults(Faults {
        capacity: Some(store.usage().disk_bytes + store.usage().spare_bytes),
        ..Faults::default()
    });
    store.limit_spares(0).unwrap();
    let capacity = store.usage().disk_bytes;
    let disk = disk.after_kill();
    disk.set_faults(Faults {
        capacity: Some(capacity),
        ..Faults::default()
    });
    let (store, report) = in_memory(&disk, &base, small());
    assert!(report.tail_unknown, "{report:?}");
    let whole_segment = store.reserve(Room::ordinary(1000, 1));
    assert!(
        matches!(whole_segment, Err(Error::Full)),
        "{whole_segment:?}"
    );
    for urgency in [Urgency::Upkeep, Urgency::Command] {
        let (batch_bytes, rows) = (0, 1);
        store
            .reserve(Room {
                batch_bytes,
                rows,
                urgency,
            })
            .unwrap();
    }
    delete_before(&store, 235);
    check(&store, 235, 240);
    append_from(&store, 240, 250);
}

#[test]
fn a_file_is_not_written_over_while_it_is_read_or_has_another_name() {
    let directory = Directory::new();
    let (store, _) = on_disk(directory.path(), small());
    append_large(&store, 0, 60);
    // The first sync writes footers, and the second syncs them.
    store.sync().unwrap();
    store.sync().unwrap();
    let segments = directory.path().join("segments");
    let first = segments.join("0000000001.seg");
    let bytes = std::fs::read(&first).unwrap();
    let backup = directory.path().join("backup");
    std::fs::hard_link(&first, &backup).unwrap();
    // A slow reader of the second segment.
    let second = store.slices(P).unwrap()[1];
    let held = store
        .locate(
            P,
            second.first_offset,
            second.next_offset,
            ReadLimits::of(usize::MAX >> 1),
            Wait::ForDisk,
        )
        .unwrap();
    assert!(
        held.chunks
            .iter()
            .all(|chunk| matches!(chunk, Chunk::Placed(_)))
    );
    let expected: Vec<u8> = (second.first_offset.0..second.next_offset.0)
        .flat_map(|offset| whole(&batch(offset, 1, offset, LARGE)))
        .collect();
    delete_before(&store, 55);
    append_from(&store, 60, 260);
    delete_before(&store, 255);
    append_from(&store, 260, 460);
    assert!(store.usage().segments_recycled > 0, "{:?}", store.usage());
    assert!(std::fs::read(&backup).unwrap() == bytes);
    let read: Vec<_> = held
        .chunks
        .into_iter()
        .map(|chunk| chunk.read().unwrap())
        .collect();
    assert!(read.concat() == expected);
    check(&store, 255, 460);
    store.close().unwrap();
    drop(store);
    let (store, report) = on_disk(directory.path(), small());
    assert!(report.holes.is_empty() && report.torn_tail.is_none());
    check(&store, 255, 460);
}

/// A peer that has not read what it was sent, and the bytes that were sent.
struct Peer {
    reads: TcpStream,
    /// Our end of the connection.
    _sends: TcpStream,
    sent: Vec<u8>,
}

impl Peer {
    /// Sends the first batches of a partition from their file, as a reply does.
    fn of(store: &Store, bytes: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let reads = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (sends, _) = listener.accept().unwrap();
        let mut sent = Vec::new();
        let start = store.bounds(P).unwrap().log_start;
        let limits = ReadLimits::of(bytes);
        let located = store.locate(P, start, FAR, limits, Wait::ForDisk).unwrap();
        for chunk in located.chunks {
            let Chunk::Placed(placed) = chunk else {
                continue;
            };
            sent.extend(placed.read().unwrap());
            let (file, mut at) = placed.file().unwrap();
            let end = at + placed.bytes() as u64;
            while at < end {
                let left = (end - at) as usize;
                assert!(rustix::fs::sendfile(&sends, file, Some(&mut at), left).unwrap() > 0);
            }
        }
        assert!(!sent.is_empty(), "something is in the page cache");
        Self {
            reads,
            _sends: sends,
            sent,
        }
    }

    fn check(mut self) {
        let mut read = vec![0; self.sent.len()];
        self.reads.read_exact(&mut read).unwrap();
        assert!(read == self.sent, "a peer gets bytes of another segment");
    }
}

/// Larger commits are sent from their file.
fn append_large(store: &dyn LogStore, from: i64, until: i64) {
    for offset in from..until {
        let batches = vec![batch(offset, 1, offset, LARGE)];
        let append = append(P.0, batches);
        store.append(commit(vec![append], offset)).unwrap();
    }
}

/// Keeps the thread on one processor. The kernel gives back what a socket was sent on the processor
/// that sent it: if that is another one than the reader's, only when it next receives packets.
fn stay_on_one_processor() {
    let mut one = CpuSet::new();
    one.set(rustix::thread::sched_getcpu());
    rustix::thread::sched_setaffinity(None, &one).unwrap();
}

/// Returns the store of a directory with three segments, of which the first two were freed after
/// the contents of the first were sent to a peer.
fn freed_while_sent(directory: &Directory) -> (Store, Peer) {
    let (store, _) = on_disk(directory.path(), small());
    append_large(&store, 0, 15);
    store.sync().unwrap();
    store.sync().unwrap();
    let peer = Peer::of(&store, 20_000);
    delete_before(&store, 14);
    assert_eq!(store.usage().spare_segments, 2);
    (store, peer)
}

#[test]
fn what_a_peer_was_sent_is_not_written_over() {
    stay_on_one_processor();
    let directory = Directory::new();
    let (store, peer) = freed_while_sent(&directory);
    append_large(&store, 15, 60);
    // The second one was not lent.
    assert_eq!(store.usage().segments_recycled, 1);
    assert_eq!(store.usage().spare_segments, 1);
    peer.check();
    let looks_until = Instant::now() + LOOKS;
    let mut next = 60;
    while store.usage().segments_recycled == 1 {
        assert!(
            Instant::now() < looks_until,
            "it is used when nobody has it"
        );
        store.evict_spares().unwrap();
        assert_eq!(store.usage().spare_segments, 1, "not yet given up");
        append_large(&store, next, next + 10);
        next += 10;
        // The kernel gives back a socket's pages some time after they were read.
        std::thread::sleep(LOOKS / 50);
    }
}

#[test]
fn what_a_killed_process_sent_is_not_written_over() {
    let directory = Directory::new();
    let (store, peer) = freed_while_sent(&directory);
    // The kernel continues to send what the process gave it.
    drop(store);
    let (store, _) = on_disk(directory.path(), small());
    append_large(&store, 15, 60);
    assert_eq!(store.usage().segments_recycled, 1);
    peer.check();
}

#[test]
fn a_spare_is_unlinked_when_its_bytes_stay_lent() {
    let directory = Directory::new();
    let (store, peer) = freed_while_sent(&directory);
    for _ in 0..limits::SPARE_LOOKS_MAX {
        assert_eq!(store.usage().spare_segments, 2);
        store.evict_spares().unwrap();
    }
    assert_eq!(store.usage().spare_segments, 1);
    append_large(&store, 15, 60);
    assert_eq!(store.usage().segments_recycled, 1);
    peer.check();
}

//! Tests that a segment with a damaged header is read by its frames and its footer.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::backup::{BackupOptions, back_up};
use sedge_storage::doctor::{Doctor, Kind, Repair, Report};
use sedge_storage::{Entry, LogStore, ScrubCursor, SegmentId, Store};

use crate::bytes_of::{append, batch, commit, whole};
use crate::doctor::Nothing;
use crate::stores::{Directory, on_disk, small};

const P: PartitionId = PartitionId(5);
const FAR: Offset = Offset(i64::MAX);
const HEADER_BYTES: usize = 64;

fn fill(store: &Store, from: i64, until: i64) {
    for n in from..until {
        let entries = vec![append(P.0, vec![batch(n, 1, n, 900)])];
        store.append(commit(entries, n)).unwrap();
    }
    store.sync().unwrap();
}

fn segments(path: &Path) -> Vec<PathBuf> {
    let listed = std::fs::read_dir(path.join("segments")).unwrap();
    let mut files: Vec<PathBuf> = listed.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Overwrites the header.
fn behead(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[..HEADER_BYTES].fill(0xA5);
    std::fs::write(file, bytes).unwrap();
}

fn examine(path: &Path) -> Report {
    Doctor::open(path).unwrap().examine(&mut Nothing).unwrap()
}

fn read(store: &Store) -> Vec<u8> {
    let chunks = store.read(P, Offset(0), FAR, usize::MAX >> 1);
    chunks.unwrap().concat()
}

fn expect(until: i64) -> Vec<u8> {
    (0..until)
        .flat_map(|n| whole(&batch(n, 1, n, 900)))
        .collect()
}

#[test]
fn nothing_is_lost_with_a_header() {
    for without_views in [false, true] {
        let directory = Directory::new();
        let path = directory.path();
        let (store, _) = on_disk(path, small());
        fill(&store, 0, 200);
        // As after a kill: the last segment is not sealed.
        drop(store);
        let files = segments(path);
        assert!(files.len() > 4);
        for file in &files {
            behead(file);
        }
        if without_views {
            std::fs::remove_dir_all(path.join("views")).unwrap();
        }
        let report = examine(path);
        let kinds: Vec<Kind> = report.findings.iter().map(|of| of.kind).collect();
        assert_eq!(
            kinds.iter().filter(|kind| **kind == Kind::Header).count(),
            files.len()
        );
        assert!(
            kinds
                .iter()
                .all(|kind| matches!(kind, Kind::Header | Kind::NoViews)),
            "{:?}",
            report.findings
        );
        let (store, report) = on_disk(path, small());
        assert!(report.holes.is_empty() && !report.lost_tail, "{report:?}");
        assert!(!report.damaged_headers.is_empty());
        assert!(
            read(&store) == expect(200),
            "without views: {without_views}"
        );
        // Writing continues, in another segment than the last.
        fill(&store, 200, 260);
        assert!(read(&store) == expect(260));
        store.close().unwrap();
        drop(store);
        let (store, _) = on_disk(path, small());
        assert!(read(&store) == expect(260));
        store.close().unwrap();
    }
}

#[test]
fn a_header_is_written_again_when_asked() {
    let directory = Directory::new();
    let path = directory.path();
    let (store, _) = on_disk(path, small());
    fill(&store, 0, 200);
    store.close().unwrap();
    drop(store);
    let second = &segments(path)[1];
    let before = std::fs::read(second).unwrap();
    behead(second);
    // The scrub reports it too.
    let (store, report) = on_disk(path, small());
    assert_eq!(report.damaged_headers, [], "a start has no need of it");
    let mut cursor = ScrubCursor::default();
    while !store.scrub(&mut cursor, 1 << 20).unwrap().is_done {}
    let damaged = store.damaged();
    assert_eq!(damaged.len(), 1);
    assert_eq!((damaged[0].segment, damaged[0].position), (SegmentId(2), 0));
    store.close().unwrap();
    drop(store);

    let target = Directory::new();
    back_up(path, target.path(), BackupOptions { copy: true }).unwrap();
    let (copy, _) = on_disk(target.path(), small());
    assert!(read(&copy) == expect(200));
    drop(copy);

    let report = examine(path);
    let wrong: Vec<Kind> = report.findings.iter().map(|of| of.kind).collect();
    assert_eq!(wrong, [Kind::Header]);
    assert_ne!(std::fs::read(second).unwrap(), before, "nothing is changed");
    let doctor = Doctor::open(path).unwrap();
    doctor.repair(Repair::Headers, &report).unwrap();
    drop(doctor);
    assert!(std::fs::read(second).unwrap() == before);
    assert_eq!(examine(path).findings, []);
    let (store, _) = on_disk(path, small());
    assert_eq!(store.damaged(), [], "it is not on the list any more");
}

/// The first page is gone, with the header and some batches; the footer still identifies the
/// segment.
#[test]
fn a_first_page_costs_what_lies_in_it() {
    let directory = Directory::new();
    let path = directory.path();
    let (store, _) = on_disk(path, small());
    fill(&store, 0, 200);
    store.close().unwrap();
    drop(store);
    std::fs::remove_dir_all(path.join("views")).unwrap();
    let second = &segments(path)[1];
    let mut bytes = std::fs::read(second).unwrap();
    bytes[..4096].fill(0);
    std::fs::write(second, bytes).unwrap();
    let report = examine(path);
    let kinds: Vec<Kind> = report.findings.iter().map(|of| of.kind).collect();
    assert_eq!(kinds, [Kind::NoViews, Kind::Header, Kind::Frame]);
    let lost = &report.findings[2].lost;
    assert_eq!(lost.len(), 1);
    let (store, _) = on_disk(path, small());
    let found = Bytes::from(read(&store));
    let there = offsets(found);
    let lost = lost[0].base_offset.0..lost[0].next_offset.0;
    let expected: Vec<i64> = (0..200).filter(|n| !lost.contains(n)).collect();
    assert_eq!(there, expected);
    assert!((3..6).contains(&lost.count()));
}

fn offsets(mut bytes: Bytes) -> Vec<i64> {
    std::iter::from_fn(|| Batch::split_from(&mut bytes))
        .map(|batch| batch.header.base_offset().0)
        .collect()
}

#[test]
fn a_cold_segment_is_known_for_one() {
    for without_views in [false, true] {
        let directory = Directory::new();
        let path = directory.path();
        let (store, _) = on_disk(path, small());
        fill(&store, 0, 100);
        store.roll().unwrap();
        let mut writing = store.begin_cold(100 << 10).unwrap();
        let mut all = Bytes::from(read(&store));
        while let Some(batch) = Batch::split_from(&mut all) {
            if batch.header.base_offset().0 % 7 == 0 {
                writing.push(P, batch, 77).unwrap();
            }
        }
        let entry = Entry::Replace {
            cold: Arc::new(writing.finish().unwrap()),
            partition: P,
            base: Offset(0),
            next: Offset(100),
            leader_epoch: None,
            is_compacted: true,
        };
        store.append(commit(vec![entry], 0)).unwrap();
        fill(&store, 100, 130);
        store.sync().unwrap();
        let before = read(&store);
        store.close().unwrap();
        drop(store);
        for file in segments(path) {
            behead(&file);
        }
        if without_views {
            std::fs::remove_dir_all(path.join("views")).unwrap();
        }
        let (store, report) = on_disk(path, small());
        assert_eq!(report.holes, []);
        assert!(read(&store) == before, "without views: {without_views}");
    }
}

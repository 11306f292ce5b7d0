//! Tests how the doctor and a backup handle cold segments.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::backup::{BackupOptions, back_up};
use sedge_storage::doctor::{Doctor, Kind, Report};
use sedge_storage::{Entry, LogStore, Store};

use crate::beside::write_beside;
use crate::bytes_of::{append, batch, commit};
use crate::doctor::Nothing;
use crate::stores::{Directory, on_disk, small};

const P: PartitionId = PartitionId(5);
const FAR: Offset = Offset(i64::MAX);
/// One batch in this many is kept.
const KEPT: i64 = 7;

fn fill(store: &Store, from: i64, to: i64) {
    for at in from..to {
        let entries = vec![
            append(P.0, vec![batch(at, 1, at, 900)]),
            append(9, vec![batch(at, 1, at, 50)]),
        ];
        store.append(commit(entries, at)).unwrap();
    }
    store.sync().unwrap();
}

fn offsets(store: &Store, to: Offset) -> Vec<i64> {
    let read = store.read(P, Offset(0), to, usize::MAX >> 1).unwrap();
    let mut read = Bytes::from(read.concat());
    std::iter::from_fn(|| Batch::split_from(&mut read))
        .map(|batch| batch.header.base_offset().0)
        .collect()
}

/// Replaces all of `P` before the active segment by the kept batches, and frees dead segments.
fn compact(store: &Store) {
    let active = store.active_segment();
    let slices = store.slices(P).unwrap();
    let mut full = slices.iter().filter(|slice| Some(slice.segment) != active);
    let Some(end) = full.next_back().map(|slice| slice.next_offset) else {
        return;
    };
    let read = store.read(P, Offset(0), end, usize::MAX >> 1).unwrap();
    let mut read = Bytes::from(read.concat());
    let mut writing = store.begin_cold(read.len() as u64).unwrap();
    while let Some(batch) = Batch::split_from(&mut read) {
        if batch.header.base_offset().0 % KEPT == 0 {
            writing.push(P, batch, 77).unwrap();
        }
    }
    let entry = Entry::Replace {
        cold: Arc::new(writing.finish().unwrap()),
        partition: P,
        base: Offset(0),
        next: end,
        leader_epoch: None,
        is_compacted: true,
    };
    store.append(commit(vec![entry], 0)).unwrap();
    let partition = PartitionId(9);
    let start = Entry::LogStart {
        partition,
        offset: end,
    };
    store.append(commit(vec![start], 0)).unwrap();
    while store.free_segments().unwrap().more {}
}

fn examine(path: &Path) -> Report {
    Doctor::open(path).unwrap().examine(&mut Nothing).unwrap()
}

#[test]
fn what_was_replaced_is_clean_and_its_damage_is_found() {
    let directory = Directory::new();
    let path = directory.path();
    let (store, _) = on_disk(path, small());
    for round in 0..3 {
        fill(&store, round * 200, round * 200 + 200);
        compact(&store);
    }
    let kept = offsets(&store, FAR);
    store.close().unwrap();
    drop(store);
    assert_eq!(examine(path).findings, []);
    std::fs::remove_dir_all(path.join("views")).unwrap();
    assert!(examine(path).is_clean());
    drop(on_disk(path, small()));
    assert_eq!(examine(path).findings, []);

    let target = Directory::new();
    back_up(path, target.path(), BackupOptions::default()).unwrap();
    assert!(examine(target.path()).is_clean());
    let (copy, _) = on_disk(target.path(), small());
    assert_eq!(offsets(&copy, FAR), kept);
    drop(copy);

    let needle = &batch(KEPT, 1, KEPT, 900).body[..];
    for entry in std::fs::read_dir(path.join("segments")).unwrap() {
        let file = entry.unwrap().path();
        let mut bytes = std::fs::read(&file).unwrap();
        if let Some(at) = bytes.windows(needle.len()).position(|of| of == needle) {
            bytes[at + 9] ^= 1;
            std::fs::write(&file, bytes).unwrap();
        }
    }
    let report = examine(path);
    let wrong: Vec<_> = report.findings.iter().filter(|of| of.is_wrong()).collect();
    assert_eq!(wrong.len(), 1, "{:?}", report.findings);
    assert_eq!(wrong[0].kind, Kind::Batch);
    assert!(wrong[0].lost[0].base_offset <= Offset(KEPT));
}

#[test]
fn a_backup_while_things_are_replaced_has_all_that_was_there() {
    let (data, target) = (Directory::new(), Directory::new());
    let (store, _) = on_disk(data.path(), small());
    let write = |from| {
        fill(&store, from, from + 40);
        compact(&store);
        from + 40
    };
    write_beside(write, |written| {
        for round in 1..=10 {
            let least = written.wait_for(round * 200);
            let target = target.path().join(round.to_string());
            back_up(data.path(), &target, BackupOptions::default()).unwrap();
            let report = examine(&target);
            assert!(report.is_clean(), "{:?}", report.findings);
            let (copy, report) = on_disk(&target, small());
            assert!(report.holes.is_empty() && !report.lost_tail, "{report:?}");
            let bounds = copy.bounds(P).unwrap();
            assert!(bounds.next_offset.0 >= least);
            let compacted = bounds.compacted_until.0;
            let want: Vec<i64> = (0..bounds.next_offset.0)
                .filter(|at| at % KEPT == 0 || *at >= compacted)
                .collect();
            assert_eq!(offsets(&copy, FAR), want);
        }
    });
}

//! Tests one writer, which also deletes, with concurrent readers, a flusher, a syncer, and a thread
//! that frees segments.

use std::sync::atomic::{AtomicI64, Ordering};

use sedge_protocol::batch::BatchHeader;
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::{Entry, LogStore};

use crate::bytes_of::{append, batch, commit, whole};
use crate::stores::{Directory, on_disk, small};

const COMMITS: i64 = 3000;
const KEPT: i64 = 200;
const P: PartitionId = PartitionId(5);

#[test]
fn readers_see_whole_batches_while_the_log_moves_on() {
    let directory = Directory::new();
    let (store, _) = on_disk(directory.path(), small());
    let store = &store;
    // The end of what was written; -1 when the writer has ended.
    let written = &AtomicI64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(move || write(store, written));
        scope.spawn(move || while_written(written, |_| store.sync().unwrap()));
        scope.spawn(move || while_written(written, |_| store.flush_views().unwrap()));
        scope.spawn(move || while_written(written, |_| free(store)));
        scope.spawn(move || follow(store, written));
        scope.spawn(move || while_written(written, |end| read_back(store, end)));
    });
    assert_eq!(store.bounds(P).unwrap().next_offset, Offset(COMMITS));
}

fn while_written(written: &AtomicI64, mut act: impl FnMut(i64)) {
    loop {
        match written.load(Ordering::Acquire) {
            -1 => return,
            end => act(end),
        }
    }
}

fn free(store: &dyn LogStore) {
    store.free_segments().unwrap();
}

fn write(store: &dyn LogStore, written: &AtomicI64) {
    for n in 0..COMMITS {
        let entries = vec![
            append(P.0, vec![batch(n, 1, n, 700)]),
            append(6, vec![batch(n, 1, n, 90)]),
        ];
        store.append(commit(entries, n)).unwrap();
        if n % 100 == 99 {
            let offset = Offset((n - KEPT).max(0));
            let start = |partition| Entry::LogStart { partition, offset };
            store
                .append(commit(vec![start(P), start(PartitionId(6))], n))
                .unwrap();
        }
        written.store(n + 1, Ordering::Release);
    }
    written.store(-1, Ordering::Release);
}

/// Reads like a consumer at the end of the log: every record that still exists, once and in order.
fn follow(store: &dyn LogStore, written: &AtomicI64) {
    let mut next = 0;
    while_written(written, |end| {
        if next < end {
            next = check(store, next, end, 20_000).unwrap_or_else(|| log_start(store));
        }
    });
}

/// Reads like consumers anywhere in the log.
fn read_back(store: &dyn LogStore, end: i64) {
    let start = log_start(store);
    for from in (start..end).step_by(37) {
        check(store, from, end, 3000);
    }
}

fn log_start(store: &dyn LogStore) -> i64 {
    store.bounds(P).unwrap().log_start.0
}

/// Reads and compares. Returns the offset at which to continue, or `None` if the log start has
/// passed `from`.
fn check(store: &dyn LogStore, from: i64, until: i64, bytes_max: usize) -> Option<i64> {
    let chunks = store
        .read(P, Offset(from), Offset(until), bytes_max)
        .unwrap();
    let mut next = from;
    for chunk in &chunks {
        for one in chunk.chunks(761) {
            let base = BatchHeader::read(one).unwrap().base_offset().0;
            assert_eq!(base, next);
            assert!(one == whole(&batch(base, 1, base, 700)));
            next = base + 1;
        }
    }
    if chunks.is_empty() {
        assert!(log_start(store) > from, "nothing at {from}, below {until}");
        return None;
    }
    Some(next)
}

//! Tests the contract of every store, independent of its implementation.

use bytes::Bytes;
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::disk::memory::MemoryDisk;
use sedge_storage::views::memory_base::MemoryBase;
use sedge_storage::{Entry, Error, LogStore, MemoryStore, ReadLimits, View, ViewUpdate, Wait};

use crate::bytes_of::{append, batch, commit, whole};
use crate::stores::{Directory, in_memory, on_disk, small};

const P: PartitionId = PartitionId(5);
const FAR: Offset = Offset(i64::MAX);

fn each_store(check: impl Fn(&dyn LogStore)) {
    check(&MemoryStore::new());
    check(&in_memory(&MemoryDisk::new(), &MemoryBase::new(), small()).0);
    let directory = Directory::new();
    check(&on_disk(directory.path(), small()).0);
}

fn joined(chunks: &[Bytes]) -> Vec<u8> {
    chunks.concat()
}

#[test]
fn an_unknown_partition_is_empty() {
    each_store(|store| {
        let bounds = store.bounds(P).unwrap();
        assert_eq!(
            (bounds.log_start, bounds.next_offset),
            (Offset(0), Offset(0))
        );
        assert_eq!(bounds.leader_epoch, None);
        assert!(store.read(P, Offset(0), FAR, 100).unwrap().is_empty());
        assert!(store.slices(P).unwrap().is_empty());
        assert_eq!(store.first_batch_at(P, 0, Offset(0), FAR).unwrap(), None);
        assert_eq!(store.max_timestamp_batch(P, Offset(0), FAR).unwrap(), None);
    });
}

#[test]
fn batches_come_back_as_they_were_from_any_offset() {
    each_store(|store| {
        let batches: Vec<_> = (0..200).map(|n| batch(n * 3, 3, n, 500)).collect();
        for (n, one) in batches.iter().enumerate() {
            let other = batch(n as i64, 1, 0, 40);
            let entries = vec![append(9, vec![other]), append(P.0, vec![one.clone()])];
            store.append(commit(entries, n as i64)).unwrap();
        }
        assert_eq!(store.bounds(P).unwrap().next_offset, Offset(600));
        for from in [0, 1, 2, 3, 299, 300, 301, 597, 599] {
            let got = joined(&store.read(P, Offset(from), FAR, usize::MAX >> 1).unwrap());
            let want: Vec<u8> = batches[from as usize / 3..]
                .iter()
                .flat_map(whole)
                .collect();
            assert!(
                got == want,
                "from {from}: {} bytes, not {}",
                got.len(),
                want.len()
            );
        }
        assert!(store.read(P, Offset(600), FAR, 10).unwrap().is_empty());
    });
}

#[test]
fn a_read_keeps_its_bounds_but_gives_one_batch() {
    each_store(|store| {
        let batches: Vec<_> = (0..10).map(|n| batch(n * 2, 2, n, 1000)).collect();
        store
            .append(commit(vec![append(P.0, batches.clone())], 0))
            .unwrap();
        let read = |from, until, max| {
            joined(&store.read(P, Offset(from), Offset(until), max).unwrap()).len() / 1061
        };
        assert_eq!(read(0, 20, 1), 1);
        assert_eq!(read(7, 20, 1), 1);
        assert_eq!(read(7, 20, 2122), 2);
        assert_eq!(read(7, 20, 2500), 2);
        assert_eq!(read(0, 5, 100_000), 3);
        assert_eq!(read(0, 4, 100_000), 2);
        assert_eq!(read(3, 3, 100_000), 0);
        let one = joined(&store.read(P, Offset(7), FAR, 1).unwrap());
        assert_eq!(one, whole(&batches[3]));
    });
}

/// Batches sent from their file must equal those of a read: for small and large commits, one batch
/// and many, from each offset, under each bound.
#[test]
fn places_hold_what_a_read_gives() {
    each_store(|store| {
        let mut next = 0;
        for n in 0..150 {
            let bytes = [100, 5000, 700, 16_000][n % 4] + n;
            let mut batches = Vec::new();
            for _ in 0..=n % 3 {
                batches.push(batch(next, 2, n as i64, bytes));
                next += 2;
            }
            let entries = vec![
                append(9, vec![batch(n as i64, 1, 0, 300)]),
                append(P.0, batches),
            ];
            store.append(commit(entries, 0)).unwrap();
        }
        for from in (0..=next).step_by(7) {
            for (until, bytes_max) in [
                (next, 1 << 30),
                (next, 40_000),
                (from + 9, 1 << 30),
                (next, 1),
            ] {
                let bounds = (Offset(from), Offset(until.min(next)));
                let read = store.read(P, bounds.0, bounds.1, bytes_max).unwrap();
                let locate =
                    |wait| store.locate(P, bounds.0, bounds.1, ReadLimits::of(bytes_max), wait);
                let placed = match locate(Wait::Never) {
                    Err(Error::NotCached) => locate(Wait::ForDisk).unwrap(),
                    placed => placed.unwrap(),
                };
                let places = placed.chunks.into_iter().map(|chunk| chunk.read().unwrap());
                let placed = joined(&places.collect::<Vec<_>>());
                assert!(
                    placed == joined(&read),
                    "{from}..{until}, {bytes_max} bytes"
                );
            }
        }
    });
}

#[test]
fn times_find_batches() {
    each_store(|store| {
        let times = [10, 30, 20, 50, 50, 40];
        for (n, time) in times.iter().enumerate() {
            let one = batch(n as i64, 1, *time, 9000);
            store
                .append(commit(vec![append(P.0, vec![one])], 0))
                .unwrap();
        }
        let offset = |found: Option<Bytes>| {
            found.map(|bytes| i64::from_be_bytes(*bytes.first_chunk().unwrap()))
        };
        let from_at = |from, time, until| {
            let found = store.first_batch_at(P, time, Offset(from), Offset(until));
            offset(found.unwrap())
        };
        let at = |time, until| from_at(0, time, until);
        assert_eq!(at(0, 6), Some(0));
        assert_eq!(at(11, 6), Some(1));
        assert_eq!(at(31, 6), Some(3));
        assert_eq!(at(51, 6), None);
        assert_eq!(at(31, 3), None);
        assert_eq!(from_at(2, 11, 6), Some(2));
        assert_eq!(from_at(4, 31, 6), Some(4));
        assert_eq!(from_at(6, 11, 6), None);
        let from_largest = |from, until| {
            let found = store.max_timestamp_batch(P, Offset(from), Offset(until));
            offset(found.unwrap())
        };
        let largest = |until| from_largest(0, until);
        assert_eq!(from_largest(4, 6), Some(4));
        assert_eq!(from_largest(5, 6), Some(5));
        assert_eq!(from_largest(6, 6), None);
        assert_eq!(largest(6), Some(3));
        assert_eq!(largest(3), Some(1));
        assert_eq!(largest(1), Some(0));
        let entry = Entry::LogStart {
            partition: P,
            offset: Offset(4),
        };
        store.append(commit(vec![entry], 0)).unwrap();
        assert_eq!(at(0, 6), Some(4));
        assert_eq!(largest(6), Some(4));
    });
}

#[test]
fn the_log_start_moves_and_never_back() {
    each_store(|store| {
        for n in 0..40 {
            store
                .append(commit(vec![append(P.0, vec![batch(n, 1, n, 2000)])], n))
                .unwrap();
        }
        let start = |offset| Entry::LogStart {
            partition: P,
            offset: Offset(offset),
        };
        store.append(commit(vec![start(30)], 50)).unwrap();
        store.append(commit(vec![start(20)], 50)).unwrap();
        let bounds = store.bounds(P).unwrap();
        assert_eq!(
            (bounds.log_start, bounds.next_offset),
            (Offset(30), Offset(40))
        );
        assert!(store.read(P, Offset(29), FAR, 10).unwrap().is_empty());
        assert_eq!(
            joined(&store.read(P, Offset(30), FAR, 1).unwrap()),
            whole(&batch(30, 1, 30, 2000))
        );
        let slices = store.slices(P).unwrap();
        assert!(
            slices.iter().all(|slice| slice.next_offset > Offset(30)),
            "{slices:?}"
        );
        assert_eq!(
            slices.iter().map(|of| of.bytes).sum::<u64>(),
            store.partition_bytes(P).unwrap()
        );
        store.append(commit(vec![start(40)], 50)).unwrap();
        assert!(store.slices(P).unwrap().is_empty());
        assert_eq!(store.partition_bytes(P).unwrap(), 0);
        store
            .append(commit(vec![append(P.0, vec![batch(40, 2, 1, 10)])], 60))
            .unwrap();
        let bounds = store.bounds(P).unwrap();
        assert_eq!(
            (bounds.log_start, bounds.next_offset),
            (Offset(40), Offset(42))
        );
    });
}

#[test]
fn a_dropped_partition_is_gone_and_others_stay() {
    each_store(|store| {
        for n in 0..30 {
            let entries = vec![
                append(P.0, vec![batch(n, 1, n, 1500)]),
                append(6, vec![batch(n, 1, n, 1500)]),
            ];
            store.append(commit(entries, n)).unwrap();
        }
        store
            .append(commit(vec![Entry::Drop { partition: P }], 50))
            .unwrap();
        assert_eq!(store.bounds(P).unwrap().next_offset, Offset(0));
        assert!(store.read(P, Offset(0), FAR, 10).unwrap().is_empty());
        assert!(store.slices(P).unwrap().is_empty());
        assert_eq!(store.partition_bytes(P).unwrap(), 0);
        store.free_segments().unwrap();
        let rest = joined(
            &store
                .read(PartitionId(6), Offset(0), FAR, usize::MAX >> 1)
                .unwrap(),
        );
        assert_eq!(rest.len(), 30 * 1561);
    });
}

#[test]
fn views_take_updates_and_scan_in_order() {
    each_store(|store| {
        let update = |key: &str, value: Option<&str>| ViewUpdate {
            view: View::Offsets,
            key: key.into(),
            value: value.map(Into::into),
        };
        let put = |updates| {
            let entries = vec![append(1, vec![])];
            store
                .append(sedge_storage::Commit {
                    entries,
                    updates,
                    append_ms: 0,
                })
                .unwrap();
        };
        put(vec![
            update("b1", Some("1")),
            update("b3", Some("3")),
            update("c", Some("9")),
        ]);
        store.close_views_for_test();
        put(vec![
            update("b2", Some("2")),
            update("b3", None),
            update("a", Some("0")),
        ]);
        let mut seen = Vec::new();
        store
            .view_scan(View::Offsets, b"b", &mut |key, value| {
                seen.push((key.to_vec(), value.to_vec()));
            })
            .unwrap();
        assert_eq!(
            seen,
            [
                (b"b1".to_vec(), b"1".to_vec()),
                (b"b2".to_vec(), b"2".to_vec())
            ]
        );
        let page = |prefix: &[u8], from: &[u8], count: usize| {
            let mut keys = Vec::new();
            let mut each = |key: &[u8], _: &[u8]| {
                keys.push(String::from_utf8(key.to_vec()).unwrap());
                keys.len() < count
            };
            store
                .view_scan_from(View::Offsets, prefix, from, &mut each)
                .unwrap();
            keys
        };
        assert_eq!(page(b"", b"", 9), ["a", "b1", "b2", "c"]);
        for (from, rest) in [
            ("", 0),
            ("a", 0),
            ("a\0", 1),
            ("b1", 1),
            ("b2", 2),
            ("b3", 3),
        ] {
            for count in 1..5 {
                let all = ["a", "b1", "b2", "c"];
                let expected = &all[rest..(rest + count).min(all.len())];
                assert_eq!(
                    page(b"", from.as_bytes(), count),
                    expected,
                    "{from} {count}"
                );
            }
        }
        assert_eq!(page(b"b", b"b2", 9), ["b2"]);
        assert!(page(b"b", b"c", 9).is_empty());
        assert_eq!(
            store.view_get(View::Offsets, b"c").unwrap(),
            Some(b"9".to_vec())
        );
        assert_eq!(store.view_get(View::Offsets, b"b3").unwrap(), None);
        assert_eq!(store.view_get(View::Producers, b"c").unwrap(), None);
    });
}

/// Creates enough pending updates for an optional flush.
trait FlushNow {
    fn close_views_for_test(&self);
}

impl FlushNow for dyn LogStore + '_ {
    fn close_views_for_test(&self) {
        for _ in 0..sedge_storage::limits::FLUSH_CALLS {
            self.flush_views().unwrap();
        }
    }
}

#[test]
fn a_commit_larger_than_a_segment_gets_its_own() {
    each_store(|store| {
        let large = batch(0, 1, 1, 200_000);
        store
            .append(commit(vec![append(P.0, vec![large.clone()])], 0))
            .unwrap();
        store
            .append(commit(vec![append(P.0, vec![batch(1, 1, 1, 10)])], 0))
            .unwrap();
        assert_eq!(
            joined(&store.read(P, Offset(0), FAR, 1).unwrap()),
            whole(&large)
        );
        assert_eq!(store.bounds(P).unwrap().next_offset, Offset(2));
    });
}

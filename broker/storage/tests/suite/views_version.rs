//! Tests views that another version wrote: they are rebuilt, and nothing is lost.

use std::sync::Arc;

use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::disk::memory::MemoryDisk;
use sedge_storage::views::memory_base::MemoryBase;
use sedge_storage::views::{Base, Change, Space};
use sedge_storage::{
    Entry, LogStore, OpenReport, Recovery, Store, View, ViewReader, ViewUpdate, open_with,
};

use crate::bytes_of::{Derive, append, batch, commit, whole};
use crate::stores::{in_memory, small};

const PARTITIONS: u32 = 4;
const COMMITS: i64 = 60;

/// Builds a key of table, id and offset, as the store does.
fn key(table: u8) -> Vec<u8> {
    [&[table][..], &[0; 16]].concat()
}

/// The table with the applied position, and the one that had it before versions were introduced.
const APPLIED: u8 = 6;
const APPLIED_BEFORE: u8 = 5;

/// A caller whose entries have another version.
#[derive(Default)]
struct Newer(Derive);

impl Recovery for Newer {
    fn replay(
        &mut self,
        views: &dyn ViewReader,
        partition: PartitionId,
        batches: &[Batch],
        append_ms: i64,
    ) -> Vec<ViewUpdate> {
        self.0.replay(views, partition, batches, append_ms)
    }

    fn dropped(&mut self, views: &dyn ViewReader, partition: PartitionId) -> Vec<ViewUpdate> {
        self.0.dropped(views, partition)
    }

    fn views_version(&self) -> u8 {
        self.0.views_version() + 1
    }
}

/// Returns a log over several segments, with a log start, closed in order.
fn written() -> (MemoryDisk, MemoryBase) {
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    let (store, _) = in_memory(&disk, &base, small());
    for offset in 0..COMMITS {
        let of = |partition| append(partition, vec![batch(offset, 1, offset, 700)]);
        let entries = (1..=PARTITIONS).map(of).collect();
        store.append(commit(entries, offset)).unwrap();
    }
    let start = Entry::LogStart {
        partition: PartitionId(1),
        offset: Offset(10),
    };
    store.append(commit(vec![start], COMMITS)).unwrap();
    store.close().unwrap();
    (disk, base)
}

/// Log start and end of a partition, its batches, and its entry in the caller's view.
type Held = (i64, i64, Vec<u8>, Option<Vec<u8>>);

/// Returns everything that a caller can read.
fn contents(store: &Store) -> Vec<Held> {
    let of = |partition: u32| {
        let id = PartitionId(partition);
        let bounds = store.bounds(id).unwrap();
        let (from, until) = (bounds.log_start, bounds.next_offset);
        let read = store.read(id, from, until, usize::MAX >> 1).unwrap();
        let view = store.view_get(View::Producers, &partition.to_be_bytes());
        (from.0, until.0, read.concat(), view.unwrap())
    };
    (1..=PARTITIONS).map(of).collect()
}

fn expected() -> Vec<Held> {
    let of = |partition: u32| {
        let from = if partition == 1 { 10 } else { 0 };
        let batches = (from..COMMITS).flat_map(|offset| whole(&batch(offset, 1, offset, 700)));
        let view = COMMITS.to_be_bytes().to_vec();
        (from, COMMITS, batches.collect(), Some(view))
    };
    (1..=PARTITIONS).map(of).collect()
}

fn reopen(
    disk: &MemoryDisk,
    base: &MemoryBase,
    recovery: &mut dyn Recovery,
) -> (Store, OpenReport) {
    let disk = Arc::new(disk.after_kill());
    let mut views = |anew: bool| -> Result<Box<dyn Base>, _> {
        if anew {
            base.clear();
        }
        Ok(Box::new(base.clone()))
    };
    open_with(disk, &mut views, small(), recovery).unwrap()
}

fn change(base: &MemoryBase, table: u8, value: Option<Vec<u8>>) {
    let (space, key) = (Space::Log, key(table));
    base.write(vec![Change { space, key, value }]).unwrap();
}

fn applied(base: &MemoryBase, table: u8) -> Option<Vec<u8>> {
    base.get(Space::Log, &key(table)).unwrap()
}

#[test]
fn views_of_this_version_are_read() {
    let (disk, base) = written();
    let (store, report) = reopen(&disk, &base, &mut Derive::default());
    assert!(!report.views_rebuilt && report.frames_replayed == 0);
    assert_eq!(contents(&store), expected());
}

/// The first views had no version. This is their content: the same entries, and the position under
/// another key.
#[test]
fn views_from_before_there_were_versions_are_made_anew() {
    let (disk, base) = written();
    let value = applied(&base, APPLIED).unwrap();
    change(&base, APPLIED, None);
    change(&base, APPLIED_BEFORE, Some(value[2..].to_vec()));
    let (store, report) = reopen(&disk, &base, &mut Derive::default());
    assert!(report.views_rebuilt && report.holes.is_empty() && !report.lost_tail);
    assert_eq!(contents(&store), expected());
    // An old version finds no position here, and rebuilds the views as well.
    assert!(applied(&base, APPLIED).is_some() && applied(&base, APPLIED_BEFORE).is_none());
}

#[test]
fn views_of_another_version_are_made_anew() {
    let check = |at: usize, by: u8| {
        let (disk, base) = written();
        let mut value = applied(&base, APPLIED).unwrap();
        value[at] = value[at].wrapping_add(by);
        change(&base, APPLIED, Some(value.clone()));
        let (store, report) = reopen(&disk, &base, &mut Derive::default());
        assert!(report.views_rebuilt && report.holes.is_empty(), "{at} {by}");
        assert_eq!(contents(&store), expected());
        assert_ne!(applied(&base, APPLIED).unwrap()[..2], value[..2]);
    };
    for by in [1, 100, 255] {
        check(0, by);
        check(1, by);
    }
}

#[test]
fn a_caller_of_another_version_replays_everything() {
    let (disk, base) = written();
    let mut newer = Newer::default();
    let (store, report) = reopen(&disk, &base, &mut newer);
    let lives = COMMITS as usize * PARTITIONS as usize - 10;
    assert!(report.views_rebuilt && newer.0.batches >= lives);
    assert_eq!(contents(&store), expected());
    store.close().unwrap();
    let mut again = Newer::default();
    let (store, report) = reopen(&disk, &base, &mut again);
    assert!(!report.views_rebuilt && again.0.batches == 0);
    assert_eq!(contents(&store), expected());
}

/// If the log is empty, the entries of such views must not stand in for it.
#[test]
fn views_from_before_there_were_versions_do_not_outlive_their_log() {
    let (_, base) = written();
    let value = applied(&base, APPLIED).unwrap();
    change(&base, APPLIED, None);
    change(&base, APPLIED_BEFORE, Some(value[2..].to_vec()));
    let (store, _) = reopen(&MemoryDisk::new(), &base, &mut Derive::default());
    assert_eq!(store.partitions().unwrap(), []);
    assert_eq!(
        store
            .view_get(View::Producers, &1u32.to_be_bytes())
            .unwrap(),
        None
    );
}

/// Rebuilding the views must not hide that the log lost commits that they had.
#[test]
fn views_of_another_caller_still_tell_of_a_tail_that_the_log_lost() {
    let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
    let (store, _) = in_memory(&disk, &base, small());
    let append_one = |offset: i64| {
        let batches = vec![batch(offset, 1, offset, 700)];
        store
            .append(commit(vec![append(1, batches)], offset))
            .unwrap();
    };
    (0..COMMITS / 2).for_each(append_one);
    let before = disk.after_kill();
    (COMMITS / 2..COMMITS).for_each(append_one);
    store.close().unwrap();
    let (_, report) = reopen(&before, &base, &mut Newer::default());
    assert!(report.lost_tail && report.views_rebuilt);
    let lost = report.holes.iter().flat_map(|hole| &hole.lost);
    let lost: Vec<_> = lost
        .map(|of| (of.base_offset.0, of.next_offset.0))
        .collect();
    assert_eq!(lost, [(COMMITS / 2, COMMITS)]);
}

//! Crashes at any moment, against the model: synced data is there, commits are complete, deleted
//! data does not come back, and a restart reads what the run before it wrote.
//!
//! Partition 0 gets a record in each commit, which shows the commits that survived. A failing seed
//! is printed; to run it alone: `SEDGE_SEED=N cargo test -p sedge-storage crash`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::disk::memory::{Fuse, MemoryDisk};
use sedge_storage::views::memory_base::MemoryBase;
use sedge_storage::{Cold, Commit, Entry, LogStore, MemoryStore, Options, Store, View};

use crate::bytes_of::{append, batch, commit};
use crate::holes::{self, Torn};
use crate::stores::in_memory;

const SEEDS: u64 = 200;
const ROUNDS: usize = 4;
const OPERATIONS: u64 = 60;
const WITNESS: PartitionId = PartitionId(0);
const FAR: Offset = Offset(i64::MAX);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Crash {
    Kill,
    PowerCut,
}

#[test]
fn synced_commits_outlive_crashes() {
    let one = std::env::var("SEDGE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seeds = one.map_or(0..SEEDS, |seed| seed..seed + 1);
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| run(seed));
        assert!(
            outcome.is_ok(),
            "SEDGE_SEED={seed} cargo test -p sedge-storage crash"
        );
    }
}

/// One history over several crashes.
struct History {
    random: Random,
    /// The appended commits, by the offset of their witness; `None` for those that a crash took.
    commits: Vec<Option<Commit>>,
    /// Torn commits with a whole head and whole commits behind them: the head, and the entries that
    /// still count.
    torn: BTreeMap<usize, (Torn, Commit)>,
    /// Number of them that were written, and number that were synced.
    written: usize,
    synced: usize,
    /// Number of commits that must have survived the last crash.
    safe: usize,
    next_partition: u32,
    live: Vec<u32>,
}

fn run(seed: u64) {
    let mut history = History {
        random: Random(seed),
        commits: Vec::new(),
        torn: BTreeMap::new(),
        written: 0,
        synced: 0,
        safe: 0,
        next_partition: 4,
        live: vec![1, 2, 3],
    };
    let options = Options {
        segment_bytes: 8 << (10 + history.random.below(3)),
        views_flush_bytes: 4 << (10 + history.random.below(5)),
        ..Options::default()
    };
    let mut disk = MemoryDisk::new();
    let mut base = MemoryBase::new();
    for _ in 0..ROUNDS {
        let fuse = Fuse::default();
        disk.set_fuse(fuse.clone());
        base = base.with_fuse(fuse.clone());
        let torn = holes::torn(&disk);
        let (store, _) = in_memory(&disk, &base, options.clone());
        history.check_survivors(&store, torn);
        if history.random.below(4) > 0 {
            fuse.set(history.random.below(150) as i64);
        }
        for _ in 0..history.random.below(OPERATIONS) {
            if fuse.is_blown() {
                break;
            }
            history.operate(&store);
        }
        let crash = if history.random.below(2) == 0 {
            Crash::Kill
        } else {
            Crash::PowerCut
        };
        drop(store);
        let mut keep = || history.random.below(3) > 0;
        disk = match crash {
            Crash::Kill => disk.after_kill(),
            Crash::PowerCut => disk.after_power_cut(&mut keep),
        };
        history.safe = if crash == Crash::Kill {
            history.written
        } else {
            history.synced
        };
        base = if history.random.below(5) == 0 {
            MemoryBase::new()
        } else {
            base.copy()
        };
    }
    let torn = holes::torn(&disk);
    let (store, _) = in_memory(&disk, &base, options.clone());
    history.check_survivors(&store, torn);
}

impl History {
    fn operate(&mut self, store: &Store) {
        match self.random.below(24) {
            0..=12 => self.append(store),
            20..=22 => self.append_replacement(store),
            23 => {
                let _ = store.roll();
            }
            13 | 14 => {
                if store.sync().is_ok() {
                    self.synced = self.commits.len();
                }
            }
            15 | 16 => {
                let _ = store.flush_views();
            }
            17 => {
                let _ = store.free_segments();
            }
            _ => self.append_deletion(store),
        }
    }

    fn append(&mut self, store: &Store) {
        let mut entries = vec![self.witness(store)];
        for _ in 0..=self.random.below(3) {
            let partition = self.live[self.random.below(self.live.len() as u64) as usize];
            let taken = |entry: &Entry| match entry {
                Entry::Append { partition: of, .. } => of.0 == partition,
                _ => false,
            };
            if entries.iter().any(taken) {
                continue;
            }
            let mut next = store.bounds(PartitionId(partition)).unwrap().next_offset.0;
            let mut batches = Vec::new();
            for _ in 0..=self.random.below(3) {
                let records = 1 + self.random.below(4) as i32;
                let bytes = self.random.below(1500) as usize;
                batches.push(batch(next, records, self.random.below(1000) as i64, bytes));
                next += i64::from(records);
            }
            entries.push(append(partition, batches));
        }
        self.commit(store, entries);
    }

    fn append_deletion(&mut self, store: &Store) {
        let at = self.random.below(self.live.len() as u64) as usize;
        let partition = PartitionId(self.live[at]);
        let witness = self.witness(store);
        if self.random.below(6) == 0 {
            self.live[at] = self.next_partition;
            self.next_partition += 1;
            self.commit(store, vec![witness, Entry::Drop { partition }]);
            return;
        }
        let bounds = store.bounds(partition).unwrap();
        let length = (bounds.next_offset.0 - bounds.log_start.0) as u64;
        let offset = bounds.log_start.plus(self.random.below(length + 1) as i64);
        self.commit(store, vec![witness, Entry::LogStart { partition, offset }]);
    }

    /// Writes some or all batches of a partition again to a cold segment. The last one stays, as a
    /// cleaner keeps it: it marks the end of the log.
    fn append_replacement(&mut self, store: &Store) {
        let at = self.random.below(self.live.len() as u64) as usize;
        let partition = PartitionId(self.live[at]);
        let end = store.bounds(partition).unwrap().next_offset;
        let active = store.active_segment();
        let mut slices = store.slices(partition).unwrap();
        slices.retain(|slice| Some(slice.segment) != active);
        let Some(first) = slices.get(self.random.below(2) as usize).copied() else {
            return;
        };
        let from = first
            .first_offset
            .max(store.bounds(partition).unwrap().log_start);
        let mut next = slices.last().unwrap().next_offset;
        let bytes = slices.iter().map(|slice| slice.bytes).sum();
        let read = store.read(partition, from, next, usize::MAX >> 1).unwrap();
        let mut read = Bytes::from(read.concat());
        let model = MemoryStore::new();
        let Ok(mut cold) = store.begin_cold(bytes) else {
            return;
        };
        let mut copy = model.begin_cold(bytes).unwrap();
        let is_compacted = self.random.below(2) == 0;
        let keeps_all = self.random.below(3) == 0;
        let stops_early = self.random.below(3) == 0;
        let mut base = first.first_offset;
        let mut part = 0;
        while let Some(batch) = Batch::split_from(&mut read) {
            let behind = batch.header.next_offset();
            let here = slices.partition_point(|slice| slice.next_offset < behind);
            if here > part {
                part = here;
                cold.cut();
            }
            if stops_early && self.random.below(20) == 0 && behind < next {
                next = behind;
                read = Bytes::new();
            }
            if keeps_all || behind == end || self.random.below(2) == 0 {
                copy.push(partition, batch.clone(), first.append_ms)
                    .unwrap();
                if cold.push(partition, batch, first.append_ms).is_err() {
                    return;
                }
            }
        }
        let Ok(cold) = cold.finish() else { return };
        if self.random.below(10) == 0 {
            // The segment is never adopted.
            return;
        }
        let (cold, copy) = (Arc::new(cold), Arc::new(copy.finish().unwrap()));
        // Sometimes in several commits, of which a crash may take the last ones.
        for slice in &slices {
            let until = slice.next_offset.min(next);
            if base >= until || (until < next && self.random.below(2) == 0) {
                continue;
            }
            let entry = |cold: &Arc<Cold>| Entry::Replace {
                cold: cold.clone(),
                partition,
                base,
                next: until,
                leader_epoch: None,
                is_compacted,
            };
            let witness = self.witness(store);
            self.commit_as(
                store,
                vec![witness.clone(), entry(&cold)],
                vec![witness, entry(&copy)],
            );
            base = until;
            if self.written < self.commits.len() {
                return;
            }
        }
    }

    fn witness(&self, store: &Store) -> Entry {
        assert_eq!(
            store.bounds(WITNESS).unwrap().next_offset.0,
            self.commits.len() as i64
        );
        append(WITNESS.0, vec![batch(self.commits.len() as i64, 1, 0, 1)])
    }

    fn commit(&mut self, store: &Store, entries: Vec<Entry>) {
        self.commit_as(store, entries.clone(), entries);
    }

    fn commit_as(&mut self, store: &Store, entries: Vec<Entry>, of_model: Vec<Entry>) {
        let append_ms = self.commits.len() as i64;
        self.commits.push(Some(commit(of_model, append_ms)));
        if store.append(commit(entries, append_ms)).is_ok() {
            self.written = self.commits.len();
        }
    }

    /// Checks that a crash left complete commits, among them all synced ones, and that the state is
    /// the one the model derives from them.
    fn check_survivors(&mut self, store: &Store, torn: Vec<Torn>) {
        let chunks = store
            .read(WITNESS, Offset(0), FAR, usize::MAX >> 1)
            .unwrap();
        let witnesses: BTreeSet<i64> = chunks
            .concat()
            .chunks(62)
            .map(|bytes| i64::from_be_bytes(*bytes.first_chunk().unwrap()))
            .collect();
        let next = store.bounds(WITNESS).unwrap().next_offset.0 as usize;
        for torn in torn {
            let at = torn.commit().expect("rows without batches are not torn");
            // A torn commit that was found before is still on the disk.
            if let Some(Some(commit)) = self.commits.get(at) {
                self.torn.insert(at, (torn, holes::left_of(commit)));
            }
        }
        self.commits.truncate(next);
        self.torn.retain(|at, _| *at < next);
        self.written = next;
        for (at, slot) in self.commits.iter_mut().enumerate() {
            let there = witnesses.contains(&(at as i64));
            if slot.is_some() && !there {
                assert!(
                    at >= self.safe,
                    "commit {at} of {} safe ones is lost",
                    self.safe
                );
                *slot = None;
            }
            assert!(slot.is_some() || !there, "commit {at} came back");
        }
        assert!(
            self.safe <= next,
            "{next} commits of {} safe ones are left",
            self.safe
        );
        let model = MemoryStore::new();
        let mut ends: BTreeMap<PartitionId, Offset> = BTreeMap::new();
        for (at, commit) in self.commits.iter().enumerate() {
            if let Some(commit) = commit {
                ends.retain(|id, _| !drops(commit, *id));
                model.append(commit.clone()).unwrap();
            } else if let Some((torn, left)) = self.torn.get(&at) {
                model.append(left.clone()).unwrap();
                for (partition, next) in torn.ends() {
                    let end = ends.entry(partition).or_default();
                    *end = next.max(*end);
                }
            }
        }
        for partition in (0..self.next_partition).map(PartitionId) {
            let end = ends.get(&partition).copied().unwrap_or_default();
            compare(store, &model, partition, end);
        }
    }
}

fn drops(commit: &Commit, partition: PartitionId) -> bool {
    let is_drop = |of: &Entry| matches!(of, Entry::Drop { partition: of } if *of == partition);
    commit.entries.iter().any(is_drop)
}

/// `end` is the lowest possible log end, by the heads of torn commits.
fn compare(store: &Store, model: &MemoryStore, partition: PartitionId, end: Offset) {
    let mut bounds = model.bounds(partition).unwrap();
    let is_empty = bounds.log_start >= bounds.next_offset;
    bounds.next_offset = bounds.next_offset.max(end);
    let found = store.bounds(partition).unwrap();
    // A rebuild does not learn how far removed records had been compacted.
    assert!(
        found.compacted_until <= bounds.compacted_until,
        "{partition}: {found:?}, not {bounds:?}"
    );
    bounds.compacted_until = found.compacted_until;
    // The row of a log start has the epoch of records that a crash took.
    bounds.leader_epoch = bounds.leader_epoch.or(found.leader_epoch);
    assert_eq!(found, bounds, "bounds of {partition}");
    let read =
        |store: &dyn LogStore, from, max| store.read(partition, from, FAR, max).unwrap().concat();
    let mut from = bounds.log_start;
    let (got, want) = (
        read(store, from, usize::MAX >> 1),
        read(model, from, usize::MAX >> 1),
    );
    assert!(
        got == want,
        "partition {partition}: {} bytes, not {}",
        got.len(),
        want.len()
    );
    while from < bounds.next_offset {
        assert!(
            read(store, from, 3000) == read(model, from, 3000),
            "{partition} from {from}: {:?}, not {:?}",
            offsets(read(store, from, 3000)),
            offsets(read(model, from, 3000))
        );
        from = from.plus(23);
    }
    for time in [0, 300, 900, 999] {
        let at = |store: &dyn LogStore| {
            store
                .first_batch_at(partition, time, Offset(0), FAR)
                .unwrap()
        };
        assert_eq!(at(store), at(model), "{partition} at {time}");
    }
    let largest = |store: &dyn LogStore| {
        store
            .max_timestamp_batch(partition, Offset(0), FAR)
            .unwrap()
    };
    assert_eq!(largest(store), largest(model), "{partition}");
    let slices = store.slices(partition).unwrap();
    let bytes: u64 = slices.iter().map(|slice| slice.bytes).sum();
    assert_eq!(
        bytes,
        store.partition_bytes(partition).unwrap(),
        "{partition}: {slices:?}"
    );
    assert!(bytes >= model.partition_bytes(partition).unwrap());
    let key = partition.0.to_be_bytes();
    let end = |store: &dyn LogStore| store.view_get(View::Producers, &key).unwrap();
    // A rebuild derives entries from the remaining batches: from an empty log, none.
    if end(store).is_some() || !is_empty {
        assert_eq!(end(store), end(model), "view of {partition}");
    }
}

/// Returns the offsets and sizes of batches.
fn offsets(read: Vec<u8>) -> Vec<(i64, usize)> {
    let mut read = Bytes::from(read);
    std::iter::from_fn(|| Batch::split_from(&mut read))
        .map(|batch| (batch.header.base_offset().0, batch.bytes()))
        .collect()
}

/// SplitMix64: the same seed gives the same run.
#[derive(Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

//! Crashes at any moment, against the model: what was synced is there, commits are whole, nothing
//! comes back that was deleted, and a restart reads what the run before it wrote.
//!
//! Partition 0 gets a record in each commit, so that what survived can be told. A failing seed is
//! printed; to run it alone: `SEDGE_SEED=N cargo test -p sedge-storage crash`.

use std::collections::BTreeSet;

use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::disk::memory::{Fuse, MemoryDisk};
use sedge_storage::views::memory_base::MemoryBase;
use sedge_storage::{Commit, Entry, LogStore, MemoryStore, Options, Store, View};

use crate::bytes_of::{append, batch, commit};
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
    /// What was appended, by the offset of its witness; `None` for what a crash took.
    commits: Vec<Option<Commit>>,
    /// Of those, so many were written, and so many synced.
    written: usize,
    synced: usize,
    /// So many must have outlived the last crash.
    safe: usize,
    next_partition: u32,
    live: Vec<u32>,
}

fn run(seed: u64) {
    let mut history = History {
        random: Random(seed),
        commits: Vec::new(),
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
        let (store, _) = in_memory(&disk, &base, options.clone());
        history.check_survivors(&store);
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
    let (store, _) = in_memory(&disk, &base, options.clone());
    history.check_survivors(&store);
}

impl History {
    fn operate(&mut self, store: &Store) {
        match self.random.below(20) {
            0..=12 => self.append(store),
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

    fn witness(&self, store: &Store) -> Entry {
        assert_eq!(
            store.bounds(WITNESS).unwrap().next_offset.0,
            self.commits.len() as i64
        );
        append(WITNESS.0, vec![batch(self.commits.len() as i64, 1, 0, 1)])
    }

    fn commit(&mut self, store: &Store, entries: Vec<Entry>) {
        let commit = commit(entries, self.commits.len() as i64);
        self.commits.push(Some(commit.clone()));
        if store.append(commit).is_ok() {
            self.written = self.commits.len();
        }
    }

    /// What a crash left is whole commits, among them all that were synced; and it is what the
    /// model makes of them.
    fn check_survivors(&mut self, store: &Store) {
        let chunks = store
            .read(WITNESS, Offset(0), FAR, usize::MAX >> 1)
            .unwrap();
        let witnesses: BTreeSet<i64> = chunks
            .concat()
            .chunks(62)
            .map(|bytes| i64::from_be_bytes(*bytes.first_chunk().unwrap()))
            .collect();
        let next = store.bounds(WITNESS).unwrap().next_offset.0 as usize;
        self.commits.truncate(next);
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
        for commit in self.commits.iter().flatten() {
            model.append(commit.clone()).unwrap();
        }
        for partition in 0..self.next_partition {
            compare(store, &model, PartitionId(partition));
        }
    }
}

fn compare(store: &Store, model: &MemoryStore, partition: PartitionId) {
    let bounds = model.bounds(partition).unwrap();
    let mut got = store.bounds(partition).unwrap();
    if bounds.leader_epoch.is_none() {
        // A log start says the epoch, though a crash took the batches that it was of.
        got.leader_epoch = None;
    }
    assert_eq!(got, bounds, "bounds of {partition}");
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
            "{partition} from {from}"
        );
        from = from.plus(23);
    }
    for time in [0, 300, 900, 999] {
        let at = |store: &dyn LogStore| store.first_batch_at(partition, time, FAR).unwrap();
        assert_eq!(at(store), at(model), "{partition} at {time}");
    }
    let largest = |store: &dyn LogStore| store.max_timestamp_batch(partition, FAR).unwrap();
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
    // A rebuild derives from what is left: of an empty log, nothing.
    if end(store).is_some() || bounds.log_start < bounds.next_offset {
        assert_eq!(end(store), end(model), "view of {partition}");
    }
}

/// SplitMix64: the same seed, the same run.
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

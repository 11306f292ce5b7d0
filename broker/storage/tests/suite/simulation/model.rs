//! The expected contents of the log: the commits in order, and what faults may have taken of them.

use std::collections::{BTreeMap, BTreeSet};

use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::disk::Disk;
use sedge_storage::disk::memory::MemoryDisk;
use sedge_storage::{Commit, Entry, LogBounds, LogStore, MemoryStore, SegmentId};

use crate::holes::{self, Torn};

pub const WITNESS: PartitionId = PartitionId(0);

/// Offsets of a partition that a flipped bit may have taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    pub partition: PartitionId,
    pub base: Offset,
    pub next: Offset,
}

/// The model; see the module.
#[derive(Debug, Default)]
pub struct Model {
    /// Commits by the offset of their witness; `None` for those that a crash took.
    pub commits: Vec<Option<Commit>>,
    /// Number of successful appends: all of them survive a kill.
    pub written: usize,
    /// Number of synced commits: all of them survive a power cut.
    pub synced: usize,
    /// Parts of commits lost to a flipped bit: (commit, partition).
    gone: BTreeSet<(usize, PartitionId)>,
    pub hits: Vec<Hit>,
    /// Commits that a restart removed from the log because of flipped bits.
    lost: BTreeSet<usize>,
    /// Damaged frames with a whole head and data behind them, on the disk and in freed segments.
    torn: Vec<Torn>,
    /// The entries of torn commits that count, by the number of the commit.
    left: BTreeMap<usize, Commit>,
    /// The lowest possible end of each log, by those heads.
    ends: BTreeMap<PartitionId, Offset>,
    /// Log ends by heads that the last start counted. The views keep them when the head is lost.
    counted: BTreeMap<PartitionId, Offset>,
    /// The entries of the producers' view that the last start found or made.
    pub entries: BTreeMap<PartitionId, Option<Vec<u8>>>,
    /// The state that results from the commits.
    pub store: MemoryStore,
}

impl Clone for Model {
    fn clone(&self) -> Self {
        let mut copy = Self {
            commits: self.commits.clone(),
            written: self.written,
            synced: self.synced,
            gone: self.gone.clone(),
            hits: self.hits.clone(),
            lost: self.lost.clone(),
            torn: self.torn.clone(),
            left: self.left.clone(),
            ends: BTreeMap::new(),
            counted: self.counted.clone(),
            entries: self.entries.clone(),
            store: MemoryStore::new(),
        };
        copy.rebuild();
        copy
    }
}

impl Model {
    pub fn is_hit(&self, partition: PartitionId, base: Offset, next: Offset) -> bool {
        self.hits
            .iter()
            .any(|hit| hit.partition == partition && hit.base < next && base < hit.next)
    }

    pub fn has_hits(&self, partition: PartitionId) -> bool {
        self.hits.iter().any(|hit| hit.partition == partition)
    }

    /// Rebuilds the state from the commits.
    pub fn rebuild(&mut self) {
        self.store = MemoryStore::new();
        self.ends.clear();
        let torn = self.torn.iter();
        let torn = torn.filter_map(|torn| Some((torn.commit()?, torn)));
        let torn: BTreeMap<usize, &Torn> = torn.collect();
        for (at, commit) in self.commits.iter().enumerate() {
            if let Some(torn) = torn.get(&at) {
                for (partition, next) in torn.ends() {
                    let end = self.ends.entry(partition).or_default();
                    *end = next.max(*end);
                }
            }
            let Some(mut commit) = commit.clone() else {
                if torn.contains_key(&at)
                    && let Some(left) = self.left.get(&at)
                {
                    self.store.append(left.clone()).unwrap();
                }
                continue;
            };
            forget_dropped(&mut self.ends, &commit);
            commit.entries.retain(|entry| match entry {
                Entry::Append { partition, .. } => !self.gone.contains(&(at, *partition)),
                _ => true,
            });
            commit.updates.retain(|update| {
                let is_of = |part: &(usize, PartitionId)| update.key == part.1.0.to_be_bytes();
                !self.gone.iter().any(|part| part.0 == at && is_of(part))
            });
            self.store.append(commit).unwrap();
        }
    }

    /// Appends a commit that was written.
    pub fn append(&mut self, commit: Commit) {
        forget_dropped(&mut self.ends, &commit);
        self.store.append(commit.clone()).unwrap();
        self.commits.push(Some(commit));
        self.written = self.commits.len();
    }

    /// Finds the torn frames on the disk, before a start. The log ends of freed segments were
    /// written again.
    pub fn find_torn(&mut self, disk: &MemoryDisk) {
        let there: Vec<SegmentId> = disk.list().unwrap().iter().map(|of| of.0).collect();
        self.torn.retain(|torn| !there.contains(&torn.segment));
        self.torn.extend(holes::torn(disk));
        for at in self.torn.iter().filter_map(Torn::commit) {
            if let Some(Some(commit)) = self.commits.get(at) {
                self.left.insert(at, holes::left_of(commit));
            }
        }
    }

    /// Takes the log end that a start found. The views may know one that an earlier start counted.
    pub fn end_found(&mut self, partition: PartitionId, found: Offset) {
        let wanted = self.bounds(partition).next_offset;
        if self.has_hits(partition) && found < wanted {
            self.cut(partition, found);
        } else if found > wanted && self.counted.get(&partition) == Some(&found) {
            self.ends.insert(partition, found);
        }
        match self.ends.get(&partition) {
            Some(end) => self.counted.insert(partition, *end),
            None => self.counted.remove(&partition),
        };
    }

    /// Returns the bounds of a partition.
    pub fn bounds(&self, partition: PartitionId) -> LogBounds {
        let mut bounds = self.store.bounds(partition).unwrap();
        let end = self.ends.get(&partition).copied().unwrap_or_default();
        bounds.next_offset = bounds.next_offset.max(end);
        bounds
    }

    /// Applies a crash. Of the witnesses within the log's bounds, those in `there` survived; the
    /// others were taken, or are `damaged`. Commits beyond the first `safe` may be taken. Returns
    /// the safe ones that a flipped bit took.
    pub fn survive(
        &mut self,
        safe: usize,
        witness: LogBounds,
        there: &BTreeSet<usize>,
        damaged: &BTreeSet<usize>,
    ) -> Vec<usize> {
        let log_start = witness.log_start.0 as usize;
        let next = witness.next_offset.0 as usize;
        let mut lost = Vec::new();
        for (at, slot) in self.commits.iter_mut().enumerate() {
            if at < log_start {
                continue;
            }
            if there.contains(&at) {
                assert!(slot.is_some(), "commit {at}, which a crash took, came back");
                continue;
            }
            let offset = Offset(at as i64);
            let is_hit =
                |hit: &Hit| hit.partition == WITNESS && hit.base <= offset && offset < hit.next;
            let hit = self.hits.iter().any(is_hit);
            assert!(
                slot.is_none() || at >= safe || hit,
                "commit {at} of {safe} safe ones is lost"
            );
            if hit && !damaged.contains(&at) && self.lost.insert(at) && at < safe {
                lost.push(at);
            }
            // A hit commit within the log may have survived except for its witness.
            if !hit {
                *slot = None;
            }
        }
        self.commits.truncate(next);
        self.gone.retain(|(at, _)| *at < next);
        self.lost.retain(|at| *at < next);
        self.cut_hits(WITNESS, Offset(next as i64));
        self.written = next;
        self.synced = self.synced.min(next);
        self.rebuild();
        lost
    }

    /// Cuts the partition at `next` after a restart: earlier than expected, if bits were flipped.
    fn cut(&mut self, partition: PartitionId, next: Offset) {
        let end = self.ends.get(&partition).copied().unwrap_or_default();
        assert!(
            end <= next,
            "partition {partition} ends at {next}, and a head says that it ended at {end}"
        );
        for (at, commit) in self.commits.iter().enumerate() {
            let entries = commit.iter().flat_map(|commit| &commit.entries);
            for entry in entries {
                let Entry::Append {
                    partition: of,
                    batches,
                } = entry
                else {
                    continue;
                };
                for batch in batches.iter().filter(|_| *of == partition) {
                    let (base, end) = (batch.header.base_offset(), batch.header.next_offset());
                    if end <= next || self.gone.contains(&(at, partition)) {
                        continue;
                    }
                    assert!(
                        self.is_hit(partition, base, end),
                        "partition {partition} ends at {next}, before {base}..{end}"
                    );
                    self.gone.insert((at, partition));
                    break;
                }
            }
        }
        self.cut_hits(partition, next);
        self.rebuild();
    }

    fn cut_hits(&mut self, partition: PartitionId, next: Offset) {
        for hit in self
            .hits
            .iter_mut()
            .filter(|hit| hit.partition == partition)
        {
            hit.next = hit.next.min(next);
        }
        self.hits.retain(|hit| hit.base < hit.next);
    }
}

/// Removes the log ends of partitions that `commit` drops.
fn forget_dropped(ends: &mut BTreeMap<PartitionId, Offset>, commit: &Commit) {
    for entry in &commit.entries {
        if let Entry::Drop { partition } = entry {
            ends.remove(partition);
        }
    }
}

//! Fetches that wait for data: on which partitions, for how many bytes, until when.
//!
//! The purgatory only counts. The caller reads a woken fetch again, and may park it again with the
//! same deadline. Bytes that arrive between reading and parking are not counted here: the caller
//! parks first and then checks the high watermarks again, or parks under the lock that guards them.
//!
//! **Invariant:** each parked fetch has exactly one entry in `deadlines` and one in each of its
//! partitions' watcher lists.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use sedge_protocol::ids::PartitionId;

use super::limits::{PARKED_MAX, WATCHES_MAX};

/// The id of a parked fetch, used only once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchId(pub u64);

/// There is no room to park the fetch: answer with the data that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

#[derive(Debug)]
struct Parked {
    deadline: u64,
    bytes_wanted: u64,
    partitions: Vec<PartitionId>,
}

#[derive(Debug, Default)]
pub struct Purgatory {
    next_id: u64,
    parked: BTreeMap<FetchId, Parked>,
    watchers: BTreeMap<PartitionId, BTreeSet<FetchId>>,
    deadlines: BTreeSet<(u64, FetchId)>,
    watches: usize,
}

impl Purgatory {
    #[must_use]
    pub const fn new() -> Self {
        Self {
            next_id: 0,
            parked: BTreeMap::new(),
            watchers: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            watches: 0,
        }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.parked.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parked.is_empty()
    }

    /// Returns when to call [`tick`](Self::tick) next, on the monotonic clock.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Parks a fetch until `bytes_wanted` more bytes have come to its partitions, or until
    /// `deadline`.
    ///
    /// # Errors
    /// [`Full`]; the fetch is not parked.
    pub fn park(
        &mut self,
        mut partitions: Vec<PartitionId>,
        bytes_wanted: u64,
        deadline: u64,
    ) -> Result<FetchId, Full> {
        partitions.sort_unstable();
        partitions.dedup();
        if self.parked.len() >= PARKED_MAX || self.watches + partitions.len() > WATCHES_MAX {
            return Err(Full);
        }
        let id = FetchId(self.next_id);
        self.next_id += 1;
        for partition in &partitions {
            self.watchers.entry(*partition).or_default().insert(id);
        }
        self.watches += partitions.len();
        self.deadlines.insert((deadline, id));
        self.parked.insert(
            id,
            Parked {
                deadline,
                bytes_wanted,
                partitions,
            },
        );
        Ok(id)
    }

    /// Counts `bytes` that became readable in a partition. Returns the fetches that have enough
    /// now; they are no longer parked.
    pub fn wake(&mut self, partition: PartitionId, bytes: u64) -> Vec<FetchId> {
        let Some(watchers) = self.watchers.get(&partition) else {
            return Vec::new();
        };
        let mut woken = Vec::new();
        for id in watchers {
            if let Some(parked) = self.parked.get_mut(id) {
                parked.bytes_wanted = parked.bytes_wanted.saturating_sub(bytes);
                if parked.bytes_wanted == 0 {
                    woken.push(*id);
                }
            }
        }
        for id in &woken {
            self.cancel(*id);
        }
        woken
    }

    /// Wakes all fetches that watch a partition, after something other than data happened to it
    /// (deletion, new leader epoch). They must look at it again.
    pub fn wake_all(&mut self, partition: PartitionId) -> Vec<FetchId> {
        let watchers = self.watchers.get(&partition);
        let woken: Vec<FetchId> = watchers.into_iter().flatten().copied().collect();
        for id in &woken {
            self.cancel(*id);
        }
        woken
    }

    /// Returns the fetches whose deadline has passed; they are no longer parked.
    pub fn tick(&mut self, now: u64) -> Vec<FetchId> {
        let due = self
            .deadlines
            .iter()
            .take_while(|(deadline, _)| *deadline <= now);
        let expired: Vec<FetchId> = due.map(|(_, id)| *id).collect();
        for id in &expired {
            self.cancel(*id);
        }
        expired
    }

    /// Removes a fetch whose client has gone. Returns false if it was no longer parked.
    pub fn cancel(&mut self, id: FetchId) -> bool {
        let Some(parked) = self.parked.remove(&id) else {
            return false;
        };
        self.deadlines.remove(&(parked.deadline, id));
        self.watches -= parked.partitions.len();
        for partition in parked.partitions {
            if let Some(watchers) = self.watchers.get_mut(&partition) {
                watchers.remove(&id);
                if watchers.is_empty() {
                    self.watchers.remove(&partition);
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const A: PartitionId = PartitionId(1);
    const B: PartitionId = PartitionId(2);

    fn assert_empty(purgatory: &Purgatory) {
        assert!(purgatory.is_empty());
        assert!(purgatory.watchers.is_empty());
        assert!(purgatory.deadlines.is_empty());
        assert_eq!(purgatory.watches, 0);
    }

    #[test]
    fn wakes_when_its_partitions_together_have_enough() {
        let mut purgatory = Purgatory::new();
        let id = purgatory.park(vec![A, B, A], 100, 500).unwrap();
        assert_eq!(purgatory.wake(A, 60), []);
        assert_eq!(purgatory.wake(PartitionId(9), 1000), []);
        assert_eq!(purgatory.wake(B, 40), [id]);
        assert_eq!(purgatory.wake(B, 40), []);
        assert_empty(&purgatory);
    }

    #[test]
    fn one_write_wakes_all_who_have_enough_by_it() {
        let mut purgatory = Purgatory::new();
        let small = purgatory.park(vec![A], 1, 500).unwrap();
        let large = purgatory.park(vec![A], 1000, 400).unwrap();
        let other = purgatory.park(vec![B], 1, 300).unwrap();
        assert_eq!(purgatory.wake(A, 10), [small]);
        assert_eq!(purgatory.next_deadline(), Some(300));
        assert_eq!(purgatory.tick(299), []);
        assert_eq!(purgatory.tick(400), [other, large]);
        assert_eq!(purgatory.next_deadline(), None);
        assert_empty(&purgatory);
    }

    #[test]
    fn a_deleted_partition_wakes_everyone_and_a_gone_client_is_forgotten() {
        let mut purgatory = Purgatory::new();
        let first = purgatory.park(vec![A, B], 1000, 500).unwrap();
        let second = purgatory.park(vec![B], 1000, 500).unwrap();
        assert!(purgatory.cancel(first));
        assert!(!purgatory.cancel(first));
        assert_eq!(purgatory.wake_all(A), []);
        assert_eq!(purgatory.wake_all(B), [second]);
        assert_empty(&purgatory);
    }

    #[test]
    fn refuses_more_than_it_may_hold() {
        let mut purgatory = Purgatory::new();
        for _ in 0..PARKED_MAX {
            purgatory.park(vec![A], 1, 1).unwrap();
        }
        assert_eq!(purgatory.park(vec![A], 1, 1), Err(Full));
        assert_eq!(purgatory.wake(A, 1).len(), PARKED_MAX);
        let many: Vec<PartitionId> = (0..=WATCHES_MAX as u32).map(PartitionId).collect();
        assert_eq!(purgatory.park(many, 1, 1), Err(Full));
        assert_empty(&purgatory);
    }
}

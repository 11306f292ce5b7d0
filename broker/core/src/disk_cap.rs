//! The disk cap: what goes first when all partitions together take more than they may.
//!
//! It stands above the topics' own retention, and takes slices in this order, the oldest of the
//! append clock first:
//!
//! 1. topics with `sedge.retention.priority=low`;
//! 2. what every link that copies the topic has upstream, so that nothing is lost;
//! 3. other topics that are not marked;
//! 4. topics with `high`.
//!
//! Topics with `keep`, those whose old records are not deleted (`cleanup.policy` without `delete`)
//! and internal ones are never touched.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use sedge_protocol::ids::{Offset, PartitionId};

use crate::config::RetentionPriority;

/// Why a slice goes when it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    Low,
    Copied,
    Unmarked,
    High,
}

/// Bytes on the volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// What the data directory takes.
    pub used_bytes: u64,
    /// What it may take.
    pub cap_bytes: u64,
    /// What the next segment will take on top.
    pub next_bytes: u64,
    /// Dead bytes that are given back without another record going.
    pub reclaimable_bytes: u64,
    /// Below this no cap goes: the views and a few segments.
    pub floor_bytes: u64,
}

impl Room {
    /// Bytes of records that have to go.
    ///
    /// A cap that the views alone break is one by mistake, and does not empty the topics.
    #[must_use]
    pub fn excess_bytes(&self) -> u64 {
        self.over_bytes().saturating_sub(self.reclaimable_bytes)
    }

    /// Whether dead bytes have to be given back, if no record is to go.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.over_bytes() > 0
    }

    fn over_bytes(&self) -> u64 {
        let cap = self.cap_bytes.max(self.floor_bytes);
        (self.used_bytes + self.next_bytes).saturating_sub(cap)
    }
}

/// What one segment holds of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapSlice {
    pub first_offset: Offset,
    pub next_offset: Offset,
    pub bytes: u64,
    pub append_ms: i64,
}

/// Records that go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    pub partition: PartitionId,
    pub class: Class,
    pub first_offset: Offset,
    /// The new log start.
    pub next_offset: Offset,
    pub bytes: u64,
}

type Order = (Class, i64, PartitionId, Offset);

/// Collects the slices that go first, of one partition after the other, and holds hardly more of
/// them than are wanted.
#[derive(Debug)]
pub struct CapPlan {
    wanted_bytes: u64,
    held_bytes: u64,
    first: BTreeSet<Order>,
    slices: BTreeMap<(PartitionId, Offset), CapSlice>,
}

impl CapPlan {
    #[must_use]
    pub const fn new(wanted_bytes: u64) -> Self {
        Self {
            wanted_bytes,
            held_bytes: 0,
            first: BTreeSet::new(),
            slices: BTreeMap::new(),
        }
    }

    /// A partition's slices that may go, oldest first. `copied` is where what upstream does not
    /// have begins, where links copy the topic.
    pub fn add(
        &mut self,
        partition: PartitionId,
        priority: RetentionPriority,
        copied: Option<Offset>,
        slices: impl IntoIterator<Item = CapSlice>,
    ) {
        // A partition goes from its start on, so no slice goes before the one in front of it.
        let mut floor = (Class::Low, i64::MIN);
        for slice in slices {
            let is_copied = copied.is_some_and(|copied| slice.next_offset <= copied);
            let class = match priority {
                RetentionPriority::Keep => return,
                RetentionPriority::Low => Class::Low,
                _ if is_copied => Class::Copied,
                RetentionPriority::Unmarked => Class::Unmarked,
                RetentionPriority::High => Class::High,
            };
            floor = floor.max((class, slice.append_ms));
            let order = (floor.0, floor.1, partition, slice.first_offset);
            if self.held_bytes >= self.wanted_bytes
                && self.first.last().is_none_or(|last| order > *last)
            {
                return;
            }
            self.first.insert(order);
            self.slices.insert((partition, slice.first_offset), slice);
            self.held_bytes += slice.bytes;
            self.let_last_go();
        }
    }

    fn let_last_go(&mut self) {
        while let Some(last) = self.first.last() {
            let key = (last.2, last.3);
            let bytes = self.slices.get(&key).map_or(0, |slice| slice.bytes);
            if self.held_bytes - bytes < self.wanted_bytes {
                return;
            }
            self.held_bytes -= bytes;
            self.slices.remove(&key);
            self.first.pop_last();
        }
    }

    /// What goes, a class of a partition as one.
    #[must_use]
    pub fn finish(self) -> Vec<Dropped> {
        let mut dropped: BTreeMap<(PartitionId, Class), Dropped> = BTreeMap::new();
        for (class, _, partition, first_offset) in &self.first {
            let Some(slice) = self.slices.get(&(*partition, *first_offset)) else {
                continue;
            };
            let whole = dropped.entry((*partition, *class)).or_insert(Dropped {
                partition: *partition,
                class: *class,
                first_offset: slice.first_offset,
                next_offset: slice.next_offset,
                bytes: 0,
            });
            whole.next_offset = whole.next_offset.max(slice.next_offset);
            whole.bytes += slice.bytes;
        }
        dropped.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Class as C;
    use RetentionPriority::{High, Keep, Low, Unmarked};

    /// Ten records and a hundred bytes in each slice.
    fn slices(append_ms: &[i64]) -> Vec<CapSlice> {
        let slice = |(at, append_ms): (usize, &i64)| CapSlice {
            first_offset: Offset(at as i64 * 10),
            next_offset: Offset(at as i64 * 10 + 10),
            bytes: 100,
            append_ms: *append_ms,
        };
        append_ms.iter().enumerate().map(slice).collect()
    }

    type Partition<'a> = (RetentionPriority, Option<i64>, &'a [i64]);

    /// (partition, new log start) of what goes, in the order of the partitions.
    fn plan(wanted_bytes: u64, partitions: &[Partition<'_>]) -> Vec<(u32, Class, i64)> {
        let mut plan = CapPlan::new(wanted_bytes);
        for (id, (priority, copied, times)) in partitions.iter().enumerate() {
            let id = PartitionId(id as u32);
            plan.add(id, *priority, copied.map(Offset), slices(times));
        }
        let gone = plan.finish().into_iter();
        gone.map(|of| (of.partition.0, of.class, of.next_offset.0))
            .collect()
    }

    #[test]
    fn the_order_of_dropping() {
        let all: &[Partition<'_>] = &[
            (Keep, Some(30), &[1, 2, 3]),
            (High, None, &[1, 2, 3]),
            (Unmarked, None, &[2, 4, 6]),
            (High, Some(20), &[3, 5, 7]),
            (Unmarked, Some(10), &[4, 5, 6]),
            (Low, None, &[8, 9, 9]),
        ];
        let check = |wanted, expected: &[(u32, Class, i64)]| {
            assert_eq!(plan(wanted, all), expected, "{wanted}");
        };
        check(0, &[]);
        check(1, &[(5, C::Low, 10)]);
        check(200, &[(5, C::Low, 20)]);
        // What upstream has, whatever the priority, oldest first.
        check(400, &[(3, C::Copied, 10), (5, C::Low, 30)]);
        check(
            600,
            &[(3, C::Copied, 20), (4, C::Copied, 10), (5, C::Low, 30)],
        );
        // Then what is not marked, and what is lost of the high ones last.
        check(
            800,
            &[
                (2, C::Unmarked, 20),
                (3, C::Copied, 20),
                (4, C::Copied, 10),
                (5, C::Low, 30),
            ],
        );
        check(
            1_200,
            &[
                (1, C::High, 10),
                (2, C::Unmarked, 30),
                (3, C::Copied, 20),
                (4, C::Copied, 10),
                (4, C::Unmarked, 30),
                (5, C::Low, 30),
            ],
        );
        // All but what is kept.
        let gone = plan(u64::MAX, all);
        assert!(
            gone.iter().all(|(partition, ..)| *partition != 0),
            "{gone:?}"
        );
        assert_eq!(gone.len(), 7);
    }

    #[test]
    fn a_partition_goes_from_its_start() {
        // A clock that went back, as one before the append clock did.
        let partitions: &[Partition<'_>] = &[(Unmarked, None, &[9, 1, 9]), (Unmarked, None, &[5])];
        assert_eq!(plan(100, partitions), [(1, Class::Unmarked, 10)]);
        let expected = [(0, Class::Unmarked, 10), (1, Class::Unmarked, 10)];
        assert_eq!(plan(200, partitions), expected);
    }

    #[test]
    fn what_is_held_is_bounded_by_what_is_wanted() {
        let mut plan = CapPlan::new(1_000);
        for id in 0..1_000 {
            plan.add(
                PartitionId(id),
                Unmarked,
                None,
                slices(&[1_000 - i64::from(id); 20]),
            );
            assert!(plan.slices.len() <= 10 && plan.first.len() <= 10);
        }
        let gone = plan.finish();
        assert_eq!(gone.iter().map(|of| of.bytes).sum::<u64>(), 1_000);
        assert!(gone.iter().all(|of| of.partition.0 >= 999), "{gone:?}");
    }

    #[test]
    fn the_excess() {
        let check = |room: Room, expected| assert_eq!(room.excess_bytes(), expected, "{room:?}");
        let room = Room {
            used_bytes: 1_000,
            cap_bytes: 1_000,
            floor_bytes: 300,
            ..Room::default()
        };
        check(room, 0);
        check(
            Room {
                next_bytes: 100,
                ..room
            },
            100,
        );
        check(
            Room {
                next_bytes: 100,
                reclaimable_bytes: 40,
                ..room
            },
            60,
        );
        check(
            Room {
                next_bytes: 100,
                reclaimable_bytes: 400,
                ..room
            },
            0,
        );
        check(
            Room {
                cap_bytes: 700,
                ..room
            },
            300,
        );
        // A cap that cannot be kept.
        check(
            Room {
                cap_bytes: 1,
                next_bytes: 100,
                ..room
            },
            800,
        );
        check(
            Room {
                cap_bytes: u64::MAX,
                ..room
            },
            0,
        );
    }
}

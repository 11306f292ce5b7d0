//! The disk cap: selects the records to delete when all partitions together exceed the cap, or the
//! room that the volume has left, which others use too.
//!
//! It overrides the topics' own retention, and deletes slices in this order, within each class the
//! oldest by the append clock first:
//!
//! 1. topics with `sedge.retention.priority=low`;
//! 2. records that every link copying the topic has upstream, so that nothing is lost;
//! 3. other topics with the default priority;
//! 4. topics with `high`.
//!
//! Topics with `keep`, topics whose old records are not deleted (`cleanup.policy` without `delete`)
//! and internal topics are never touched.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use sedge_protocol::ids::{Offset, PartitionId};

use crate::config::RetentionPriority;

/// The class of a slice, which decides when it is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    Low,
    Copied,
    Unmarked,
    High,
}

/// Bytes used and available on the volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Bytes that the data directory uses.
    pub used_bytes: u64,
    /// The configured bound on the data directory, whatever the volume has free.
    pub cap: Cap,
    /// The bound from the volume's free space, which is shared with others. `None` if the volume
    /// does not report its free space.
    pub volume: Option<Cap>,
    /// Bytes that the next segment will use.
    pub next_bytes: u64,
    /// Dead bytes that can be freed without deleting another record.
    pub reclaimable_bytes: u64,
}

/// A bound on the bytes that the data directory uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cap {
    pub bytes: u64,
    /// The bound does not go below this: the views and some segments.
    pub floor_bytes: u64,
}

/// The tighter one of the two bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Cap,
    Volume,
}

impl Room {
    /// Returns the bytes of records that have to be deleted, and the bound that requires it.
    ///
    /// A cap that is smaller than the views alone must be a mistake, so it does not empty the
    /// topics.
    #[must_use]
    pub fn excess_bytes(&self) -> (u64, Limit) {
        let (over, limit) = self.over_bytes();
        (over.saturating_sub(self.reclaimable_bytes), limit)
    }

    /// Returns whether dead bytes have to be freed to avoid deleting records.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.over_bytes().0 > 0
    }

    /// Returns the bytes that the data directory may use.
    #[must_use]
    pub fn cap_bytes(&self) -> u64 {
        let volume = self.volume.map_or(u64::MAX, |volume| volume.bytes);
        self.cap.bytes.min(volume)
    }

    fn over_bytes(&self) -> (u64, Limit) {
        let wanted = self.used_bytes.saturating_add(self.next_bytes);
        let over = |cap: Cap| wanted.saturating_sub(cap.bytes.max(cap.floor_bytes));
        let (cap, volume) = (over(self.cap), self.volume.map_or(0, over));
        if volume > cap {
            (volume, Limit::Volume)
        } else {
            (cap, Limit::Cap)
        }
    }
}

/// A partition's part of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapSlice {
    pub first_offset: Offset,
    pub next_offset: Offset,
    pub bytes: u64,
    pub append_ms: i64,
}

/// Records to delete.
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

/// Collects the slices that are deleted first, partition by partition. Holds hardly more slices
/// than are needed.
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

    /// Adds a partition's slices that may be deleted, oldest first. `copied` is the first offset
    /// that is not upstream, if links copy the topic.
    pub fn add(
        &mut self,
        partition: PartitionId,
        priority: RetentionPriority,
        copied: Option<Offset>,
        slices: impl IntoIterator<Item = CapSlice>,
    ) {
        // A partition is deleted from its start on, so no slice is deleted before the one in front
        // of it.
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

    /// Returns what to delete, with the slices of a partition and class merged.
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

    /// Builds slices of ten records and a hundred bytes each.
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

    /// Returns (partition, new log start) for each deletion, in the order of the partitions.
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
        // Records that upstream has, whatever the priority, oldest first.
        check(400, &[(3, C::Copied, 10), (5, C::Low, 30)]);
        check(
            600,
            &[(3, C::Copied, 20), (4, C::Copied, 10), (5, C::Low, 30)],
        );
        // Then topics with the default priority; records of high ones that are not upstream come
        // last.
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
        // Everything but the topics with `keep`.
        let gone = plan(u64::MAX, all);
        assert!(
            gone.iter().all(|(partition, ..)| *partition != 0),
            "{gone:?}"
        );
        assert_eq!(gone.len(), 7);
    }

    #[test]
    fn a_partition_goes_from_its_start() {
        // A clock that went back, as one could before the append clock.
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
        let check = |room: Room, expected| {
            assert_eq!(room.excess_bytes(), (expected, Limit::Cap), "{room:?}");
        };
        let cap = |bytes| Cap {
            bytes,
            floor_bytes: 300,
        };
        let room = Room {
            used_bytes: 1_000,
            cap: cap(1_000),
            ..Room::default()
        };
        check(room, 0);
        let next = Room {
            next_bytes: 100,
            ..room
        };
        check(next, 100);
        let reclaiming = |reclaimable_bytes| Room {
            reclaimable_bytes,
            ..next
        };
        check(reclaiming(40), 60);
        check(reclaiming(400), 0);
        let of = |room: Room, bytes| Room {
            cap: cap(bytes),
            ..room
        };
        check(of(room, 700), 300);
        // A cap that cannot be met.
        check(of(next, 1), 800);
        check(of(room, u64::MAX), 0);
    }

    #[test]
    fn the_tighter_bound_counts() {
        let room = |cap: u64, volume: u64| Room {
            used_bytes: 1_000,
            next_bytes: 100,
            cap: Cap {
                bytes: cap,
                floor_bytes: 300,
            },
            volume: Some(Cap {
                bytes: volume,
                floor_bytes: 200,
            }),
            ..Room::default()
        };
        let check = |room: Room, excess, limit, cap_bytes| {
            assert_eq!(room.excess_bytes(), (excess, limit), "{room:?}");
            assert_eq!(room.cap_bytes(), cap_bytes, "{room:?}");
        };
        check(room(2_000, 3_000), 0, Limit::Cap, 2_000);
        check(room(900, 3_000), 200, Limit::Cap, 900);
        // Others have filled the volume.
        check(room(2_000, 950), 150, Limit::Volume, 950);
        check(room(900, 800), 300, Limit::Volume, 800);
        check(room(800, 900), 300, Limit::Cap, 800);
        // Even if they use more than the floor, the topics are not emptied.
        check(room(u64::MAX, 0), 900, Limit::Volume, 0);
        let unknown = Room {
            volume: None,
            ..room(2_000, 0)
        };
        check(unknown, 0, Limit::Cap, 2_000);
    }
}

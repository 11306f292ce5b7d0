//! Queues of batches for each upstream broker, from whose front requests are assembled.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use sedge_core::mirror::{Outgoing, Target};
use sedge_protocol::ids::{Offset, PartitionId};

/// One batch of a request, to be matched with the answer.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    pub partition: PartitionId,
    pub generation: u32,
    pub base: Offset,
    pub target: Target,
}

/// Names a queue: what is urgent has a connection of its own to each broker, since what was sent
/// before on a connection arrives before, however long the network takes for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LaneId {
    pub broker: i32,
    pub is_urgent: bool,
}

#[derive(Debug, Default)]
struct Lane {
    queue: VecDeque<Outgoing>,
    in_flight: usize,
}

/// The queues.
#[derive(Debug, Default)]
pub struct Lanes {
    lanes: BTreeMap<LaneId, Lane>,
}

impl Lanes {
    /// Queues a batch. All batches of a partition are equally urgent.
    pub fn push(&mut self, id: LaneId, outgoing: Outgoing) {
        self.lanes.entry(id).or_default().queue.push_back(outgoing);
    }

    /// Returns the lanes with queued batches and room in their window.
    pub fn ready(&self, in_flight_max: usize) -> Vec<LaneId> {
        let ready = |lane: &Lane| !lane.queue.is_empty() && lane.in_flight < in_flight_max;
        self.lanes
            .iter()
            .filter(|(_, lane)| ready(lane))
            .map(|(id, _)| *id)
            .collect()
    }

    /// Takes the batches of the lane's next request: the first of each partition, in the
    /// queue's order, up to `bytes_max` but at least one. Batches that are no longer `wanted` are
    /// dropped.
    pub fn take(
        &mut self,
        id: LaneId,
        bytes_max: usize,
        wanted: impl Fn(&Outgoing) -> bool,
    ) -> Vec<Outgoing> {
        let Some(lane) = self.lanes.get_mut(&id) else {
            return Vec::new();
        };
        let mut taken: Vec<Outgoing> = Vec::new();
        let mut seen = BTreeSet::new();
        let mut bytes = 0;
        let mut is_full = false;
        let mut kept = VecDeque::with_capacity(lane.queue.len());
        for outgoing in lane.queue.drain(..) {
            if !wanted(&outgoing) {
                continue;
            }
            let size = outgoing.batch.bytes();
            is_full |= !taken.is_empty() && bytes + size > bytes_max;
            // A second batch for a partition waits for the next request, and so do all batches
            // behind it.
            if is_full || !seen.insert(outgoing.target) {
                kept.push_back(outgoing);
            } else {
                bytes += size;
                taken.push(outgoing);
            }
        }
        lane.queue = kept;
        taken
    }

    pub fn started(&mut self, id: LaneId) {
        self.lanes.entry(id).or_default().in_flight += 1;
    }

    pub fn answered(&mut self, id: LaneId) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.in_flight -= 1;
        }
    }

    /// Empties the queue of a broker that cannot be reached.
    pub fn drain(&mut self, id: LaneId) -> Vec<Outgoing> {
        self.lanes
            .get_mut(&id)
            .map(|lane| lane.queue.drain(..).collect())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use sedge_protocol::batch::{Batch, BatchHeader};

    use super::*;

    const NINE: LaneId = LaneId {
        broker: 9,
        is_urgent: false,
    };

    fn outgoing(partition: u32, base: i64) -> Outgoing {
        let header = BatchHeader::read(&[0; 61]).unwrap();
        Outgoing {
            partition: PartitionId(partition),
            generation: 0,
            base: Offset(base),
            target: Target::Twin(PartitionId(partition)),
            batch: Batch {
                header,
                body: vec![0; 39].into(),
            },
        }
    }

    fn names(taken: &[Outgoing]) -> Vec<(u32, i64)> {
        taken
            .iter()
            .map(|sent| (sent.partition.get(), sent.base.get()))
            .collect()
    }

    #[test]
    fn a_request_has_one_batch_a_partition_and_order_is_kept() {
        let mut lanes = Lanes::default();
        for (partition, base) in [(1, 0), (1, 1), (2, 0), (1, 2), (2, 1)] {
            lanes.push(NINE, outgoing(partition, base));
        }
        assert_eq!(lanes.ready(1), [NINE]);
        assert_eq!(names(&lanes.take(NINE, 1000, |_| true)), [(1, 0), (2, 0)]);
        assert_eq!(names(&lanes.take(NINE, 1000, |_| true)), [(1, 1), (2, 1)]);
        assert_eq!(names(&lanes.take(NINE, 1000, |_| true)), [(1, 2)]);
        assert!(lanes.ready(1).is_empty());
    }

    #[test]
    fn a_request_is_bounded_but_never_empty() {
        let mut lanes = Lanes::default();
        for partition in 0..3 {
            lanes.push(NINE, outgoing(partition, 0));
        }
        assert_eq!(names(&lanes.take(NINE, 10, |_| true)), [(0, 0)]);
        assert_eq!(names(&lanes.take(NINE, 200, |_| true)), [(1, 0), (2, 0)]);
    }

    #[test]
    fn a_full_request_lets_nothing_overtake() {
        let mut lanes = Lanes::default();
        for (partition, base) in [(0, 0), (1, 0), (1, 1), (2, 0)] {
            lanes.push(NINE, outgoing(partition, base));
        }
        assert_eq!(names(&lanes.take(NINE, 100, |_| true)), [(0, 0)]);
        assert_eq!(names(&lanes.take(NINE, 1000, |_| true)), [(1, 0), (2, 0)]);
    }

    /// An alarm was sent on the connection of the bulk, behind all that was sent there before.
    #[test]
    fn what_is_urgent_waits_for_nothing_else() {
        let urgent = LaneId {
            is_urgent: true,
            ..NINE
        };
        let mut lanes = Lanes::default();
        lanes.push(NINE, outgoing(1, 0));
        lanes.push(urgent, outgoing(7, 0));
        assert_eq!(lanes.ready(1), [NINE, urgent]);
        lanes.started(NINE);
        assert_eq!(lanes.ready(1), [urgent]);
        assert_eq!(names(&lanes.take(urgent, 1000, |_| true)), [(7, 0)]);
    }

    #[test]
    fn what_is_not_wanted_any_more_goes() {
        let mut lanes = Lanes::default();
        for base in 0..3 {
            lanes.push(NINE, outgoing(1, base));
        }
        assert_eq!(
            names(&lanes.take(NINE, 1000, |sent| sent.base.get() == 2)),
            [(1, 2)]
        );
    }

    #[test]
    fn the_window_counts_requests() {
        let mut lanes = Lanes::default();
        lanes.push(NINE, outgoing(1, 0));
        lanes.started(NINE);
        assert!(lanes.ready(1).is_empty());
        lanes.answered(NINE);
        assert_eq!(lanes.ready(1), [NINE]);
        assert_eq!(lanes.drain(NINE).len(), 1);
    }
}

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

#[derive(Debug, Default)]
struct Lane {
    queue: VecDeque<Outgoing>,
    /// Batches at the front that others do not delay.
    urgent: usize,
    in_flight: usize,
}

/// The queues, by the node id of the broker.
#[derive(Debug, Default)]
pub struct Lanes {
    lanes: BTreeMap<i32, Lane>,
}

impl Lanes {
    /// Queues a batch: an urgent one before all that are not. All batches of a partition are
    /// equally urgent.
    pub fn push(&mut self, broker: i32, outgoing: Outgoing, is_urgent: bool) {
        let lane = self.lanes.entry(broker).or_default();
        if is_urgent {
            lane.queue.insert(lane.urgent, outgoing);
            lane.urgent += 1;
        } else {
            lane.queue.push_back(outgoing);
        }
    }

    /// Returns the brokers with queued batches and room in their window.
    pub fn ready(&self, in_flight_max: usize) -> Vec<i32> {
        let ready = |lane: &Lane| !lane.queue.is_empty() && lane.in_flight < in_flight_max;
        self.lanes
            .iter()
            .filter(|(_, lane)| ready(lane))
            .map(|(broker, _)| *broker)
            .collect()
    }

    /// Takes the batches of the next request to `broker`: the first of each partition, in the
    /// queue's order, up to `bytes_max` but at least one. Batches that are no longer `wanted` are
    /// dropped.
    pub fn take(
        &mut self,
        broker: i32,
        bytes_max: usize,
        wanted: impl Fn(&Outgoing) -> bool,
    ) -> Vec<Outgoing> {
        let Some(lane) = self.lanes.get_mut(&broker) else {
            return Vec::new();
        };
        let mut taken: Vec<Outgoing> = Vec::new();
        let mut seen = BTreeSet::new();
        let mut bytes = 0;
        let mut is_full = false;
        let mut kept = VecDeque::with_capacity(lane.queue.len());
        let mut urgent = 0;
        for (at, outgoing) in lane.queue.drain(..).enumerate() {
            if !wanted(&outgoing) {
                continue;
            }
            let size = outgoing.batch.bytes();
            is_full |= !taken.is_empty() && bytes + size > bytes_max;
            // A second batch for a partition waits for the next request, and so do all batches
            // behind it.
            if is_full || !seen.insert(outgoing.target) {
                urgent += usize::from(at < lane.urgent);
                kept.push_back(outgoing);
            } else {
                bytes += size;
                taken.push(outgoing);
            }
        }
        lane.queue = kept;
        lane.urgent = urgent;
        taken
    }

    pub fn started(&mut self, broker: i32) {
        self.lanes.entry(broker).or_default().in_flight += 1;
    }

    pub fn answered(&mut self, broker: i32) {
        if let Some(lane) = self.lanes.get_mut(&broker) {
            lane.in_flight -= 1;
        }
    }

    /// Empties the queue of a broker that cannot be reached.
    pub fn drain(&mut self, broker: i32) -> Vec<Outgoing> {
        self.lanes
            .get_mut(&broker)
            .map(|lane| {
                lane.urgent = 0;
                lane.queue.drain(..).collect()
            })
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use sedge_protocol::batch::{Batch, BatchHeader};

    use super::*;

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
            lanes.push(9, outgoing(partition, base), false);
        }
        assert_eq!(lanes.ready(1), [9]);
        assert_eq!(names(&lanes.take(9, 1000, |_| true)), [(1, 0), (2, 0)]);
        assert_eq!(names(&lanes.take(9, 1000, |_| true)), [(1, 1), (2, 1)]);
        assert_eq!(names(&lanes.take(9, 1000, |_| true)), [(1, 2)]);
        assert!(lanes.ready(1).is_empty());
    }

    #[test]
    fn a_request_is_bounded_but_never_empty() {
        let mut lanes = Lanes::default();
        for partition in 0..3 {
            lanes.push(9, outgoing(partition, 0), false);
        }
        assert_eq!(names(&lanes.take(9, 10, |_| true)), [(0, 0)]);
        assert_eq!(names(&lanes.take(9, 200, |_| true)), [(1, 0), (2, 0)]);
    }

    #[test]
    fn a_full_request_lets_nothing_overtake() {
        let mut lanes = Lanes::default();
        for (partition, base) in [(0, 0), (1, 0), (1, 1), (2, 0)] {
            lanes.push(9, outgoing(partition, base), false);
        }
        assert_eq!(names(&lanes.take(9, 100, |_| true)), [(0, 0)]);
        assert_eq!(names(&lanes.take(9, 1000, |_| true)), [(1, 0), (2, 0)]);
    }

    #[test]
    fn what_is_urgent_goes_before_all_that_waits() {
        let mut lanes = Lanes::default();
        for (partition, base) in [(1, 0), (2, 0), (1, 1)] {
            lanes.push(9, outgoing(partition, base), false);
        }
        for base in 0..3 {
            lanes.push(9, outgoing(7, base), true);
        }
        assert_eq!(names(&lanes.take(9, 10, |_| true)), [(7, 0)]);
        lanes.push(9, outgoing(8, 0), true);
        assert_eq!(names(&lanes.take(9, 10, |_| true)), [(7, 1)]);
        assert_eq!(names(&lanes.take(9, 200, |_| true)), [(7, 2), (8, 0)]);
        assert_eq!(names(&lanes.take(9, 1000, |_| true)), [(1, 0), (2, 0)]);
        assert_eq!(names(&lanes.take(9, 1000, |_| true)), [(1, 1)]);
    }

    #[test]
    fn what_is_not_wanted_any_more_goes() {
        let mut lanes = Lanes::default();
        for base in 0..3 {
            lanes.push(9, outgoing(1, base), false);
        }
        assert_eq!(
            names(&lanes.take(9, 1000, |sent| sent.base.get() == 2)),
            [(1, 2)]
        );
    }

    #[test]
    fn the_window_counts_requests() {
        let mut lanes = Lanes::default();
        lanes.push(9, outgoing(1, 0), false);
        lanes.started(9);
        assert!(lanes.ready(1).is_empty());
        lanes.answered(9);
        assert_eq!(lanes.ready(1), [9]);
        assert_eq!(lanes.drain(9).len(), 1);
    }
}

//! Offsets that transactions will commit (KIP-447): written when they come, and made offsets of
//! their group, or removed, by the end of their transaction.
//!
//! A pending offset is known from the step on that writes it, so that an end that is decided
//! meanwhile has it. Until the end is durable, it is counted as an offset on its way.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use sedge_protocol::ErrorCode;
use sedge_protocol::coordinator::{CoordinatorRecord, OffsetKey, OffsetValue};
use sedge_protocol::ids::{PartitionIndex, ProducerId};

use super::{Actions, Committer, Coordinator, Planned};
use crate::machine::{Machine as _, Now};
use crate::offsets::{OffsetToCommit, OffsetsCommand};

/// By producer id, its pending offsets.
pub(super) type PendingOffsets = BTreeMap<i64, BTreeMap<OffsetKey, OffsetValue>>;

impl Coordinator {
    /// Handles TxnOffsetCommit of a producer whose transaction includes the group. Returns each
    /// offset's result, in order.
    pub fn handle_txn_offset_commit(
        &mut self,
        now: Now,
        committer: &Committer,
        producer_id: ProducerId,
        offsets: Vec<OffsetToCommit>,
    ) -> Planned<Vec<Result<(), ErrorCode>>> {
        if let Err(error) = self.check_commit(now, committer, true, &offsets) {
            return Planned::only(offsets.iter().map(|_| Err(error)).collect());
        }
        let command = OffsetsCommand::Commit {
            group_id: committer.group_id.clone(),
            offsets,
            refresh_ms: None,
            in_flight: self.in_flight_total,
        };
        // The table refuses single offsets, never a whole command.
        let Ok(plan) = self.offsets.plan(now, command) else {
            return Planned::only(Vec::new());
        };
        let mut records = Vec::new();
        for record in plan.records {
            let CoordinatorRecord::Offset { key, value } = record else {
                continue;
            };
            let record = CoordinatorRecord::Pending {
                producer_id,
                key,
                value,
            };
            self.insert_pending(&record);
            records.push(record);
        }
        Planned {
            reply: plan.reply,
            actions: Actions::persist(records),
        }
    }

    /// Ends the producer's transaction: its offsets become those of their groups if it is
    /// committed.
    pub fn handle_txn_end(&mut self, producer_id: ProducerId, is_committed: bool) -> Actions {
        let pending = self.pending.get(&producer_id.get());
        let pending: Vec<_> = pending.into_iter().flatten().collect();
        let mut records = Vec::with_capacity(2 * pending.len());
        for (key, value) in pending {
            if is_committed {
                records.push(CoordinatorRecord::Offset {
                    key: key.clone(),
                    value: Some(value.clone()),
                });
            }
            records.push(CoordinatorRecord::Pending {
                producer_id,
                key: key.clone(),
                value: None,
            });
        }
        for record in &records {
            self.left(record);
        }
        Actions::persist(records)
    }

    /// Returns whether a transaction may commit an offset of this partition: a reader that requires
    /// stable offsets must ask again.
    #[must_use]
    pub fn is_unstable(&self, group: &str, topic: &str, partition: PartitionIndex) -> bool {
        if self.pending.is_empty() {
            return false;
        }
        let key = OffsetKey {
            group: group.into(),
            topic: topic.into(),
            partition,
        };
        self.pending.values().any(|of| of.contains_key(&key))
    }

    pub(super) fn restore_pending(&mut self, record: &CoordinatorRecord) {
        self.insert_pending(record);
        self.apply_pending(record);
    }

    /// Takes a pending offset on its way.
    fn insert_pending(&mut self, record: &CoordinatorRecord) {
        let CoordinatorRecord::Pending {
            producer_id,
            key,
            value: Some(value),
        } = record
        else {
            return;
        };
        self.left_pending(key, value);
        let of_producer = self.pending.entry(producer_id.get()).or_default();
        if let Some(former) = of_producer.insert(key.clone(), value.clone()) {
            self.landed_pending(key, &former);
        }
    }

    /// Removes a pending offset whose transaction has ended.
    pub(super) fn apply_pending(&mut self, record: &CoordinatorRecord) {
        if let CoordinatorRecord::Pending {
            producer_id,
            key,
            value: None,
        } = record
        {
            self.remove_pending(*producer_id, key);
        }
    }

    /// Removes a pending offset whose record could not be written.
    pub(super) fn forget_unwritten(&mut self, record: &CoordinatorRecord) {
        if let CoordinatorRecord::Pending {
            producer_id,
            key,
            value: Some(value),
        } = record
        {
            let of_producer = self.pending.get(&producer_id.get());
            if of_producer.and_then(|of| of.get(key)) == Some(value) {
                self.remove_pending(*producer_id, key);
            }
        }
    }

    fn remove_pending(&mut self, producer_id: ProducerId, key: &OffsetKey) {
        let id = producer_id.get();
        let Some(of_producer) = self.pending.get_mut(&id) else {
            return;
        };
        let removed = of_producer.remove(key);
        if of_producer.is_empty() {
            self.pending.remove(&id);
        }
        if let Some(value) = removed {
            self.landed_pending(key, &value);
        }
    }

    fn left_pending(&mut self, key: &OffsetKey, value: &OffsetValue) {
        self.left(&as_offset(key, value));
    }

    fn landed_pending(&mut self, key: &OffsetKey, value: &OffsetValue) {
        self.landed(&as_offset(key, value));
    }
}

/// Returns the record that a pending offset is counted as.
fn as_offset(key: &OffsetKey, value: &OffsetValue) -> CoordinatorRecord {
    CoordinatorRecord::Offset {
        key: key.clone(),
        value: Some(value.clone()),
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};

    use sedge_protocol::ids::{LeaderEpoch, Offset};
    use sedge_protocol::kafka::KafkaUuid;

    use super::*;
    use crate::groups::GroupConfig;
    use crate::offsets::InFlight;

    const NOW: Now = Now {
        wall_ms: 1_800_000_000_000,
        monotonic_ms: 5,
        append_ms: 1_700_000_000_000,
    };
    const TOPIC_ID: KafkaUuid = KafkaUuid::from_parts(7, 7);
    const PRODUCER: ProducerId = ProducerId(9);

    fn coordinator() -> Coordinator {
        Coordinator::new(GroupConfig::default(), NOW)
    }

    fn commit(machine: &mut Coordinator, offset: i64) -> Vec<CoordinatorRecord> {
        let committer = Committer {
            group_id: "g".to_string(),
            generation_id: -1,
            member_id: String::new(),
            group_instance_id: None,
            knows_member_epochs: true,
        };
        let offsets = Vec::from([OffsetToCommit {
            topic: "t".into(),
            topic_id: TOPIC_ID,
            partition: PartitionIndex(0),
            offset: Offset(offset),
            leader_epoch: Some(LeaderEpoch(1)),
            metadata: String::new(),
            retention_ms: None,
        }]);
        let planned = machine.handle_txn_offset_commit(NOW, &committer, PRODUCER, offsets);
        assert_eq!(planned.reply, [Ok(())]);
        planned.actions.persist
    }

    fn apply(machine: &mut Coordinator, records: &[CoordinatorRecord]) {
        for record in records {
            machine.apply(NOW, record);
        }
    }

    fn committed(machine: &Coordinator) -> Option<i64> {
        let found = machine.offsets().get("g", "t", TOPIC_ID, PartitionIndex(0));
        found.map(|value| value.offset.get())
    }

    fn is_unstable(machine: &Coordinator) -> bool {
        machine.is_unstable("g", "t", PartitionIndex(0))
    }

    fn is_settled(machine: &Coordinator) -> bool {
        machine.in_flight.is_empty() && machine.in_flight_total == InFlight::default()
    }

    #[test]
    fn pending_offsets_are_committed_with_their_transaction() {
        let mut machine = coordinator();
        let first = commit(&mut machine, 5);
        apply(&mut machine, &first);
        // The last of several commits counts, even if its record is still on its way.
        let second = commit(&mut machine, 8);
        assert!(is_unstable(&machine));
        assert_eq!(committed(&machine), None);
        let end = machine.handle_txn_end(PRODUCER, true).persist;
        apply(&mut machine, &second);
        apply(&mut machine, &end);
        assert_eq!(committed(&machine), Some(8));
        assert!(!is_unstable(&machine));
        assert!(is_settled(&machine));
        assert!(machine.handle_txn_end(PRODUCER, true).is_empty());
    }

    #[test]
    fn pending_offsets_of_an_aborted_transaction_are_removed() {
        let mut machine = coordinator();
        let pending = commit(&mut machine, 5);
        apply(&mut machine, &pending);
        let end = machine.handle_txn_end(PRODUCER, false).persist;
        apply(&mut machine, &end);
        assert_eq!(committed(&machine), None);
        assert!(!is_unstable(&machine));
        assert!(is_settled(&machine));
    }

    #[test]
    fn what_could_not_be_written_is_not_committed() {
        let mut machine = coordinator();
        let pending = commit(&mut machine, 5);
        machine.handle_save_failed(NOW, &pending);
        assert!(!is_unstable(&machine));
        assert!(is_settled(&machine));
        // An end that could not be written changes nothing.
        let pending = commit(&mut machine, 6);
        apply(&mut machine, &pending);
        let end = machine.handle_txn_end(PRODUCER, true).persist;
        machine.handle_save_failed(NOW, &end);
        assert!(is_unstable(&machine));
        let end = machine.handle_txn_end(PRODUCER, true).persist;
        apply(&mut machine, &end);
        assert_eq!(committed(&machine), Some(6));
        assert!(is_settled(&machine));
    }

    #[test]
    fn a_start_has_the_pending_offsets() {
        let mut machine = coordinator();
        let pending = commit(&mut machine, 5);
        let mut restored = coordinator();
        for record in &pending {
            let (key, value) = record.encode().unwrap();
            let record = CoordinatorRecord::decode(&key, value.as_deref()).unwrap();
            restored.restore(NOW, &record);
        }
        restored.finish_restore(NOW, &crate::groups::tests::image());
        assert!(is_unstable(&restored));
        let end = restored.handle_txn_end(PRODUCER, true).persist;
        apply(&mut restored, &end);
        assert_eq!(committed(&restored), Some(5));
        assert!(is_settled(&restored));
    }
}

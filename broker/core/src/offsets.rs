//! Committed offsets of groups: the state behind OffsetCommit, OffsetFetch and OffsetDelete.
//!
//! A [`Machine`]: `plan` decides and returns records of `__consumer_offsets`; `apply` takes them
//! when they are durable, in the log's order; a restart applies the same records. The group decides
//! who may commit; this module does not ask.
//!
//! An offset belongs to the topic whose id it has. A topic that was created again has another id,
//! so none of the offsets under its name belong to it.
//!
//! The times of an offset (`commit_ms`, `expire_ms`) are by the append clock: an offset's age
//! survives restarts and trims, and no wall clock changes it.
//!
//! **Invariant:** only `apply` changes the table.
//! **Invariant:** `count` is the number of offsets held, `bytes` their total cost.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use sedge_protocol::ErrorCode;
use sedge_protocol::coordinator::{CoordinatorRecord, OffsetKey, OffsetValue};
use sedge_protocol::ids::{LeaderEpoch, Offset, PartitionIndex};
use sedge_protocol::kafka::KafkaUuid;

use crate::limits::{
    OFFSET_BYTES, OFFSET_GROUP_BYTES, OFFSET_TOPIC_BYTES, OFFSETS_BYTES_MAX, OFFSETS_MAX,
};
use crate::machine::{Machine, Now, Plan};

/// Boxed, since most topics of a group have few partitions and a node of the map has room for
/// eleven.
type Partitions = BTreeMap<PartitionIndex, Box<OffsetValue>>;
type Topics = BTreeMap<String, Partitions>;

/// The table of committed offsets.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    groups: BTreeMap<String, Topics>,
    count: usize,
    bytes: usize,
    metadata_bytes_max: usize,
}

/// Records that were planned, and neither applied nor given up yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InFlight {
    pub records: usize,
    /// An upper bound on their cost.
    pub bytes: usize,
}

/// A command to the table.
#[derive(Clone, Debug)]
pub enum OffsetsCommand {
    Commit {
        group_id: String,
        offsets: Vec<OffsetToCommit>,
        /// Leave out offsets that are unchanged and were committed less than this ago, in ms. Only
        /// allowed if no planned record of the group waits to be applied.
        refresh_ms: Option<i64>,
        in_flight: InFlight,
    },
    /// Removes those of `keys` that exist.
    Delete { keys: Vec<OffsetKey> },
    /// Removes all offsets of the group.
    DeleteGroup { group_id: String },
}

/// One partition of an OffsetCommit.
#[derive(Clone, Debug, Default)]
pub struct OffsetToCommit {
    pub topic: String,
    pub topic_id: KafkaUuid,
    pub partition: PartitionIndex,
    pub offset: Offset,
    pub leader_epoch: Option<LeaderEpoch>,
    pub metadata: String,
    /// The retention that requests of versions 2 to 4 could ask for, ms.
    pub retention_ms: Option<i64>,
}

impl Offsets {
    /// Creates an empty table that accepts metadata of up to `metadata_bytes_max`
    /// (`offset.metadata.max.bytes`) per offset.
    #[must_use]
    pub const fn new(metadata_bytes_max: usize) -> Self {
        Self {
            groups: BTreeMap::new(),
            count: 0,
            bytes: 0,
            metadata_bytes_max,
        }
    }

    /// Returns a group's committed offset for the topic with this name and id.
    #[must_use]
    pub fn get(
        &self,
        group_id: &str,
        topic: &str,
        topic_id: KafkaUuid,
        partition: PartitionIndex,
    ) -> Option<&OffsetValue> {
        self.find(group_id, topic, partition)
            .filter(|value| value.topic_id == Some(topic_id))
    }

    /// Returns a group's committed offset for the newest topic with this name, which may have been
    /// deleted.
    #[must_use]
    pub fn find(
        &self,
        group_id: &str,
        topic: &str,
        partition: PartitionIndex,
    ) -> Option<&OffsetValue> {
        let value = self.groups.get(group_id)?.get(topic)?.get(&partition)?;
        Some(value)
    }

    /// Returns all offsets of a group, by topic name and partition, including those of deleted
    /// topics: the topic id in the value tells which topic is meant.
    pub fn of_group(
        &self,
        group_id: &str,
    ) -> impl Iterator<Item = (&str, PartitionIndex, &OffsetValue)> + '_ {
        self.groups
            .get(group_id)
            .into_iter()
            .flatten()
            .flat_map(|(topic, partitions)| {
                partitions
                    .iter()
                    .map(move |(partition, value)| (topic.as_str(), *partition, &**value))
            })
    }

    /// Returns the offsets written by a version that did not store the topic's id.
    pub(crate) fn without_topic_id(&self) -> Vec<(OffsetKey, OffsetValue)> {
        let mut found = Vec::new();
        for group_id in self.group_ids() {
            let offsets = self.of_group(group_id);
            let old = offsets.filter(|(_, _, value)| value.topic_id.is_none());
            found.extend(old.map(|(topic, partition, value)| {
                let key = OffsetKey {
                    group: group_id.to_owned(),
                    topic: topic.to_owned(),
                    partition,
                };
                (key, value.clone())
            }));
        }
        found
    }

    pub fn group_ids(&self) -> impl Iterator<Item = &str> + '_ {
        self.groups.keys().map(String::as_str)
    }

    #[must_use]
    pub fn has_group(&self, group_id: &str) -> bool {
        self.groups.contains_key(group_id)
    }

    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the total cost of the offsets, as [`OFFSETS_BYTES_MAX`] counts.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    fn plan_commit(
        &self,
        now: Now,
        group_id: &str,
        offsets: Vec<OffsetToCommit>,
        refresh_ms: Option<i64>,
        in_flight: InFlight,
    ) -> Plan<CoordinatorRecord, Vec<Result<(), ErrorCode>>> {
        let mut records = Vec::new();
        let mut results = Vec::with_capacity(offsets.len());
        let mut room = OFFSETS_MAX.saturating_sub(self.count + in_flight.records);
        let mut bytes_room = OFFSETS_BYTES_MAX.saturating_sub(self.bytes + in_flight.bytes);
        let mut new_topics = BTreeSet::new();
        // If one commit names a partition twice, the second counts, whatever the table has.
        let refresh_ms = refresh_ms.filter(|_| !names_one_twice(&offsets));
        for commit in offsets {
            let known = self.find(group_id, &commit.topic, commit.partition);
            let is_known = known.is_some();
            let is_said = |known: &OffsetValue| is_said(now, known, &commit, refresh_ms);
            let growth = self.growth(group_id, &commit, known, &new_topics);
            results.push(if commit.metadata.len() > self.metadata_bytes_max {
                Err(ErrorCode::OffsetMetadataTooLarge)
            } else if (!is_known && room == 0) || growth > bytes_room {
                Err(ErrorCode::InvalidCommitOffsetSize)
            } else if known.is_some_and(is_said) {
                Ok(())
            } else {
                room -= usize::from(!is_known);
                bytes_room -= growth;
                if !is_known {
                    new_topics.insert(commit.topic.clone());
                }
                records.push(commit_record(now, group_id, commit));
                Ok(())
            });
        }
        Plan {
            records,
            reply: results,
        }
    }

    /// Returns by how much a commit raises the cost, behind others of its request that were the
    /// first of `new_topics`.
    fn growth(
        &self,
        group_id: &str,
        commit: &OffsetToCommit,
        known: Option<&OffsetValue>,
        new_topics: &BTreeSet<String>,
    ) -> usize {
        if let Some(known) = known {
            return commit.metadata.len().saturating_sub(known.metadata.len());
        }
        let topics = self.groups.get(group_id);
        let is_first_of_topic = !new_topics.contains(&commit.topic)
            && topics.is_none_or(|topics| !topics.contains_key(&commit.topic));
        let is_first_of_group = new_topics.is_empty() && topics.is_none();
        cost(group_id, &commit.topic, &commit.metadata)
            + usize::from(is_first_of_topic) * OFFSET_TOPIC_BYTES
            + usize::from(is_first_of_group) * OFFSET_GROUP_BYTES
    }

    fn insert(&mut self, key: &OffsetKey, value: &OffsetValue) {
        if !self.groups.contains_key(&key.group) {
            self.groups.insert(key.group.clone(), Topics::new());
            self.bytes += OFFSET_GROUP_BYTES;
        }
        let Some(topics) = self.groups.get_mut(&key.group) else {
            return;
        };
        if !topics.contains_key(&key.topic) {
            topics.insert(key.topic.clone(), Partitions::new());
            self.bytes += OFFSET_TOPIC_BYTES;
        }
        let Some(partitions) = topics.get_mut(&key.topic) else {
            return;
        };
        self.bytes += cost(&key.group, &key.topic, &value.metadata);
        match partitions.insert(key.partition, Box::new(value.clone())) {
            Some(former) => self.bytes -= cost(&key.group, &key.topic, &former.metadata),
            None => self.count += 1,
        }
    }

    fn remove(&mut self, key: &OffsetKey) {
        let Some(topics) = self.groups.get_mut(&key.group) else {
            return;
        };
        let Some(partitions) = topics.get_mut(&key.topic) else {
            return;
        };
        if let Some(former) = partitions.remove(&key.partition) {
            self.count -= 1;
            self.bytes -= cost(&key.group, &key.topic, &former.metadata);
        }
        if partitions.is_empty() {
            topics.remove(&key.topic);
            self.bytes -= OFFSET_TOPIC_BYTES;
        }
        if topics.is_empty() {
            self.groups.remove(&key.group);
            self.bytes -= OFFSET_GROUP_BYTES;
        }
    }
}

/// Returns the cost of one offset, independent of the rest of the table.
const fn cost(group_id: &str, topic: &str, metadata: &str) -> usize {
    OFFSET_BYTES + group_id.len() + topic.len() + metadata.len()
}

/// Returns the highest cost that a record can have when it is applied.
#[must_use]
pub fn cost_max(key: &OffsetKey, value: Option<&OffsetValue>) -> usize {
    value.map_or(0, |value| {
        OFFSET_GROUP_BYTES + OFFSET_TOPIC_BYTES + cost(&key.group, &key.topic, &value.metadata)
    })
}

impl Machine for Offsets {
    type Command = OffsetsCommand;
    type Record = CoordinatorRecord;
    /// The result of each offset of a commit, in order; empty for the other commands.
    type Reply = Vec<Result<(), ErrorCode>>;
    type Refusal = ErrorCode;

    fn plan(
        &self,
        now: Now,
        command: OffsetsCommand,
    ) -> Result<Plan<CoordinatorRecord, Self::Reply>, ErrorCode> {
        let keys = match command {
            OffsetsCommand::Commit {
                group_id,
                offsets,
                refresh_ms,
                in_flight,
            } => {
                return Ok(self.plan_commit(now, &group_id, offsets, refresh_ms, in_flight));
            }
            OffsetsCommand::Delete { keys } => keys,
            OffsetsCommand::DeleteGroup { group_id } => self
                .of_group(&group_id)
                .map(|(topic, partition, _)| OffsetKey {
                    group: group_id.clone(),
                    topic: topic.to_owned(),
                    partition,
                })
                .collect(),
        };
        let known = keys
            .into_iter()
            .filter(|key| self.find(&key.group, &key.topic, key.partition).is_some());
        let records = known
            .map(|key| CoordinatorRecord::Offset { key, value: None })
            .collect();
        Ok(Plan {
            records,
            reply: Vec::new(),
        })
    }

    fn apply(&mut self, _offset: Offset, record: &CoordinatorRecord) {
        if let CoordinatorRecord::Offset { key, value } = record {
            match value {
                Some(value) => self.insert(key, value),
                None => self.remove(key),
            }
        }
    }
}

fn names_one_twice(offsets: &[OffsetToCommit]) -> bool {
    let keys: BTreeSet<_> = (offsets.iter())
        .map(|commit| (&commit.topic, commit.partition))
        .collect();
    keys.len() < offsets.len()
}

/// Returns whether the same offset was committed less than `refresh_ms` ago.
fn is_said(
    now: Now,
    known: &OffsetValue,
    commit: &OffsetToCommit,
    refresh_ms: Option<i64>,
) -> bool {
    let age = now.append_ms.saturating_sub(known.commit_ms);
    refresh_ms.is_some_and(|refresh_ms| (0..refresh_ms).contains(&age))
        && commit.retention_ms.is_none()
        && known.expire_ms.is_none()
        && known.topic_id == Some(commit.topic_id)
        && known.offset == commit.offset
        && known.leader_epoch == commit.leader_epoch
        && known.metadata == commit.metadata
}

fn commit_record(now: Now, group_id: &str, commit: OffsetToCommit) -> CoordinatorRecord {
    CoordinatorRecord::Offset {
        key: OffsetKey {
            group: group_id.to_owned(),
            topic: commit.topic,
            partition: commit.partition,
        },
        value: Some(OffsetValue {
            offset: commit.offset,
            // Requests that ask for a retention carry no leader epoch, and their record has no
            // field for one.
            leader_epoch: commit
                .leader_epoch
                .filter(|_| commit.retention_ms.is_none()),
            metadata: commit.metadata,
            commit_ms: now.append_ms,
            expire_ms: commit
                .retention_ms
                .map(|retention| now.append_ms.saturating_add(retention)),
            topic_id: Some(commit.topic_id),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;
    use alloc::vec;

    const NOW: Now = Now {
        wall_ms: 1_800_000_000_000,
        monotonic_ms: 0,
        append_ms: 1_700_000_000_000,
    };

    fn commit(topic: &str, partition: i32, offset: i64) -> OffsetToCommit {
        OffsetToCommit {
            topic: topic.to_string(),
            partition: PartitionIndex(partition),
            offset: Offset(offset),
            ..Default::default()
        }
    }

    fn run(
        live: &mut Offsets,
        log: &mut Vec<CoordinatorRecord>,
        command: OffsetsCommand,
    ) -> Vec<Result<(), ErrorCode>> {
        let plan = live.plan(NOW, command).unwrap();
        for record in plan.records {
            live.apply(Offset(log.len() as i64), &record);
            log.push(record);
        }
        plan.reply
    }

    #[test]
    fn replay_equals_live() {
        let (mut live, mut log) = (Offsets::new(16), Vec::new());
        for round in 0..50_i64 {
            let group_id = format!("g{}", round % 3);
            let offsets = (0..4)
                .map(|p| commit(&format!("t{}", round % 5), p, round))
                .collect();
            run(
                &mut live,
                &mut log,
                OffsetsCommand::Commit {
                    group_id: group_id.clone(),
                    offsets,
                    refresh_ms: None,
                    in_flight: InFlight::default(),
                },
            );
            if round % 7 == 0 {
                let topic = format!("t{}", round % 4);
                let keys = (0..3).map(|partition| OffsetKey {
                    group: group_id.clone(),
                    topic: topic.clone(),
                    partition: PartitionIndex(partition),
                });
                let keys = keys.collect();
                run(&mut live, &mut log, OffsetsCommand::Delete { keys });
            }
            if round % 20 == 19 {
                run(
                    &mut live,
                    &mut log,
                    OffsetsCommand::DeleteGroup { group_id },
                );
            }
        }
        let mut replayed = Offsets::new(16);
        for record in &log {
            replayed.apply(Offset::ZERO, record);
        }
        assert_eq!(replayed, live);
        let counted: usize = live.group_ids().map(|id| live.of_group(id).count()).sum();
        assert_eq!(live.len(), counted);
        assert!(counted > 0);
    }

    #[test]
    fn the_last_commit_counts_and_all_fields_come_back() {
        let (mut live, mut log) = (Offsets::new(16), Vec::new());
        let last = OffsetToCommit {
            metadata: "note".to_string(),
            retention_ms: Some(1_000),
            ..commit("t", 0, 9)
        };
        let offsets = vec![commit("t", 0, 8), last];
        let group_id = "g".to_string();
        let results = run(
            &mut live,
            &mut log,
            OffsetsCommand::Commit {
                group_id,
                offsets,
                refresh_ms: None,
                in_flight: InFlight::default(),
            },
        );
        assert_eq!(results, [Ok(()), Ok(())]);
        let expected = OffsetValue {
            offset: Offset(9),
            leader_epoch: None,
            metadata: "note".to_string(),
            commit_ms: NOW.append_ms,
            expire_ms: Some(NOW.append_ms + 1_000),
            topic_id: Some(KafkaUuid::ZERO),
        };
        assert_eq!(
            live.get("g", "t", KafkaUuid::ZERO, PartitionIndex(0)),
            Some(&expected)
        );
        assert_eq!(live.len(), 1);
    }

    #[test]
    fn planning_changes_nothing_and_deleting_the_unknown_is_no_record() {
        let live = Offsets::new(16);
        let offsets = vec![commit("t", 0, 8)];
        let plan = live.plan(
            NOW,
            OffsetsCommand::Commit {
                group_id: "g".to_string(),
                offsets,
                refresh_ms: None,
                in_flight: InFlight::default(),
            },
        );
        assert_eq!(plan.unwrap().records.len(), 1);
        assert!(live.is_empty());
        let key = OffsetKey {
            group: "g".to_string(),
            topic: "t".to_string(),
            partition: PartitionIndex(0),
        };
        let plan = live.plan(NOW, OffsetsCommand::Delete { keys: vec![key] });
        assert!(plan.unwrap().records.is_empty());
    }

    #[test]
    fn the_table_is_bounded_and_known_offsets_still_move() {
        let (mut live, mut log) = (Offsets::new(16), Vec::new());
        let offsets = (0..=OFFSETS_MAX as i32)
            .map(|p| commit("t", p, 1))
            .collect();
        let group_id = "g".to_string();
        let results = run(
            &mut live,
            &mut log,
            OffsetsCommand::Commit {
                group_id: group_id.clone(),
                offsets,
                refresh_ms: None,
                in_flight: InFlight::default(),
            },
        );
        assert_eq!(
            results.last(),
            Some(&Err(ErrorCode::InvalidCommitOffsetSize))
        );
        assert_eq!(live.len(), OFFSETS_MAX);
        let offsets = vec![commit("t", 0, 2), commit("u", 0, 2)];
        let results = run(
            &mut live,
            &mut log,
            OffsetsCommand::Commit {
                group_id,
                offsets,
                refresh_ms: None,
                in_flight: InFlight::default(),
            },
        );
        assert_eq!(results, [Ok(()), Err(ErrorCode::InvalidCommitOffsetSize)]);
    }

    #[test]
    fn the_bytes_are_bounded_and_what_does_not_grow_is_taken() {
        let (mut live, mut log) = (Offsets::new(1 << 20), Vec::new());
        let run = |live: &mut Offsets, log: &mut Vec<_>, topic: &str, partition, bytes: usize| {
            let offset = OffsetToCommit {
                metadata: "m".repeat(bytes),
                ..commit(topic, partition, 1)
            };
            let command = OffsetsCommand::Commit {
                group_id: "g".to_string(),
                offsets: vec![offset],
                refresh_ms: None,
                in_flight: InFlight::default(),
            };
            run(live, log, command)[0]
        };
        let mut taken = 0;
        while run(&mut live, &mut log, "t", taken, 1 << 20).is_ok() {
            taken += 1;
            assert!(live.bytes() <= OFFSETS_BYTES_MAX);
        }
        assert_eq!(taken as usize, OFFSETS_BYTES_MAX / (1 << 20) - 1);
        let refused = Err(ErrorCode::InvalidCommitOffsetSize);
        assert_eq!(run(&mut live, &mut log, "u", 0, 1 << 20), refused);
        assert_eq!(
            run(&mut live, &mut log, "t", 0, 1 << 20),
            Ok(()),
            "as large"
        );
        assert_eq!(run(&mut live, &mut log, "t", 0, 10), Ok(()), "smaller");
        assert_eq!(
            run(&mut live, &mut log, "u", 0, 1 << 19),
            Ok(()),
            "there is room now"
        );
        let counted: usize = live
            .of_group("g")
            .map(|(topic, _, value)| cost("g", topic, &value.metadata))
            .sum();
        assert_eq!(
            live.bytes(),
            counted + OFFSET_GROUP_BYTES + 2 * OFFSET_TOPIC_BYTES
        );
        let group_id = "g".to_string();
        let plan = live.plan(NOW, OffsetsCommand::DeleteGroup { group_id });
        for record in plan.unwrap().records {
            live.apply(Offset::ZERO, &record);
        }
        assert_eq!(live.bytes(), 0);
    }

    #[test]
    fn what_is_on_its_way_takes_up_room() {
        let live = Offsets::new(16);
        let check = |in_flight: InFlight, expected: Result<(), ErrorCode>| {
            let command = OffsetsCommand::Commit {
                group_id: "g".to_string(),
                offsets: vec![commit("t", 0, 1)],
                refresh_ms: None,
                in_flight,
            };
            assert_eq!(live.plan(NOW, command).unwrap().reply, [expected]);
        };
        let of = |records, bytes| InFlight { records, bytes };
        let refused = Err(ErrorCode::InvalidCommitOffsetSize);
        check(of(OFFSETS_MAX - 1, 0), Ok(()));
        check(of(OFFSETS_MAX, 0), refused);
        check(of(1, OFFSETS_BYTES_MAX - 100), refused);
    }

    #[test]
    fn what_was_just_said_is_not_written_again() {
        let (mut live, mut log) = (Offsets::new(16), Vec::new());
        let mut check = |now_ms: i64, offsets: &[i64], written: usize| {
            let now = Now {
                append_ms: NOW.append_ms + now_ms,
                ..NOW
            };
            let command = OffsetsCommand::Commit {
                group_id: "g".to_string(),
                offsets: offsets
                    .iter()
                    .map(|offset| commit("t", 0, *offset))
                    .collect(),
                refresh_ms: Some(1_000),
                in_flight: InFlight::default(),
            };
            let plan = live.plan(now, command).unwrap();
            assert!(plan.reply.iter().all(Result::is_ok));
            assert_eq!(plan.records.len(), written, "{offsets:?} at {now_ms}");
            for record in plan.records {
                live.apply(Offset::ZERO, &record);
                log.push(record);
            }
        };
        check(0, &[5], 1);
        check(999, &[5], 0);
        check(999, &[6], 1);
        check(1_998, &[6], 0);
        check(1_999, &[6], 1);
        check(1_999, &[7, 6], 2);
        check(1_999, &[6], 0);
        // A clock that went back.
        check(0, &[6], 1);
    }
}

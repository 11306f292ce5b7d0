//! The offsets that groups have committed: the state behind OffsetCommit, OffsetFetch and
//! OffsetDelete.
//!
//! A [`Machine`]: `plan` decides and yields records of `__consumer_offsets`, `apply` takes them
//! when they are durable (in the log's order), and a restart applies the same records. Who may
//! commit is the group's question, not asked here.
//!
//! **Invariant:** only `apply` changes the table.
//! **Invariant:** `count` is the number of offsets held.

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use sedge_protocol::ErrorCode;
use sedge_protocol::coordinator::{CoordinatorRecord, OffsetKey, OffsetValue};
use sedge_protocol::ids::{LeaderEpoch, Offset, PartitionIndex};

use crate::groups::limits::OFFSETS_MAX;
use crate::machine::{Machine, Now, Plan};

type Partitions = BTreeMap<PartitionIndex, OffsetValue>;
type Topics = BTreeMap<String, Partitions>;

/// The table.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    groups: BTreeMap<String, Topics>,
    count: usize,
    metadata_bytes_max: usize,
}

/// What can be done to the table.
#[derive(Clone, Debug)]
pub enum OffsetsCommand {
    Commit {
        group_id: String,
        offsets: Vec<OffsetToCommit>,
        /// Leave out what is as it was, and was said less than so long ago. Only while nothing
        /// planned waits to be applied.
        refresh_ms: Option<i64>,
    },
    /// Those of `keys` that are there.
    Delete { keys: Vec<OffsetKey> },
    /// All that the group has.
    DeleteGroup { group_id: String },
}

/// One partition of an OffsetCommit.
#[derive(Clone, Debug, Default)]
pub struct OffsetToCommit {
    pub topic: String,
    pub partition: PartitionIndex,
    pub offset: Offset,
    pub leader_epoch: Option<LeaderEpoch>,
    pub metadata: String,
    /// Versions 2 to 4 could ask for a retention of their own.
    pub retention_ms: Option<i64>,
}

impl Offsets {
    /// An empty table that takes metadata of up to `metadata_bytes_max`
    /// (`offset.metadata.max.bytes`) an offset.
    #[must_use]
    pub const fn new(metadata_bytes_max: usize) -> Self {
        Self {
            groups: BTreeMap::new(),
            count: 0,
            metadata_bytes_max,
        }
    }

    #[must_use]
    pub fn get(
        &self,
        group_id: &str,
        topic: &str,
        partition: PartitionIndex,
    ) -> Option<&OffsetValue> {
        self.groups.get(group_id)?.get(topic)?.get(&partition)
    }

    /// All that a group has committed, by topic and partition.
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
                    .map(move |(partition, value)| (topic.as_str(), *partition, value))
            })
    }

    /// The topics of which a group has committed offsets.
    pub fn topics_of_group(&self, group_id: &str) -> impl Iterator<Item = &str> + '_ {
        self.groups
            .get(group_id)
            .into_iter()
            .flat_map(|topics| topics.keys().map(String::as_str))
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

    fn plan_commit(
        &self,
        now: Now,
        group_id: &str,
        offsets: Vec<OffsetToCommit>,
        refresh_ms: Option<i64>,
    ) -> Plan<CoordinatorRecord, Vec<Result<(), ErrorCode>>> {
        let mut records = Vec::new();
        let mut results = Vec::with_capacity(offsets.len());
        let mut room = OFFSETS_MAX.saturating_sub(self.count);
        // Of two in one commit the second counts, whatever the table has.
        let refresh_ms = refresh_ms.filter(|_| !names_one_twice(&offsets));
        for commit in offsets {
            let known = self.get(group_id, &commit.topic, commit.partition);
            let is_known = known.is_some();
            let is_said = |known: &OffsetValue| is_said(now, known, &commit, refresh_ms);
            results.push(if commit.metadata.len() > self.metadata_bytes_max {
                Err(ErrorCode::OffsetMetadataTooLarge)
            } else if !is_known && room == 0 {
                Err(ErrorCode::InvalidCommitOffsetSize)
            } else if known.is_some_and(is_said) {
                Ok(())
            } else {
                room -= usize::from(!is_known);
                records.push(commit_record(now, group_id, commit));
                Ok(())
            });
        }
        Plan {
            records,
            reply: results,
        }
    }

    fn insert(&mut self, key: &OffsetKey, value: &OffsetValue) {
        if !self.groups.contains_key(&key.group) {
            self.groups.insert(key.group.clone(), Topics::new());
        }
        let Some(topics) = self.groups.get_mut(&key.group) else {
            return;
        };
        let partitions = if topics.contains_key(&key.topic) {
            topics.get_mut(&key.topic)
        } else {
            Some(topics.entry(key.topic.clone()).or_default())
        };
        let former =
            partitions.and_then(|partitions| partitions.insert(key.partition, value.clone()));
        self.count += usize::from(former.is_none());
    }

    fn remove(&mut self, key: &OffsetKey) {
        let Some(topics) = self.groups.get_mut(&key.group) else {
            return;
        };
        let Some(partitions) = topics.get_mut(&key.topic) else {
            return;
        };
        self.count -= usize::from(partitions.remove(&key.partition).is_some());
        if partitions.is_empty() {
            topics.remove(&key.topic);
        }
        if topics.is_empty() {
            self.groups.remove(&key.group);
        }
    }
}

impl Machine for Offsets {
    type Command = OffsetsCommand;
    type Record = CoordinatorRecord;
    /// For each offset of a commit its result, in order; empty for the rest.
    type Reply = Vec<Result<(), ErrorCode>>;

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
            } => {
                return Ok(self.plan_commit(now, &group_id, offsets, refresh_ms));
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
            .filter(|key| self.get(&key.group, &key.topic, key.partition).is_some());
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

/// Whether the table has what the commit says, and since not so long ago.
fn is_said(
    now: Now,
    known: &OffsetValue,
    commit: &OffsetToCommit,
    refresh_ms: Option<i64>,
) -> bool {
    let age = now.wall_ms.saturating_sub(known.commit_ms);
    refresh_ms.is_some_and(|refresh_ms| (0..refresh_ms).contains(&age))
        && commit.retention_ms.is_none()
        && known.expire_ms.is_none()
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
            // Requests that ask for a retention know no leader epoch, and their record has no place
            // for one.
            leader_epoch: commit
                .leader_epoch
                .filter(|_| commit.retention_ms.is_none()),
            metadata: commit.metadata,
            commit_ms: now.wall_ms,
            expire_ms: commit
                .retention_ms
                .map(|retention| now.wall_ms.saturating_add(retention)),
            topic_id: None,
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
            },
        );
        assert_eq!(results, [Ok(()), Ok(())]);
        let expected = OffsetValue {
            offset: Offset(9),
            leader_epoch: None,
            metadata: "note".to_string(),
            commit_ms: NOW.wall_ms,
            expire_ms: Some(NOW.wall_ms + 1_000),
            topic_id: None,
        };
        assert_eq!(live.get("g", "t", PartitionIndex(0)), Some(&expected));
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
            },
        );
        assert_eq!(results, [Ok(()), Err(ErrorCode::InvalidCommitOffsetSize)]);
    }

    #[test]
    fn what_was_just_said_is_not_written_again() {
        let (mut live, mut log) = (Offsets::new(16), Vec::new());
        let mut check = |now_ms: i64, offsets: &[i64], written: usize| {
            let now = Now {
                wall_ms: NOW.wall_ms + now_ms,
                ..NOW
            };
            let command = OffsetsCommand::Commit {
                group_id: "g".to_string(),
                offsets: offsets
                    .iter()
                    .map(|offset| commit("t", 0, *offset))
                    .collect(),
                refresh_ms: Some(1_000),
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

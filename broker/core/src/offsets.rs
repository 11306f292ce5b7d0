//! The offsets that groups have committed: the state behind OffsetCommit, OffsetFetch and OffsetDelete.
//!
//! A [`Machine`]: `plan` decides and yields records of `__consumer_offsets`, `apply` takes them when they are durable (in the
//! log's order), and a restart applies the same records. Who may commit is the group's question, not asked here.
//!
//! **Invariant:** only `apply` changes the table.
//! **Invariant:** `count` is the number of offsets held.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use sedge_protocol::ErrorCode;
use sedge_protocol::ids::Offset;

use crate::groups::limits::OFFSETS_MAX;
use crate::groups::{CommittedOffset, CoordinatorRecord, OffsetKey};
use crate::machine::{Machine, Now, Plan};

type Partitions = BTreeMap<i32, CommittedOffset>;
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
    pub topic_id: Option<[u8; 16]>,
    pub partition: i32,
    pub offset: i64,
    pub leader_epoch: Option<i32>,
    pub metadata: String,
    /// Versions 2 to 4 could ask for a retention of their own.
    pub retention_ms: Option<i64>,
}

impl Offsets {
    /// An empty table that takes metadata of up to `metadata_bytes_max` (`offset.metadata.max.bytes`) an offset.
    #[must_use]
    pub const fn new(metadata_bytes_max: usize) -> Self {
        Self {
            groups: BTreeMap::new(),
            count: 0,
            metadata_bytes_max,
        }
    }

    #[must_use]
    pub fn get(&self, group_id: &str, topic: &str, partition: i32) -> Option<&CommittedOffset> {
        self.groups.get(group_id)?.get(topic)?.get(&partition)
    }

    /// All that a group has committed, by topic and partition.
    pub fn of_group(
        &self,
        group_id: &str,
    ) -> impl Iterator<Item = (&str, i32, &CommittedOffset)> + '_ {
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
    ) -> Plan<CoordinatorRecord, Vec<Result<(), ErrorCode>>> {
        let mut records = Vec::new();
        let mut results = Vec::with_capacity(offsets.len());
        let mut room = OFFSETS_MAX.saturating_sub(self.count);
        for commit in offsets {
            let is_known = self
                .get(group_id, &commit.topic, commit.partition)
                .is_some();
            results.push(if commit.metadata.len() > self.metadata_bytes_max {
                Err(ErrorCode::OffsetMetadataTooLarge)
            } else if !is_known && room == 0 {
                Err(ErrorCode::InvalidCommitOffsetSize)
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

    fn insert(&mut self, key: &OffsetKey, value: &CommittedOffset) {
        if !self.groups.contains_key(&key.group_id) {
            self.groups.insert(key.group_id.clone(), Topics::new());
        }
        let Some(topics) = self.groups.get_mut(&key.group_id) else {
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
        let Some(topics) = self.groups.get_mut(&key.group_id) else {
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
            self.groups.remove(&key.group_id);
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
            OffsetsCommand::Commit { group_id, offsets } => {
                return Ok(self.plan_commit(now, &group_id, offsets));
            }
            OffsetsCommand::Delete { keys } => keys,
            OffsetsCommand::DeleteGroup { group_id } => self
                .of_group(&group_id)
                .map(|(topic, partition, _)| OffsetKey {
                    group_id: group_id.clone(),
                    topic: topic.to_owned(),
                    partition,
                })
                .collect(),
        };
        let known = keys
            .into_iter()
            .filter(|key| self.get(&key.group_id, &key.topic, key.partition).is_some());
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

fn commit_record(now: Now, group_id: &str, commit: OffsetToCommit) -> CoordinatorRecord {
    CoordinatorRecord::Offset {
        key: OffsetKey {
            group_id: group_id.to_owned(),
            topic: commit.topic,
            partition: commit.partition,
        },
        value: Some(CommittedOffset {
            offset: commit.offset,
            leader_epoch: commit.leader_epoch,
            metadata: commit.metadata,
            commit_timestamp_ms: now.wall_ms,
            expire_timestamp_ms: commit
                .retention_ms
                .map(|retention| now.wall_ms.saturating_add(retention)),
            topic_id: commit.topic_id,
        }),
    }
}

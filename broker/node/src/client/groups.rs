//! Consumer groups from outside: lists them, describes them, and reads their committed offsets.

use std::collections::{BTreeMap, BTreeSet};

use sedge_protocol::ErrorCode;
use sedge_protocol::ids::{LeaderEpoch, Offset};
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::{
    ApiKey, ConsumerGroupDescribeRequestData, DeleteGroupsRequestData, DescribeGroupsRequestData,
    ListGroupsRequestData, OffsetCommitRequestData, OffsetCommitRequestPartition,
    OffsetCommitRequestTopic, OffsetCommitResponseData, OffsetFetchRequestData,
    OffsetFetchResponseData,
};

use super::cluster::{Client, Target};
use super::error::Error;

/// The state of a group that does not exist, before Kafka 4.0.
const DEAD: &str = "Dead";
/// The protocol type of consumers.
const CONSUMER: &str = "consumer";

/// A group in the list of groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    pub name: String,
    pub protocol_type: String,
    /// The state; empty from brokers before 2.6.
    pub state: String,
}

/// A group and its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub name: String,
    pub state: String,
    pub protocol_type: String,
    /// The assignor.
    pub protocol: String,
    pub members: Vec<GroupMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    pub id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub host: String,
}

/// An offset that a group committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    pub offset: Offset,
    /// The leader epoch of the last record below the offset, if known.
    pub leader_epoch: Option<LeaderEpoch>,
    pub metadata: String,
}

/// Committed offsets by topic and partition.
pub type CommittedOffsets = BTreeMap<(String, i32), CommittedOffset>;

impl Client {
    /// Lists every group of every broker.
    pub async fn list_groups(&self) -> Result<Vec<ListedGroup>, Error> {
        self.retry(|| self.refresh(&[])).await?;
        let brokers: BTreeSet<i32> = self.describe(&[]).await?.brokers.into_keys().collect();
        let mut groups = Vec::new();
        for broker in brokers {
            let request = ListGroupsRequestData::default();
            let response = self.call(Target::Broker(broker), &request).await?;
            Error::check(ApiKey::ListGroups, response.error_code, None)?;
            groups.extend(response.groups.into_iter().map(|group| ListedGroup {
                name: group.group_id.as_str().to_owned(),
                protocol_type: group.protocol_type.as_str().to_owned(),
                state: group.group_state.as_str().to_owned(),
            }));
        }
        groups.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(groups)
    }

    /// Describes one group with its members, of either protocol. A group that does not exist is
    /// `Dead` before Kafka 4.0, an error since.
    pub async fn describe_group(&self, name: &str) -> Result<Group, Error> {
        let classic = self.describe_classic_group(name).await;
        let is_missing = match &classic {
            Ok(group) => group.state == DEAD,
            Err(error) => error.code() == Some(ErrorCode::GroupIdNotFound),
        };
        if is_missing && let Ok(group) = self.describe_consumer_group(name).await {
            return Ok(group);
        }
        classic
    }

    async fn describe_classic_group(&self, name: &str) -> Result<Group, Error> {
        let request =
            DescribeGroupsRequestData::default().with_groups(vec![name.to_owned().into()]);
        let api = ApiKey::DescribeGroups;
        self.retry(|| async {
            let response = self
                .connection(Target::Coordinator(name))
                .await?
                .call(&request)
                .await?;
            let group = response
                .groups
                .into_iter()
                .next()
                .ok_or(Error::Missing { api, what: "group" })?;
            let message = group.error_message.as_ref().map(KafkaString::as_str);
            Error::check(api, group.error_code, message)?;
            let members = group.members.into_iter().map(|member| GroupMember {
                id: member.member_id.as_str().to_owned(),
                instance_id: member.group_instance_id.map(|id| id.as_str().to_owned()),
                client_id: member.client_id.as_str().to_owned(),
                host: member.client_host.as_str().to_owned(),
            });
            Ok(Group {
                name: group.group_id.as_str().to_owned(),
                state: group.group_state.as_str().to_owned(),
                protocol_type: group.protocol_type.as_str().to_owned(),
                protocol: group.protocol_data.as_str().to_owned(),
                members: members.collect(),
            })
        })
        .await
    }

    async fn describe_consumer_group(&self, name: &str) -> Result<Group, Error> {
        let request = ConsumerGroupDescribeRequestData::default()
            .with_group_ids(vec![name.to_owned().into()]);
        let api = ApiKey::ConsumerGroupDescribe;
        self.retry(|| async {
            let response = self
                .connection(Target::Coordinator(name))
                .await?
                .call(&request)
                .await?;
            let group = response
                .groups
                .into_iter()
                .next()
                .ok_or(Error::Missing { api, what: "group" })?;
            let message = group.error_message.as_ref().map(KafkaString::as_str);
            Error::check(api, group.error_code, message)?;
            let members = group.members.into_iter().map(|member| GroupMember {
                id: member.member_id.as_str().to_owned(),
                instance_id: member.instance_id.map(|id| id.as_str().to_owned()),
                client_id: member.client_id.as_str().to_owned(),
                host: member.client_host.as_str().to_owned(),
            });
            Ok(Group {
                name: group.group_id.as_str().to_owned(),
                state: group.group_state.as_str().to_owned(),
                protocol_type: CONSUMER.to_owned(),
                protocol: group.assignor_name.as_str().to_owned(),
                members: members.collect(),
            })
        })
        .await
    }

    /// Deletes a group that has no members.
    pub async fn delete_group(&self, name: &str) -> Result<(), Error> {
        let request =
            DeleteGroupsRequestData::default().with_groups_names(vec![name.to_owned().into()]);
        let api = ApiKey::DeleteGroups;
        self.retry(|| async {
            let response = self
                .connection(Target::Coordinator(name))
                .await?
                .call(&request)
                .await?;
            let result = response
                .results
                .first()
                .ok_or(Error::Missing { api, what: "group" })?;
            Error::check(api, result.error_code, None)
        })
        .await
    }

    /// Returns all offsets that a group has committed.
    pub async fn committed_offsets(&self, group: &str) -> Result<CommittedOffsets, Error> {
        let request = offset_fetch(group);
        self.retry(|| async {
            let response = self
                .connection(Target::Coordinator(group))
                .await?
                .call(&request)
                .await?;
            committed(&response)
        })
        .await
    }

    /// Commits offsets for a group that has no members (a "simple" consumer).
    pub async fn commit_offsets(
        &self,
        group: &str,
        offsets: &CommittedOffsets,
    ) -> Result<(), Error> {
        let request = offset_commit(group, offsets);
        self.retry(|| async {
            let response = self
                .connection(Target::Coordinator(group))
                .await?
                .call(&request)
                .await?;
            check_commit(&response)
        })
        .await
    }
}

/// Builds a request for all offsets that a group has committed.
#[must_use]
pub fn offset_fetch(group: &str) -> OffsetFetchRequestData {
    OffsetFetchRequestData::default()
        .with_group_id(group.to_owned().into())
        .with_topics(None)
}

/// Reads the answer to [`offset_fetch`].
pub fn committed(response: &OffsetFetchResponseData) -> Result<CommittedOffsets, Error> {
    let api = ApiKey::OffsetFetch;
    Error::check(api, response.error_code, None)?;
    let mut committed = CommittedOffsets::new();
    for topic in &response.topics {
        for partition in &topic.partitions {
            Error::check(api, partition.error_code, None)?;
            let Some(offset) = Offset::from_wire(partition.committed_offset) else {
                continue;
            };
            let metadata = partition
                .metadata
                .as_ref()
                .map_or("", KafkaString::as_str)
                .to_owned();
            committed.insert(
                (topic.name.as_str().to_owned(), partition.partition_index),
                CommittedOffset {
                    offset,
                    leader_epoch: LeaderEpoch::from_wire(partition.committed_leader_epoch),
                    metadata,
                },
            );
        }
    }
    Ok(committed)
}

/// Builds a commit of offsets for a group without members.
#[must_use]
pub fn offset_commit(group: &str, offsets: &CommittedOffsets) -> OffsetCommitRequestData {
    let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
    for ((topic, partition), committed) in offsets {
        topics.entry(topic).or_default().push(
            OffsetCommitRequestPartition::default()
                .with_partition_index(*partition)
                .with_committed_offset(committed.offset.get())
                .with_committed_leader_epoch(committed.leader_epoch.map_or(-1, LeaderEpoch::get))
                .with_committed_metadata(Some(committed.metadata.clone().into())),
        );
    }
    let topics = topics.into_iter().map(|(name, partitions)| {
        OffsetCommitRequestTopic::default()
            .with_name(name.to_owned().into())
            .with_partitions(partitions)
    });
    OffsetCommitRequestData::default()
        .with_group_id(group.to_owned().into())
        .with_topics(topics.collect())
}

/// Returns the first partition's error, if any has one.
pub fn check_commit(response: &OffsetCommitResponseData) -> Result<(), Error> {
    let mut partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    partitions
        .try_for_each(|partition| Error::check(ApiKey::OffsetCommit, partition.error_code, None))
}

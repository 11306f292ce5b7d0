//! OffsetFetch (key 9): returns the durable committed offsets of groups. A partition without an
//! offset gets -1, which is not an error. KIP-447: if stable offsets are required, a partition with
//! an offset that a transaction may commit gets UNSTABLE_OFFSET_COMMIT.

use std::collections::BTreeMap;

use sedge_core::groups::Coordinator;
use sedge_core::offsets::Offsets;
use sedge_core::security::Operation;
use sedge_protocol::ErrorCode;
use sedge_protocol::coordinator::OffsetValue;
use sedge_protocol::ids::{LeaderEpoch, PartitionIndex};
use sedge_protocol::kafka::generated::offset_fetch_request::{
    OffsetFetchRequestData, OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use sedge_protocol::kafka::generated::offset_fetch_response::{
    OffsetFetchResponseData, OffsetFetchResponseGroup, OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions, OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use sedge_protocol::kafka::{KafkaString, KafkaUuid};

use crate::handlers::{Request, Topics};

const FIRST_BATCHED_VERSION: i16 = 8;
const FIRST_VERSION_WITH_TOPIC_IDS: i16 = 10;
const FIRST_VERSION_WITH_ALL_TOPICS: i16 = 2;

pub async fn handle(request: &Request, message: OffsetFetchRequestData) -> OffsetFetchResponseData {
    let topics = request.topics(Operation::Describe);
    let by_id = request.version() >= FIRST_VERSION_WITH_TOPIC_IDS;
    let fetch = |wanted: OffsetFetchRequestGroup| {
        let group_id = wanted.group_id.clone();
        let response = OffsetFetchResponseGroup::default().with_group_id(group_id.clone());
        let group = request.group(Operation::Describe, group_id.as_str());
        let group = group.and_then(|group| {
            let (member_id, epoch) = (wanted.member_id.as_ref(), wanted.member_epoch);
            let member_id = member_id.map(KafkaString::as_str);
            group.with(|machine| machine.check_fetch(group_id.as_str(), member_id, epoch))?;
            Ok(group)
        });
        match group {
            Ok(group) => {
                let found = group.with(|machine| {
                    let found = find(&topics, machine.offsets(), wanted, by_id);
                    if message.require_stable {
                        without_unstable(&topics, machine, group_id.as_str(), found)
                    } else {
                        found
                    }
                });
                response.with_topics(found)
            }
            Err(error) => response.with_error_code(error.code()).with_topics(refused(
                error,
                wanted,
                request.version(),
            )),
        }
    };
    if request.version() >= FIRST_BATCHED_VERSION {
        let groups = message.groups.into_iter().map(fetch).collect();
        return OffsetFetchResponseData::default().with_groups(groups);
    }
    // Older versions: one group, and topics by name.
    let named = message.topics.map(|topics| {
        let topics = topics.into_iter().map(|topic| {
            OffsetFetchRequestTopics::default()
                .with_name(topic.name)
                .with_partition_indexes(topic.partition_indexes)
        });
        topics.collect()
    });
    let named = match named {
        None if request.version() < FIRST_VERSION_WITH_ALL_TOPICS => Some(Vec::new()),
        named => named,
    };
    let wanted = OffsetFetchRequestGroup::default()
        .with_group_id(message.group_id)
        .with_topics(named);
    let found = fetch(wanted);
    OffsetFetchResponseData::default()
        .with_error_code(found.error_code)
        .with_topics(found.topics.into_iter().map(to_single_group).collect())
}

/// Version 1 has an error code for each partition only.
fn refused(
    error: ErrorCode,
    wanted: OffsetFetchRequestGroup,
    version: i16,
) -> Vec<OffsetFetchResponseTopics> {
    if version >= FIRST_VERSION_WITH_ALL_TOPICS {
        return Vec::new();
    }
    let topics = wanted.topics.unwrap_or_default().into_iter();
    let topics = topics.map(|topic| {
        let indices = topic.partition_indexes.into_iter();
        let partitions = indices.map(|index| partition(index, None).with_error_code(error.code()));
        OffsetFetchResponseTopics::default()
            .with_name(topic.name)
            .with_partitions(partitions.collect())
    });
    topics.collect()
}

fn find(
    topics: &Topics,
    offsets: &Offsets,
    wanted: OffsetFetchRequestGroup,
    by_id: bool,
) -> Vec<OffsetFetchResponseTopics> {
    let group_id = wanted.group_id.as_str();
    let Some(named) = wanted.topics else {
        return all_topics(topics, offsets, group_id, by_id);
    };
    let found = named
        .into_iter()
        .map(|topic| one(topics, offsets, group_id, topic, by_id));
    found.collect()
}

fn one(
    topics: &Topics,
    offsets: &Offsets,
    group_id: &str,
    wanted: OffsetFetchRequestTopics,
    by_id: bool,
) -> OffsetFetchResponseTopics {
    let topic = if by_id {
        topics.by_id(wanted.topic_id)
    } else {
        topics.named(wanted.name.as_str())
    };
    let partitions = wanted
        .partition_indexes
        .into_iter()
        .map(|index| match topic {
            Ok(topic) => partition(
                index,
                offsets.get(group_id, &topic.name, topic.id, PartitionIndex(index)),
            ),
            // A topic that does not exist has no offset, which is not an error.
            Err(ErrorCode::UnknownTopicOrPartition) => partition(index, None),
            Err(error) => partition(index, None).with_error_code(error.code()),
        });
    let topic = OffsetFetchResponseTopics::default().with_partitions(partitions.collect());
    named(topic, wanted.name, wanted.topic_id, by_id)
}

/// Returns all committed offsets of existing topics.
fn all_topics(
    topics: &Topics,
    offsets: &Offsets,
    group_id: &str,
    by_id: bool,
) -> Vec<OffsetFetchResponseTopics> {
    let mut found: BTreeMap<&str, Vec<OffsetFetchResponsePartitions>> = BTreeMap::new();
    for (topic, index, value) in offsets.of_group(group_id) {
        let id = topics.named(topic).ok().map(|topic| topic.id);
        if id.is_none() || id != value.topic_id {
            continue;
        }
        found
            .entry(topic)
            .or_default()
            .push(partition(index.get(), Some(value)));
    }
    let found = found.into_iter().filter_map(|(name, partitions)| {
        let id = topics.named(name).ok()?.id;
        let topic = OffsetFetchResponseTopics::default().with_partitions(partitions);
        let name = KafkaString::from(name.to_owned());
        Some(named(topic, name, id, by_id))
    });
    found.collect()
}

/// Replaces offsets of partitions with a pending one by an error.
fn without_unstable(
    topics: &Topics,
    machine: &Coordinator,
    group_id: &str,
    mut found: Vec<OffsetFetchResponseTopics>,
) -> Vec<OffsetFetchResponseTopics> {
    for topic in &mut found {
        let by_id = topics.existing_by_id(topic.topic_id);
        let name = by_id.unwrap_or_else(|| topic.name.as_str());
        for of in &mut topic.partitions {
            let index = PartitionIndex(of.partition_index);
            if of.error_code == 0 && machine.is_unstable(group_id, name, index) {
                let error = ErrorCode::UnstableOffsetCommit.code();
                *of = partition(of.partition_index, None).with_error_code(error);
            }
        }
    }
    found
}

fn named(
    topic: OffsetFetchResponseTopics,
    name: KafkaString,
    id: KafkaUuid,
    by_id: bool,
) -> OffsetFetchResponseTopics {
    if by_id {
        topic.with_topic_id(id)
    } else {
        topic.with_name(name)
    }
}

fn partition(index: i32, value: Option<&OffsetValue>) -> OffsetFetchResponsePartitions {
    let partition = OffsetFetchResponsePartitions::default().with_partition_index(index);
    match value {
        None => partition
            .with_committed_offset(-1)
            .with_committed_leader_epoch(-1)
            .with_metadata(Some(KafkaString::default())),
        Some(value) => partition
            .with_committed_offset(value.offset.get())
            .with_committed_leader_epoch(value.leader_epoch.map_or(-1, LeaderEpoch::get))
            .with_metadata(Some(KafkaString::from(value.metadata.clone()))),
    }
}

fn to_single_group(topic: OffsetFetchResponseTopics) -> OffsetFetchResponseTopic {
    let partitions = topic.partitions.into_iter().map(|partition| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(partition.partition_index)
            .with_committed_offset(partition.committed_offset)
            .with_committed_leader_epoch(partition.committed_leader_epoch)
            .with_metadata(partition.metadata)
            .with_error_code(partition.error_code)
    });
    OffsetFetchResponseTopic::default()
        .with_name(topic.name)
        .with_partitions(partitions.collect())
}

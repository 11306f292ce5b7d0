//! OffsetFetch (key 9): what groups have committed, and are sure of. A partition without an offset
//! is -1 and no error.

use std::collections::BTreeMap;

use sedge_core::metadata::Image;
use sedge_core::offsets::Offsets;
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

use super::Request;

const FIRST_BATCHED_VERSION: i16 = 8;
const FIRST_VERSION_WITH_TOPIC_IDS: i16 = 10;
const FIRST_VERSION_WITH_ALL_TOPICS: i16 = 2;

pub async fn handle(request: &Request, message: OffsetFetchRequestData) -> OffsetFetchResponseData {
    let image = request.broker.log.metadata.load();
    let by_id = request.version() >= FIRST_VERSION_WITH_TOPIC_IDS;
    let fetch = |wanted: OffsetFetchRequestGroup| {
        let groups = &request.broker.groups;
        groups.with(|machine| group(&image, machine.offsets(), wanted, by_id))
    };
    if request.version() >= FIRST_BATCHED_VERSION {
        let groups = message.groups.into_iter().map(fetch).collect();
        return OffsetFetchResponseData::default().with_groups(groups);
    }
    // One group, and topics by name: the same in older words.
    let topics = message.topics.map(|topics| {
        let topics = topics.into_iter().map(|topic| {
            OffsetFetchRequestTopics::default()
                .with_name(topic.name)
                .with_partition_indexes(topic.partition_indexes)
        });
        topics.collect()
    });
    let topics = match topics {
        None if request.version() < FIRST_VERSION_WITH_ALL_TOPICS => Some(Vec::new()),
        topics => topics,
    };
    let wanted = OffsetFetchRequestGroup::default()
        .with_group_id(message.group_id)
        .with_topics(topics);
    let found = fetch(wanted);
    OffsetFetchResponseData::default()
        .with_error_code(found.error_code)
        .with_topics(found.topics.into_iter().map(in_older_words).collect())
}

fn group(
    image: &Image,
    offsets: &Offsets,
    wanted: OffsetFetchRequestGroup,
    by_id: bool,
) -> OffsetFetchResponseGroup {
    let group_id = wanted.group_id.as_str();
    let topics = match wanted.topics {
        None => all_topics(image, offsets, group_id, by_id),
        Some(topics) => {
            let found = topics
                .into_iter()
                .map(|topic| one(image, offsets, group_id, topic, by_id));
            found.collect()
        }
    };
    OffsetFetchResponseGroup::default()
        .with_group_id(wanted.group_id.clone())
        .with_topics(topics)
}

fn one(
    image: &Image,
    offsets: &Offsets,
    group_id: &str,
    wanted: OffsetFetchRequestTopics,
    by_id: bool,
) -> OffsetFetchResponseTopics {
    let topic = if by_id {
        image.topic_by_id(wanted.topic_id)
    } else {
        image.topic(wanted.name.as_str())
    };
    let partitions = wanted
        .partition_indexes
        .into_iter()
        .map(|index| match topic {
            Some(topic) => partition(
                index,
                offsets.get(group_id, &topic.name, topic.id, PartitionIndex(index)),
            ),
            None if by_id => {
                partition(index, None).with_error_code(ErrorCode::UnknownTopicId.code())
            }
            None => partition(index, None),
        });
    let topic = OffsetFetchResponseTopics::default().with_partitions(partitions.collect());
    named(topic, wanted.name, wanted.topic_id, by_id)
}

/// Of the topics that there are.
fn all_topics(
    image: &Image,
    offsets: &Offsets,
    group_id: &str,
    by_id: bool,
) -> Vec<OffsetFetchResponseTopics> {
    let mut topics: BTreeMap<&str, Vec<OffsetFetchResponsePartitions>> = BTreeMap::new();
    for (topic, index, value) in offsets.of_group(group_id) {
        let id = image.topic(topic).map(|topic| topic.id);
        if id.is_none() || id != value.topic_id {
            continue;
        }
        topics
            .entry(topic)
            .or_default()
            .push(partition(index.get(), Some(value)));
    }
    let topics = topics.into_iter().filter_map(|(name, partitions)| {
        let id = image.topic(name)?.id;
        let topic = OffsetFetchResponseTopics::default().with_partitions(partitions);
        let name = KafkaString::from(name.to_owned());
        Some(named(topic, name, id, by_id))
    });
    topics.collect()
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

fn in_older_words(topic: OffsetFetchResponseTopics) -> OffsetFetchResponseTopic {
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

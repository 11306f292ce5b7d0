//! OffsetCommit (key 8): answered when the offsets are durable.

use sedge_core::groups::{Committer, Planned};
use sedge_core::metadata::{Image, Topic};
use sedge_core::offsets::OffsetToCommit;
use sedge_protocol::ErrorCode;
use sedge_protocol::ids::{LeaderEpoch, Offset, PartitionIndex};
use sedge_protocol::kafka::generated::offset_commit_request::{
    OffsetCommitRequestData, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use sedge_protocol::kafka::generated::offset_commit_response::{
    OffsetCommitResponseData, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};

use super::Request;
use crate::net::service::{Answer, Answered, Disconnect};

const FIRST_VERSION_WITH_GROUP_ID_NOT_FOUND: i16 = 9;
const FIRST_VERSION_WITH_TOPIC_IDS: i16 = 10;

/// One partition of the request, in its order.
enum Slot {
    /// Number so-and-so of those that the coordinator was asked to take.
    Asked(usize),
    Refused(ErrorCode),
}

pub async fn handle(
    request: Request,
    message: OffsetCommitRequestData,
) -> Result<Answer, Disconnect> {
    let committer = Committer {
        group_id: message.group_id.to_string(),
        generation_id: message.generation_id_or_member_epoch,
        member_id: message.member_id.to_string(),
        group_instance_id: message.group_instance_id.as_ref().map(ToString::to_string),
        knows_group_id_not_found: request.version() >= FIRST_VERSION_WITH_GROUP_ID_NOT_FOUND,
    };
    let now = request.broker.log.clock.now();
    let ((slots, results), written) = request.broker.groups.plan(|machine| {
        // Behind the lock, so commits of a topic that is gone do not come behind those of its
        // successor.
        let (slots, offsets) = admit(&request, &message);
        let Planned { reply, actions } = machine.handle_offset_commit(now, &committer, offsets);
        Planned {
            reply: (slots, reply),
            actions,
        }
    });
    Ok(Answer::Later(Box::pin(async move {
        let Ok(written) = written.recv().await else {
            return Err(Disconnect::ShuttingDown);
        };
        let code = |slot: &Slot| match slot {
            Slot::Refused(error) => error.code(),
            Slot::Asked(number) => {
                let result = results.get(*number).copied();
                super::code_of(
                    result
                        .unwrap_or(Err(ErrorCode::UnknownServerError))
                        .and(written),
                )
            }
        };
        let response = respond(message, slots.iter().map(code));
        request
            .encode(|buffer, version| response.write(buffer, version))
            .map(Answered::from)
    })))
}

/// Finds each partition's topic: by id from version 10, by name before.
fn admit(request: &Request, message: &OffsetCommitRequestData) -> (Vec<Slot>, Vec<OffsetToCommit>) {
    let image = request.broker.log.metadata.load();
    let mut slots = Vec::new();
    let mut offsets = Vec::new();
    for topic in &message.topics {
        let found = find(request, &image, topic);
        for partition in &topic.partitions {
            let found = found.and_then(|topic| {
                let known = topic.partition(partition.partition_index);
                known
                    .map(|_| topic)
                    .ok_or(ErrorCode::UnknownTopicOrPartition)
            });
            slots.push(match found {
                Err(error) => Slot::Refused(error),
                Ok(topic) => {
                    offsets.push(to_commit(topic, partition, message.retention_time_ms));
                    Slot::Asked(offsets.len() - 1)
                }
            });
        }
    }
    (slots, offsets)
}

fn find<'a>(
    request: &Request,
    image: &'a Image,
    topic: &OffsetCommitRequestTopic,
) -> Result<&'a Topic, ErrorCode> {
    let (found, error) = if request.version() < FIRST_VERSION_WITH_TOPIC_IDS {
        let found = image.topic(topic.name.as_str());
        (found, ErrorCode::UnknownTopicOrPartition)
    } else {
        (image.topic_by_id(topic.topic_id), ErrorCode::UnknownTopicId)
    };
    found.map(|topic| &**topic).ok_or(error)
}

fn to_commit(
    topic: &Topic,
    partition: &OffsetCommitRequestPartition,
    retention_ms: i64,
) -> OffsetToCommit {
    let metadata = partition.committed_metadata.as_ref();
    OffsetToCommit {
        topic: topic.name.clone(),
        topic_id: topic.id,
        partition: PartitionIndex(partition.partition_index),
        offset: Offset(partition.committed_offset),
        leader_epoch: LeaderEpoch::from_wire(partition.committed_leader_epoch),
        metadata: metadata.map(ToString::to_string).unwrap_or_default(),
        retention_ms: (retention_ms >= 0).then_some(retention_ms),
    }
}

fn respond(
    message: OffsetCommitRequestData,
    mut codes: impl Iterator<Item = i16>,
) -> OffsetCommitResponseData {
    let topics = message.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(codes.next().unwrap_or(ErrorCode::UnknownServerError.code()))
        });
        OffsetCommitResponseTopic::default()
            .with_name(topic.name)
            .with_topic_id(topic.topic_id)
            .with_partitions(partitions.collect())
    });
    OffsetCommitResponseData::default().with_topics(topics.collect())
}

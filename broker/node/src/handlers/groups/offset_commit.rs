//! OffsetCommit (key 8): answered when the offsets are durable.

use sedge_core::groups::{Committer, Planned};
use sedge_core::offsets::OffsetToCommit;
use sedge_core::security::Operation;
use sedge_protocol::ErrorCode;
use sedge_protocol::ids::{LeaderEpoch, Offset, PartitionIndex};
use sedge_protocol::kafka::generated::offset_commit_request::{
    OffsetCommitRequestData, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use sedge_protocol::kafka::generated::offset_commit_response::{
    OffsetCommitResponseData, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};

use crate::handlers::request::{Request, Topic, Topics, Written};
use crate::net::service::Disconnect;

const FIRST_VERSION_WITH_GROUP_ID_NOT_FOUND: i16 = 9;
const FIRST_VERSION_WITH_TOPIC_IDS: i16 = 10;

/// One partition of the request, in its order.
enum Slot {
    /// Index into the coordinator's results.
    Asked(usize),
    Refused(ErrorCode),
}

/// A commit that was passed to the coordinator.
pub struct Pending {
    message: OffsetCommitRequestData,
    slots: Vec<Slot>,
    results: Vec<Result<(), ErrorCode>>,
    /// `None` if the group may not be used.
    written: Option<Written>,
}

pub async fn start(
    request: &Request,
    message: OffsetCommitRequestData,
) -> Result<Pending, Disconnect> {
    let committer = Committer {
        group_id: message.group_id.to_string(),
        generation_id: message.generation_id_or_member_epoch,
        member_id: message.member_id.to_string(),
        group_instance_id: message.group_instance_id.as_ref().map(ToString::to_string),
        knows_member_epochs: request.version() >= FIRST_VERSION_WITH_GROUP_ID_NOT_FOUND,
    };
    let now = request.now();
    let group = match request.group(Operation::Read, &committer.group_id) {
        Ok(group) => group,
        Err(error) => {
            let partitions = message.topics.iter().flat_map(|topic| &topic.partitions);
            return Ok(Pending {
                slots: partitions.map(|_| Slot::Refused(error)).collect(),
                message,
                results: Vec::new(),
                written: None,
            });
        }
    };
    let ((slots, results), written) = group.plan(|machine| {
        // Under the lock, so that commits to a deleted topic do not follow those to its successor.
        let (slots, offsets) = admit(request, &message);
        let Planned { reply, actions } = machine.handle_offset_commit(now, &committer, offsets);
        Planned {
            reply: (slots, reply),
            actions,
        }
    });
    Ok(Pending {
        message,
        slots,
        results,
        written: Some(written),
    })
}

pub async fn finish(
    _: &Request,
    pending: Pending,
) -> Result<Option<OffsetCommitResponseData>, Disconnect> {
    let Pending {
        message,
        slots,
        results,
        written,
    } = pending;
    let written = match written {
        Some(written) => written
            .unless_stopped()
            .await
            .ok_or(Disconnect::ShuttingDown)?,
        None => Ok(()),
    };
    let code = |slot: &Slot| match slot {
        Slot::Refused(error) => error.code(),
        Slot::Asked(number) => {
            let result = results.get(*number).copied();
            let result = result.unwrap_or(Err(ErrorCode::UnknownServerError));
            crate::handlers::code_of(result.and(written))
        }
    };
    Ok(Some(respond(message, slots.iter().map(code))))
}

/// Finds each partition's topic: by id from version 10, by name before.
fn admit(request: &Request, message: &OffsetCommitRequestData) -> (Vec<Slot>, Vec<OffsetToCommit>) {
    let topics = request.topics(Operation::Read);
    let mut slots = Vec::new();
    let mut offsets = Vec::new();
    for topic in &message.topics {
        let found = find(request, &topics, topic);
        for partition in &topic.partitions {
            let found = found.and_then(|topic| {
                let known = topic.partition_id(partition.partition_index);
                known.map(|_| topic)
            });
            slots.push(match found {
                Err(error) => Slot::Refused(error),
                Ok(topic) => {
                    offsets.push(to_commit(&topic, partition, message.retention_time_ms));
                    Slot::Asked(offsets.len() - 1)
                }
            });
        }
    }
    (slots, offsets)
}

fn find<'a>(
    request: &Request,
    topics: &'a Topics,
    topic: &OffsetCommitRequestTopic,
) -> Result<Topic<'a>, ErrorCode> {
    if request.version() < FIRST_VERSION_WITH_TOPIC_IDS {
        topics.named(topic.name.as_str())
    } else {
        topics.by_id(topic.topic_id)
    }
}

fn to_commit(
    topic: &Topic<'_>,
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

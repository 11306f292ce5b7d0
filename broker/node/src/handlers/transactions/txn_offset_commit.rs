//! TxnOffsetCommit (key 28): commits a group's offsets as a part of a transaction (KIP-447).

use sedge_core::groups::Committer;
use sedge_core::groups::Planned;
use sedge_core::offsets::OffsetToCommit;
use sedge_core::security::Operation;
use sedge_protocol::ErrorCode;
use sedge_protocol::ids::{LeaderEpoch, Offset, PartitionIndex};
use sedge_protocol::kafka::generated::txn_offset_commit_request::{
    TxnOffsetCommitRequestData, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use sedge_protocol::kafka::generated::txn_offset_commit_response::{
    TxnOffsetCommitResponseData, TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};

use super::{CLIENT_VERSION_2, for_version};
use crate::handlers::request::Topic;
use crate::handlers::{Request, code_of};

/// No version knows PRODUCER_FENCED.
const FIRST_VERSION_WITH_FENCED: i16 = i16::MAX;
/// KIP-890.
const FIRST_VERSION_THAT_ADDS: i16 = 5;

/// One partition of the request, in its order.
enum Slot {
    /// Index into the coordinator's results.
    Asked(usize),
    Refused(ErrorCode),
}

type Results = (Vec<Slot>, Vec<Result<(), ErrorCode>>);

pub async fn handle(
    request: &Request,
    message: TxnOffsetCommitRequestData,
) -> TxnOffsetCommitResponseData {
    match commit(request, &message).await {
        Ok((slots, results)) => {
            let code = |slot: &Slot| match slot {
                Slot::Refused(error) => error.code(),
                Slot::Asked(number) => {
                    let result = results.get(*number).copied();
                    code_of(result.unwrap_or(Err(ErrorCode::UnknownServerError)))
                }
            };
            respond(message.topics, slots.iter().map(code))
        }
        Err(error) => respond(message.topics, std::iter::repeat(error.code())),
    }
}

async fn commit(
    request: &Request,
    message: &TxnOffsetCommitRequestData,
) -> Result<Results, ErrorCode> {
    let id = request.transactional_id(Operation::Write, message.transactional_id.as_str())?;
    let group = request.group(Operation::Read, message.group_id.as_str())?;
    let (refused, offsets) = admit(request, message);
    if offsets.is_empty() {
        return Ok((refused, Vec::new()));
    }
    let producer = (message.producer_id, message.producer_epoch);
    let committed = async {
        if message.group_id.as_str().is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        if request.version() >= FIRST_VERSION_THAT_ADDS {
            id.add_offsets(producer, &group, CLIENT_VERSION_2).await?;
        }
        let committer = Committer {
            group_id: message.group_id.to_string(),
            generation_id: message.generation_id,
            member_id: message.member_id.to_string(),
            group_instance_id: message.group_instance_id.as_ref().map(ToString::to_string),
            knows_member_epochs: false,
        };
        let now = request.now();
        let (results, written) = id.plan_offsets(producer, &group, |machine| {
            // Under the lock, so that commits to a deleted topic do not follow those to its
            // successor.
            let (slots, offsets) = admit(request, message);
            let producer = sedge_protocol::ids::ProducerId(message.producer_id);
            let Planned { reply, actions } =
                machine.handle_txn_offset_commit(now, &committer, producer, offsets);
            Planned {
                reply: (slots, reply),
                actions,
            }
        })?;
        written.wait().await?;
        Ok(results)
    };
    Ok(committed.await.unwrap_or_else(|error| {
        // A topic that the client may not read is refused as such, whatever else is wrong.
        let error = for_version(error, request.version(), FIRST_VERSION_WITH_FENCED);
        (refused, vec![Err(error); offsets.len()])
    }))
}

fn admit(
    request: &Request,
    message: &TxnOffsetCommitRequestData,
) -> (Vec<Slot>, Vec<OffsetToCommit>) {
    let topics = request.topics(Operation::Read);
    let mut slots = Vec::new();
    let mut offsets = Vec::new();
    for topic in &message.topics {
        let found = topics.named(topic.name.as_str());
        for partition in &topic.partitions {
            let found = found.and_then(|topic| {
                let known = topic.partition_id(partition.partition_index);
                known.map(|_| topic)
            });
            slots.push(match found {
                Err(error) => Slot::Refused(error),
                Ok(topic) => {
                    offsets.push(to_commit(&topic, partition));
                    Slot::Asked(offsets.len() - 1)
                }
            });
        }
    }
    (slots, offsets)
}

fn to_commit(topic: &Topic<'_>, partition: &TxnOffsetCommitRequestPartition) -> OffsetToCommit {
    let metadata = partition.committed_metadata.as_ref();
    OffsetToCommit {
        topic: topic.name.clone(),
        topic_id: topic.id,
        partition: PartitionIndex(partition.partition_index),
        offset: Offset(partition.committed_offset),
        leader_epoch: LeaderEpoch::from_wire(partition.committed_leader_epoch),
        metadata: metadata.map(ToString::to_string).unwrap_or_default(),
        retention_ms: None,
    }
}

fn respond(
    topics: Vec<TxnOffsetCommitRequestTopic>,
    mut codes: impl Iterator<Item = i16>,
) -> TxnOffsetCommitResponseData {
    let topics = topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(codes.next().unwrap_or(ErrorCode::UnknownServerError.code()))
        });
        let partitions = partitions.collect();
        TxnOffsetCommitResponseTopic::default()
            .with_name(topic.name)
            .with_partitions(partitions)
    });
    TxnOffsetCommitResponseData::default().with_topics(topics.collect())
}

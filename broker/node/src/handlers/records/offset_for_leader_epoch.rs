//! OffsetForLeaderEpoch (key 23, KIP-101, KIP-320): returns the end of an epoch, by which a client
//! notices that a tail was lost.

use sedge_core::security::Operation;
use sedge_protocol::ErrorCode;
use sedge_protocol::ids::LeaderEpoch;
use sedge_protocol::kafka::generated::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequestData, OffsetForLeaderPartition,
};
use sedge_protocol::kafka::generated::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderEpochResponseData, OffsetForLeaderTopicResult,
};

use crate::handlers::{Request, Topics};
use crate::log::views::epochs;

/// The wire's value for an unknown epoch.
const NO_EPOCH: LeaderEpoch = LeaderEpoch(-1);

pub async fn handle(
    request: &Request,
    message: OffsetForLeaderEpochRequestData,
) -> OffsetForLeaderEpochResponseData {
    let topics = request.topics(Operation::Describe);
    // Off the executor: the view is asked for each partition.
    topics
        .off_executor(move |topics| find_all(topics, message))
        .await
}

fn find_all(
    topics: &Topics,
    message: OffsetForLeaderEpochRequestData,
) -> OffsetForLeaderEpochResponseData {
    let results = message
        .topics
        .into_iter()
        .map(|topic| {
            let name = topic.topic.as_str();
            let partitions = topic
                .partitions
                .iter()
                .map(|wanted| {
                    let answer = EpochEndOffset::default().with_partition(wanted.partition);
                    match end_of(topics, name, wanted) {
                        Ok((epoch, end)) => answer.with_leader_epoch(epoch).with_end_offset(end),
                        Err(error) => answer
                            .with_error_code(error.code())
                            .with_leader_epoch(-1)
                            .with_end_offset(-1),
                    }
                })
                .collect();
            OffsetForLeaderTopicResult::default()
                .with_topic(topic.topic.clone())
                .with_partitions(partitions)
        })
        .collect();
    OffsetForLeaderEpochResponseData::default().with_topics(results)
}

fn end_of(
    topics: &Topics,
    topic: &str,
    wanted: &OffsetForLeaderPartition,
) -> Result<(i32, i64), ErrorCode> {
    let known = LeaderEpoch::from_wire(wanted.current_leader_epoch);
    let partition = topics.named(topic)?.published(wanted.partition, known)?;
    let current = topics.leader_epoch();
    let asked = LeaderEpoch(wanted.leader_epoch);
    if asked == NO_EPOCH || asked > current {
        return Ok((-1, -1));
    }
    if asked == current {
        return Ok((current.get(), partition.high_watermark().get()));
    }
    let starts = epochs(topics.store(), partition.id).map_err(|error| {
        log::error!(target: "sedge::epochs", "partition {}: {error}", partition.id);
        ErrorCode::KafkaStorageError
    })?;
    // The largest epoch at or below the requested one, and the start of the next.
    let end = starts
        .iter()
        .find(|(epoch, _)| *epoch > asked)
        .map_or(partition.high_watermark(), |(_, start)| *start);
    let found = starts
        .iter()
        .rev()
        .map(|(epoch, _)| *epoch)
        .find(|epoch| *epoch <= asked);
    // An epoch before the first one ends at the start of the first one.
    let epoch = found.unwrap_or(asked);
    Ok((epoch.get(), end.get()))
}

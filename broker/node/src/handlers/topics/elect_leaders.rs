//! ElectLeaders (key 43, KIP-460): one broker leads every partition, so no election is ever needed.

use sedge_core::security::Operation;
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::generated::elect_leaders_request::{
    ElectLeadersRequestData, TopicPartitions,
};
use sedge_protocol::kafka::generated::elect_leaders_response::{
    ElectLeadersResponseData, PartitionResult, ReplicaElectionResult,
};

use crate::handlers::{Refusal, Request, Topics};

/// `ElectionType`: of the preferred leader, or of a replica that may have lost records.
const ELECTION_TYPES: [i8; 2] = [0, 1];

pub async fn handle(
    request: &Request,
    message: ElectLeadersRequestData,
) -> ElectLeadersResponseData {
    let response = ElectLeadersResponseData::default();
    let topics = match request.cluster(Operation::Alter) {
        Ok(cluster) => cluster.topics(),
        Err(error) => {
            // Version 0 has error codes of partitions only.
            let wanted = message.topic_partitions.unwrap_or_default();
            let refused = wanted.into_iter().map(|topic| refuse(error, topic));
            return response
                .with_error_code(error.code())
                .with_replica_election_results(refused.collect());
        }
    };
    if !ELECTION_TYPES.contains(&message.election_type) {
        return response.with_error_code(ErrorCode::InvalidRequest.code());
    }
    // A request for all partitions is answered only with those whose leader changed.
    let wanted = message.topic_partitions.unwrap_or_default();
    let results = wanted.into_iter().map(|topic| elect(&topics, topic));
    response.with_replica_election_results(results.collect())
}

fn refuse(error: ErrorCode, wanted: TopicPartitions) -> ReplicaElectionResult {
    let partitions = wanted.partitions.into_iter().map(|index| {
        PartitionResult::default()
            .with_partition_id(index)
            .with_error_code(error.code())
    });
    ReplicaElectionResult::default()
        .with_partition_result(partitions.collect())
        .with_topic(wanted.topic)
}

fn elect(topics: &Topics, wanted: TopicPartitions) -> ReplicaElectionResult {
    let partitions = wanted.partitions.into_iter().map(|index| {
        let refusal = match crate::handlers::check_partition(topics, wanted.topic.as_str(), index) {
            Ok(()) => Refusal::new(
                ErrorCode::ElectionNotNeeded,
                "The preferred replica is already the leader.",
            ),
            Err(refusal) => refusal,
        };
        PartitionResult::default()
            .with_partition_id(index)
            .with_error_code(refusal.code.code())
            .with_error_message(Some(refusal.message.into()))
    });
    ReplicaElectionResult::default()
        .with_partition_result(partitions.collect())
        .with_topic(wanted.topic)
}

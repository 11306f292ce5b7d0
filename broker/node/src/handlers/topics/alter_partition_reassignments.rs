//! AlterPartitionReassignments (key 45, KIP-455): a reassignment to this broker is complete at
//! once, and there is no other broker.

use sedge_core::security::Operation;
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::generated::alter_partition_reassignments_request::{
    AlterPartitionReassignmentsRequestData, ReassignableTopic,
};
use sedge_protocol::kafka::generated::alter_partition_reassignments_response::{
    AlterPartitionReassignmentsResponseData, ReassignablePartitionResponse,
    ReassignableTopicResponse,
};

use crate::handlers::{Refusal, Request, Topics};

pub async fn handle(
    request: &Request,
    message: AlterPartitionReassignmentsRequestData,
) -> AlterPartitionReassignmentsResponseData {
    let response = AlterPartitionReassignmentsResponseData::default();
    let topics = match request.cluster(Operation::Alter) {
        Ok(cluster) => cluster.topics(),
        Err(error) => return response.with_error_code(error.code()),
    };
    let node = request.node_id();
    let responses = message
        .topics
        .into_iter()
        .map(|topic| reassign(&topics, node, topic));
    response
        .with_allow_replication_factor_change(message.allow_replication_factor_change)
        .with_responses(responses.collect())
}

fn reassign(topics: &Topics, node: i32, topic: ReassignableTopic) -> ReassignableTopicResponse {
    let partitions = topic.partitions.into_iter().map(|partition| {
        let index = partition.partition_index;
        let response = ReassignablePartitionResponse::default().with_partition_index(index);
        let outcome = crate::handlers::check_partition(topics, topic.name.as_str(), index)
            .and_then(|()| check(node, partition.replicas.as_deref()));
        match outcome {
            Ok(()) => response,
            Err(refusal) => response
                .with_error_code(refusal.code.code())
                .with_error_message(Some(refusal.message.into())),
        }
    });
    ReassignableTopicResponse::default()
        .with_partitions(partitions.collect())
        .with_name(topic.name)
}

/// `None` cancels a reassignment in progress, and there never is one.
fn check(node: i32, replicas: Option<&[i32]>) -> Result<(), Refusal> {
    match replicas {
        None => Err(Refusal::new(
            ErrorCode::NoReassignmentInProgress,
            "No partition reassignment is in progress.",
        )),
        Some([replica]) if *replica == node => Ok(()),
        Some(replicas) => Err(Refusal::new(
            ErrorCode::InvalidReplicaAssignment,
            format!("A partition can only have one replica, on broker {node}; not {replicas:?}."),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_can_only_be_reassigned_to_this_broker() {
        let code = |replicas| check(7, replicas).map_err(|refusal| refusal.code);
        assert_eq!(code(Some(&[7])), Ok(()));
        assert_eq!(code(None), Err(ErrorCode::NoReassignmentInProgress));
        for replicas in [&[][..], &[8], &[7, 7], &[7, 8]] {
            let refused = Err(ErrorCode::InvalidReplicaAssignment);
            assert_eq!(code(Some(replicas)), refused, "{replicas:?}");
        }
    }
}

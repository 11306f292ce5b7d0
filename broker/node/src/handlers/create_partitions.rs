//! CreatePartitions (key 37): a topic only grows.

use sedge_core::metadata::Command;
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::generated::create_partitions_request::{
    CreatePartitionsRequestData, CreatePartitionsTopic,
};
use sedge_protocol::kafka::generated::create_partitions_response::{
    CreatePartitionsResponseData, CreatePartitionsTopicResult,
};

use super::{Refusal, Request};

pub async fn handle(
    request: &Request,
    message: CreatePartitionsRequestData,
) -> CreatePartitionsResponseData {
    let mut results = Vec::with_capacity(message.topics.len());
    for topic in message.topics {
        let result = CreatePartitionsTopicResult::default().with_name(topic.name.clone());
        results.push(match grow(request, topic, message.validate_only).await {
            Ok(()) => result,
            Err(refusal) => result
                .with_error_code(refusal.code.code())
                .with_error_message(Some(refusal.message.into())),
        });
    }
    CreatePartitionsResponseData::default().with_results(results)
}

async fn grow(
    request: &Request,
    topic: CreatePartitionsTopic,
    validate_only: bool,
) -> Result<(), Refusal> {
    let node = request.broker.node_id.get();
    if let Some(assignments) = &topic.assignments
        && !assignments
            .iter()
            .all(|assignment| assignment.broker_ids == [node])
    {
        return Err(Refusal::new(
            ErrorCode::InvalidReplicaAssignment,
            format!("Replicas can only be assigned to broker {node}."),
        ));
    }
    let name = topic.name.to_string();
    super::command(
        request,
        Command::CreatePartitions {
            name,
            total: topic.count,
            validate_only,
        },
    )
    .await
    .map(|_| ())
}

//! CreatePartitions (key 37): raises a topic's number of partitions, which never shrinks.

use sedge_core::metadata::Command;
use sedge_core::security::{Operation, Resource};
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::create_partitions_request::{
    CreatePartitionsRequestData, CreatePartitionsTopic,
};
use sedge_protocol::kafka::generated::create_partitions_response::{
    CreatePartitionsResponseData, CreatePartitionsTopicResult,
};

use crate::handlers::{Refusal, Request, repeats};

/// The version whose clients know THROTTLING_QUOTA_EXCEEDED (KIP-599).
const FIRST_STRICT_VERSION: i16 = 3;

pub async fn handle(
    request: &Request,
    message: CreatePartitionsRequestData,
) -> CreatePartitionsResponseData {
    let name = |topic: &CreatePartitionsTopic| topic.name.to_string();
    let named = repeats::part(message.topics, name);
    let mut results = Vec::with_capacity(named.once.len() + named.repeated.len());
    for topic in repeats::first_mentions(named.repeated, name) {
        let refusal = Refusal::new(ErrorCode::InvalidRequest, "Duplicate topic in request.");
        results.push(result(topic.name, Err(refusal)));
    }
    for topic in named.once {
        let name = topic.name.clone();
        results.push(result(
            name,
            grow(request, topic, message.validate_only).await,
        ));
    }
    CreatePartitionsResponseData::default().with_results(results)
}

fn result(name: KafkaString, outcome: Result<(), Refusal>) -> CreatePartitionsTopicResult {
    let result = CreatePartitionsTopicResult::default().with_name(name);
    match outcome {
        Ok(()) => result,
        Err(refusal) => result
            .with_error_code(refusal.code.code())
            .with_error_message(Some(refusal.message.into())),
    }
}

async fn grow(
    request: &Request,
    topic: CreatePartitionsTopic,
    validate_only: bool,
) -> Result<(), Refusal> {
    request
        .check(Operation::Alter, Resource::Topic, topic.name.as_str())
        .map_err(|code| Refusal::new(code, "Authorization failed."))?;
    let node = request.node_id();
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
    if !validate_only && let Ok(present) = request.topics(Operation::Alter).named(&name) {
        let new = topic.count.saturating_sub(present.partition_count());
        request.charge_strict_mutation(new, FIRST_STRICT_VERSION)?;
    }
    let command = Command::CreatePartitions {
        name,
        total: topic.count,
        assigned: topic.assignments.map(|assignments| assignments.len()),
        validate_only,
    };
    request.command(command).await.map(|_| ())
}

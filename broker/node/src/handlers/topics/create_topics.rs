//! CreateTopics (key 19): creates topics with their configurations.

use std::sync::Arc;

use sedge_core::config::{FILTER_KEY, describe_topic, plan_new_topic};
use sedge_core::metadata::{Command, CommandReply, Topic};
use sedge_core::security::Operation;
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::create_topics_request::{
    CreatableTopic, CreateTopicsRequestData,
};
use sedge_protocol::kafka::generated::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult, CreateTopicsResponseData,
};

use crate::handlers::configs::check_filters;
use crate::handlers::{Refusal, Request, Topics, repeats};

const BROKER_DEFAULT: i32 = -1;

pub async fn handle(
    request: &Request,
    message: CreateTopicsRequestData,
) -> CreateTopicsResponseData {
    let name = |topic: &CreatableTopic| topic.name.to_string();
    let named = repeats::part(message.topics, name);
    let mut results = Vec::with_capacity(named.once.len() + named.repeated.len());
    for topic in repeats::first_mentions(named.repeated, name) {
        let refusal = Refusal::new(ErrorCode::InvalidRequest, "Duplicate topic name.");
        results.push(refused(topic.name, refusal));
    }
    for topic in named.once {
        let name = topic.name.clone();
        results.push(match create(request, topic, message.validate_only).await {
            Ok((topic, partitions)) => created(request, name, topic, partitions),
            Err(refusal) => refused(name, refusal),
        });
    }
    CreateTopicsResponseData::default().with_topics(results)
}

fn refused(name: KafkaString, refusal: Refusal) -> CreatableTopicResult {
    CreatableTopicResult::default()
        .with_name(name)
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_error_code(refusal.code.code())
        .with_error_message(Some(refusal.message.into()))
}

async fn create(
    request: &Request,
    topic: CreatableTopic,
    validate_only: bool,
) -> Result<(Option<Arc<Topic>>, i32), Refusal> {
    let topics = request.topics(Operation::Create);
    let partitions = partition_count(request, &topics, &topic)?;
    let configs = topic.configs.iter().map(|config| {
        (
            config.name.as_str(),
            config.value.as_ref().map(KafkaString::as_str),
        )
    });
    let configs = plan_new_topic(topics.defaults(), configs)?;
    if let Some(filters) = configs.get(FILTER_KEY) {
        check_filters(request, filters, &[]).await?;
    }
    let name = topic.name.to_string();
    let command = Command::CreateTopic {
        name: name.clone(),
        id: crate::process::random::random_uuid(),
        partitions,
        configs: configs.into_iter().collect(),
        validate_only,
    };
    let reply = request.command(command).await?;
    let CommandReply::Created { partitions } = reply else {
        return Err(Refusal::new(
            ErrorCode::UnknownServerError,
            "The controller returned no topic.",
        ));
    };
    let topics = request.topics(Operation::Create);
    let created = topics.named(&name).ok().map(|topic| Arc::clone(&topic));
    Ok((created, partitions))
}

fn partition_count(
    request: &Request,
    topics: &Topics,
    topic: &CreatableTopic,
) -> Result<i32, Refusal> {
    let node = request.node_id();
    if topic.assignments.is_empty() {
        if !matches!(topic.replication_factor, -1 | 1) {
            return Err(Refusal::new(
                ErrorCode::InvalidReplicationFactor,
                format!(
                    "Replication factor: {} larger than available brokers: 1.",
                    topic.replication_factor
                ),
            ));
        }
        return Ok(match topic.num_partitions {
            BROKER_DEFAULT => topics.defaults().num_partitions(),
            count => count,
        });
    }
    if topic.num_partitions != BROKER_DEFAULT || topic.replication_factor != -1 {
        return Err(Refusal::new(
            ErrorCode::InvalidRequest,
            "The number of partitions and the replication factor must be -1 if replicas are \
             assigned.",
        ));
    }
    let mut indices: Vec<i32> = topic
        .assignments
        .iter()
        .map(|assignment| assignment.partition_index)
        .collect();
    indices.sort_unstable();
    let is_dense = indices
        .iter()
        .enumerate()
        .all(|(at, index)| *index == at as i32);
    let is_here = topic
        .assignments
        .iter()
        .all(|assignment| assignment.broker_ids == [node]);
    if is_dense && is_here {
        Ok(indices.len() as i32)
    } else {
        Err(Refusal::new(
            ErrorCode::InvalidReplicaAssignment,
            format!(
                "Replicas can only be assigned to broker {node}, for partitions from 0 without a \
                 gap."
            ),
        ))
    }
}

fn created(
    request: &Request,
    name: KafkaString,
    topic: Option<Arc<Topic>>,
    partitions: i32,
) -> CreatableTopicResult {
    let result = CreatableTopicResult::default()
        .with_name(name)
        .with_num_partitions(partitions)
        .with_replication_factor(1);
    let Some(topic) = topic else {
        return result.with_configs(Some(Vec::new()));
    };
    let topics = request.topics(Operation::Create);
    let configs = describe_topic(&topic.overrides, topics.defaults())
        .into_iter()
        .map(|entry| {
            CreatableTopicConfigs::default()
                .with_name(KafkaString::from(entry.name))
                .with_value(entry.value.map(KafkaString::from))
                .with_read_only(entry.is_read_only)
                .with_config_source(entry.source.wire())
                .with_is_sensitive(entry.is_sensitive)
        })
        .collect();
    result.with_topic_id(topic.id).with_configs(Some(configs))
}

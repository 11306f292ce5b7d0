//! CreateTopics (key 19): creates topics with their configurations.

use std::collections::BTreeMap;

use sedge_core::config::{describe_topic, plan_new_topic};
use sedge_core::metadata::{Command, CommandReply};
use sedge_core::security::{Operation, Resource};
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::generated::create_topics_request::{
    CreatableTopic, CreateTopicsRequestData,
};
use sedge_protocol::kafka::generated::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult, CreateTopicsResponseData,
};
use sedge_protocol::kafka::{KafkaString, KafkaUuid};

use crate::handlers::configs::check_bindings;
use crate::handlers::{Refusal, Request, Topics, repeats};

const BROKER_DEFAULT: i32 = -1;

/// The version whose clients know THROTTLING_QUOTA_EXCEEDED (KIP-599).
const FIRST_STRICT_VERSION: i16 = 6;

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
            Ok(topic) => created(request, name, &topic),
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

/// A topic that was created, or only validated.
struct Created {
    /// [`KafkaUuid::ZERO`] if the topic was only validated.
    id: KafkaUuid,
    partitions: i32,
    /// The topic's own configurations.
    configs: BTreeMap<String, String>,
}

async fn create(
    request: &Request,
    topic: CreatableTopic,
    validate_only: bool,
) -> Result<Created, Refusal> {
    request
        .check(Operation::Create, Resource::Topic, topic.name.as_str())
        .map_err(|code| Refusal::new(code, "Authorization failed."))?;
    let topics = request.topics(Operation::Create);
    let partitions = partition_count(request, &topics, &topic)?;
    let configs = topic.configs.iter().map(|config| {
        (
            config.name.as_str(),
            config.value.as_ref().map(KafkaString::as_str),
        )
    });
    let configs = plan_new_topic(topics.defaults(), configs)?;
    let set = configs.iter().map(|(name, value)| (&**name, &**value));
    check_bindings(request, Operation::Create, set, &BTreeMap::new()).await?;
    // What the controller refuses anyway costs nothing.
    if !validate_only && topics.named(topic.name.as_str()).is_err() {
        request.charge_strict_mutation(partitions, FIRST_STRICT_VERSION)?;
    }
    let id = crate::process::random::random_uuid();
    let command = Command::CreateTopic {
        name: topic.name.to_string(),
        id,
        partitions,
        configs: configs.clone().into_iter().collect(),
        validate_only,
    };
    let reply = request.command(command).await?;
    let CommandReply::Created { partitions } = reply else {
        return Err(Refusal::new(
            ErrorCode::UnknownServerError,
            "The controller returned no topic.",
        ));
    };
    Ok(Created {
        id: if validate_only { KafkaUuid::ZERO } else { id },
        partitions,
        configs,
    })
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
                match topic.replication_factor {
                    ..=0 => "Replication factor must be larger than 0, or -1 to use the default \
                             value."
                        .to_owned(),
                    factor => format!(
                        "Unable to replicate the partition {factor} time(s): only 1 broker is \
                         registered. To have copies elsewhere, mirror the topic to another cluster \
                         (sedge mirror create)."
                    ),
                },
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

fn created(request: &Request, name: KafkaString, topic: &Created) -> CreatableTopicResult {
    let is_described = request.allows(Operation::DescribeConfigs, Resource::Topic, name.as_str());
    let result = CreatableTopicResult::default()
        .with_name(name)
        .with_topic_id(topic.id);
    // KIP-525: only clients that may describe its configuration learn the topic's details.
    if !is_described {
        return result
            .with_num_partitions(-1)
            .with_replication_factor(-1)
            .with_topic_config_error_code(ErrorCode::TopicAuthorizationFailed.code());
    }
    let topics = request.topics(Operation::Create);
    let configs = describe_topic(&topic.configs, topics.defaults())
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
    result
        .with_num_partitions(topic.partitions)
        .with_replication_factor(1)
        .with_configs(Some(configs))
}

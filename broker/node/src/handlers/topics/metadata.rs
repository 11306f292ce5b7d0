//! Metadata (key 3): returns brokers and topics; creates topics that are asked for by name if that
//! is allowed.

use sedge_core::security::{Operation, Resource};
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::generated::metadata_request::{
    MetadataRequestData, MetadataRequestTopic,
};
use sedge_protocol::kafka::generated::metadata_response::{
    MetadataResponseBroker, MetadataResponseData, MetadataResponsePartition, MetadataResponseTopic,
};
use sedge_protocol::kafka::{KafkaString, KafkaUuid};

use super::told;
use crate::handlers::request::{Request, Topic, Topics};

pub async fn handle(request: &Request, message: MetadataRequestData) -> MetadataResponseData {
    let topics = request.topics(Operation::Describe);
    // Version 0 has no null: an empty list means all topics.
    let wanted = match message.topics {
        Some(topics) if request.version() == 0 && topics.is_empty() => None,
        wanted => wanted,
    };
    let may_create = topics.defaults().auto_creates_topics()
        && (message.allow_auto_topic_creation || request.version() < 4);
    let mut described: Vec<_> = match wanted {
        None => {
            let describe = |topic| describe(request, &topics, topic);
            topics.all().map(describe).collect()
        }
        Some(wanted) => {
            let mut described = Vec::with_capacity(wanted.len());
            for topic in wanted {
                described.push(find(request, topic, may_create).await);
            }
            described
        }
    };
    for topic in &mut described {
        if topic.error_code == ErrorCode::None.code() {
            let asked = message.include_topic_authorized_operations;
            let name = topic.name.as_ref().map_or("", KafkaString::as_str);
            topic.topic_authorized_operations =
                request.authorized_operations(asked, Resource::Topic, name);
        }
    }
    let asked = message.include_cluster_authorized_operations;
    let (host, port) = request.advertised();
    MetadataResponseData::default()
        .with_brokers(vec![
            MetadataResponseBroker::default()
                .with_node_id(request.node_id())
                .with_host(host)
                .with_port(port),
        ])
        .with_cluster_id(Some(request.cluster_id()))
        .with_controller_id(request.node_id())
        .with_topics(described)
        .with_cluster_authorized_operations(request.cluster_operations(asked))
}

async fn find(
    request: &Request,
    wanted: MetadataRequestTopic,
    may_create: bool,
) -> MetadataResponseTopic {
    let topics = request.topics(Operation::Describe);
    let refused = MetadataResponseTopic::default();
    let Some(name) = wanted.name else {
        return match topics.by_id(wanted.topic_id) {
            Ok(topic) => describe(request, &topics, topic),
            Err(error) => refused
                .with_name(None)
                .with_topic_id(wanted.topic_id)
                .with_error_code(error.code()),
        };
    };
    let error = match topics.named(name.as_str()) {
        Ok(topic) => return describe(request, &topics, topic),
        Err(ErrorCode::UnknownTopicOrPartition) if may_create => {
            match request.auto_create(name.as_str()).await {
                Ok(()) => {
                    let topics = request.topics(Operation::Describe);
                    if let Ok(topic) = topics.named(name.as_str()) {
                        return describe(request, &topics, topic);
                    }
                    ErrorCode::LeaderNotAvailable
                }
                Err(error) => error,
            }
        }
        Err(error) => told(name.as_str(), error),
    };
    refused
        .with_name(Some(name))
        .with_topic_id(KafkaUuid::ZERO)
        .with_error_code(error.code())
}

fn describe(request: &Request, topics: &Topics, topic: Topic<'_>) -> MetadataResponseTopic {
    let node = request.node_id();
    let partitions = (0..topic.partition_count())
        .map(|index| {
            MetadataResponsePartition::default()
                .with_partition_index(index)
                .with_leader_id(node)
                .with_leader_epoch(topics.leader_epoch().get())
                .with_replica_nodes(vec![node])
                .with_isr_nodes(vec![node])
        })
        .collect();
    MetadataResponseTopic::default()
        .with_name(Some(KafkaString::from(topic.name.clone())))
        .with_topic_id(topic.id)
        .with_is_internal(topic.is_internal)
        .with_partitions(partitions)
}

//! Metadata (key 3): brokers and topics; creates topics that are asked for by name where that is
//! allowed.

use std::sync::Arc;

use sedge_core::metadata::{Image, Topic};
use sedge_core::security::{OPERATIONS_NOT_ASKED, Resource, authorized_operations};
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::generated::metadata_request::{
    MetadataRequestData, MetadataRequestTopic,
};
use sedge_protocol::kafka::generated::metadata_response::{
    MetadataResponseBroker, MetadataResponseData, MetadataResponsePartition, MetadataResponseTopic,
};
use sedge_protocol::kafka::{KafkaString, KafkaUuid};

use super::Request;

pub async fn handle(request: &Request, message: MetadataRequestData) -> MetadataResponseData {
    let broker = &request.broker;
    // Version 0 has no null: none named is all.
    let wanted = match message.topics {
        Some(topics) if request.version() == 0 && topics.is_empty() => None,
        wanted => wanted,
    };
    let may_create = broker.auto_creates_topics()
        && (message.allow_auto_topic_creation || request.version() < 4);
    let topic_operations = if message.include_topic_authorized_operations {
        authorized_operations(Resource::Topic)
    } else {
        OPERATIONS_NOT_ASKED
    };
    let mut topics: Vec<_> = match wanted {
        None => {
            let image = broker.log.metadata.load();
            image
                .topics()
                .map(|topic| describe(request, &image, topic))
                .collect()
        }
        Some(wanted) => {
            let mut topics = Vec::with_capacity(wanted.len());
            for topic in wanted {
                topics.push(find(request, topic, may_create).await);
            }
            topics
        }
    };
    for topic in &mut topics {
        if topic.error_code == ErrorCode::None.code() {
            topic.topic_authorized_operations = topic_operations;
        }
    }
    let cluster_operations = if message.include_cluster_authorized_operations {
        authorized_operations(Resource::Cluster)
    } else {
        OPERATIONS_NOT_ASKED
    };
    let (host, port) = request.advertised();
    MetadataResponseData::default()
        .with_brokers(vec![
            MetadataResponseBroker::default()
                .with_node_id(broker.node_id.get())
                .with_host(host)
                .with_port(port),
        ])
        .with_cluster_id(Some(KafkaString::from(broker.cluster_id.clone())))
        .with_controller_id(broker.node_id.get())
        .with_topics(topics)
        .with_cluster_authorized_operations(cluster_operations)
}

async fn find(
    request: &Request,
    wanted: MetadataRequestTopic,
    may_create: bool,
) -> MetadataResponseTopic {
    let image = request.broker.log.metadata.load();
    let refused = MetadataResponseTopic::default();
    let Some(name) = wanted.name else {
        return match image.topic_by_id(wanted.topic_id) {
            Some(topic) => describe(request, &image, topic),
            None => refused
                .with_name(None)
                .with_topic_id(wanted.topic_id)
                .with_error_code(ErrorCode::UnknownTopicId.code()),
        };
    };
    if let Some(topic) = image.topic(name.as_str()) {
        return describe(request, &image, topic);
    }
    let error = if may_create {
        match request.broker.auto_create(name.as_str()).await {
            Ok(()) => {
                let image = request.broker.log.metadata.load();
                if let Some(topic) = image.topic(name.as_str()) {
                    return describe(request, &image, topic);
                }
                ErrorCode::LeaderNotAvailable
            }
            Err(error) => error.code,
        }
    } else {
        ErrorCode::UnknownTopicOrPartition
    };
    refused
        .with_name(Some(name))
        .with_topic_id(KafkaUuid::ZERO)
        .with_error_code(error.code())
}

fn describe(request: &Request, image: &Image, topic: &Arc<Topic>) -> MetadataResponseTopic {
    let node = request.broker.node_id.get();
    let partitions = (0..topic.partition_count())
        .map(|index| {
            MetadataResponsePartition::default()
                .with_partition_index(index)
                .with_leader_id(node)
                .with_leader_epoch(image.leader_epoch().get())
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

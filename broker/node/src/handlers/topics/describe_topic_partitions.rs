//! DescribeTopicPartitions (key 75, KIP-966): describes topics in pages.

use sedge_core::metadata::Topic;
use sedge_core::security::{Operation, Resource};
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::describe_topic_partitions_request::DescribeTopicPartitionsRequestData;
use sedge_protocol::kafka::generated::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponseData, DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic,
};

use super::told;
use crate::handlers::Request;
use crate::limits::DESCRIBE_PARTITIONS_MAX;

pub async fn handle(
    request: &Request,
    message: DescribeTopicPartitionsRequestData,
) -> DescribeTopicPartitionsResponseData {
    let topics = request.topics(Operation::Describe);
    let mut names: Vec<String> = if message.topics.is_empty() {
        topics.all().map(|topic| topic.name.clone()).collect()
    } else {
        message
            .topics
            .iter()
            .map(|topic| topic.name.to_string())
            .collect()
    };
    names.sort_unstable();
    names.dedup();
    let (from_name, from_index) = message.cursor.map_or((String::new(), 0), |cursor| {
        (cursor.topic_name.to_string(), cursor.partition_index)
    });
    let mut left = message
        .response_partition_limit
        .clamp(1, DESCRIBE_PARTITIONS_MAX);
    let mut response = DescribeTopicPartitionsResponseData::default();
    for name in names.into_iter().filter(|name| *name >= from_name) {
        let first = if name == from_name {
            from_index.max(0)
        } else {
            0
        };
        if left == 0 {
            response.next_cursor = Some(Box::new(cursor(name, first)));
            break;
        }
        let topic = match topics.named(&name) {
            Ok(topic) => topic,
            Err(error) => {
                let error = told(&name, error);
                response.topics.push(refused(name, error));
                continue;
            }
        };
        let last = topic.partition_count().min(first.saturating_add(left));
        left -= (last - first).max(0);
        let epoch = topics.leader_epoch().get();
        let described = describe(request.node_id(), epoch, &topic, first, last);
        // Always included, as in Kafka: the request has no field for them.
        let operations = request.authorized_operations(true, Resource::Topic, &topic.name);
        let described = described.with_topic_authorized_operations(operations);
        response.topics.push(described);
        if last < topic.partition_count() {
            response.next_cursor = Some(Box::new(cursor(name, last)));
            break;
        }
    }
    response
}

fn cursor(name: String, index: i32) -> Cursor {
    Cursor::default()
        .with_topic_name(KafkaString::from(name))
        .with_partition_index(index)
}

fn refused(name: String, error: ErrorCode) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(KafkaString::from(name)))
        .with_error_code(error.code())
}

fn describe(
    node: i32,
    epoch: i32,
    topic: &Topic,
    first: i32,
    last: i32,
) -> DescribeTopicPartitionsResponseTopic {
    let partitions = (first..last)
        .map(|index| {
            DescribeTopicPartitionsResponsePartition::default()
                .with_partition_index(index)
                .with_leader_id(node)
                .with_leader_epoch(epoch)
                .with_replica_nodes(vec![node])
                .with_isr_nodes(vec![node])
                .with_eligible_leader_replicas(Some(Vec::new()))
                .with_last_known_elr(Some(Vec::new()))
        })
        .collect();
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(KafkaString::from(topic.name.clone())))
        .with_topic_id(topic.id)
        .with_is_internal(topic.is_internal)
        .with_partitions(partitions)
}

//! DescribeProducers (key 61): lists the idempotent producers of partitions, with their open
//! transactions (KIP-664).

use sedge_core::metadata::names;
use sedge_core::security::Operation;
use sedge_protocol::ErrorCode;
use sedge_protocol::ids::Offset;
use sedge_protocol::kafka::generated::describe_producers_request::{
    DescribeProducersRequestData, TopicRequest,
};
use sedge_protocol::kafka::generated::describe_producers_response::{
    DescribeProducersResponseData, PartitionResponse, ProducerState, TopicResponse,
};

use crate::handlers::{Request, Topics};
use crate::log::views::each_producer;

pub async fn handle(
    request: &Request,
    message: DescribeProducersRequestData,
) -> DescribeProducersResponseData {
    let topics = request.topics(Operation::Read);
    let describe = move |topics: &Topics| {
        let described = message
            .topics
            .into_iter()
            .map(|topic| of_topic(topics, topic));
        described.collect()
    };
    let described = topics.off_executor(describe).await;
    DescribeProducersResponseData::default().with_topics(described)
}

fn of_topic(topics: &Topics, topic: TopicRequest) -> TopicResponse {
    let partitions = topic.partition_indexes.iter().map(|index| {
        let response = PartitionResponse::default().with_partition_index(*index);
        match of_partition(topics, topic.name.as_str(), *index) {
            Ok(producers) => response.with_active_producers(producers),
            Err(error) => response.with_error_code(error.code()),
        }
    });
    let partitions = partitions.collect();
    TopicResponse::default()
        .with_name(topic.name)
        .with_partitions(partitions)
}

fn of_partition(topics: &Topics, name: &str, index: i32) -> Result<Vec<ProducerState>, ErrorCode> {
    let topic = topics.named(name).map_err(|error| match error {
        ErrorCode::UnknownTopicOrPartition if names::check(name).is_err() => {
            ErrorCode::InvalidTopicException
        }
        error => error,
    });
    let id = topic?.partition_id(index)?;
    let mut producers = Vec::new();
    let read = each_producer(topics.store(), id, |producer, entry| {
        let last = entry.last_batch();
        producers.push(
            ProducerState::default()
                .with_producer_id(producer.get())
                .with_producer_epoch(entry.epoch().get().into())
                .with_last_sequence(last.map_or(-1, |batch| batch.last))
                .with_last_timestamp(last.map_or(-1, |batch| batch.timestamp_ms))
                .with_coordinator_epoch(entry.coordinator_epoch())
                .with_current_txn_start_offset(entry.open_since().map_or(-1, Offset::get)),
        );
    });
    read.map_err(|_| ErrorCode::KafkaStorageError)?;
    Ok(producers)
}

//! OffsetDelete (key 47): an administrator takes a group's offsets of topics away that it does not
//! consume.

use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::generated::offset_delete_request::OffsetDeleteRequestData;
use sedge_protocol::kafka::generated::offset_delete_response::{
    OffsetDeleteResponseData, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};

use super::Request;

pub async fn handle(
    request: &Request,
    message: OffsetDeleteRequestData,
) -> OffsetDeleteResponseData {
    let response = OffsetDeleteResponseData::default();
    let topics: Vec<(String, Vec<i32>)> = message
        .topics
        .iter()
        .map(|topic| {
            let partitions = topic
                .partitions
                .iter()
                .map(|partition| partition.partition_index);
            (topic.name.to_string(), partitions.collect())
        })
        .collect();
    let now = request.broker.log.clock.now();
    let group_id = message.group_id.as_str();
    let (reply, written) = request
        .broker
        .groups
        .plan(|machine| machine.handle_offset_delete(now, group_id, &topics));
    let results = match super::written(written).await.and(reply) {
        Ok(results) => results,
        Err(error) => return response.with_error_code(error.code()),
    };
    let image = request.broker.log.metadata.load();
    let topics = topics
        .into_iter()
        .zip(results)
        .map(|((name, partitions), results)| {
            let topic = image.topic(&name);
            let partitions = partitions.into_iter().zip(results).map(|(index, result)| {
                let known = topic.and_then(|topic| topic.partition(index));
                let unknown = Err(ErrorCode::UnknownTopicOrPartition);
                let known = if known.is_some() { result } else { unknown };
                OffsetDeleteResponsePartition::default()
                    .with_partition_index(index)
                    .with_error_code(super::code_of(known))
            });
            OffsetDeleteResponseTopic::default()
                .with_name(name.into())
                .with_partitions(partitions.collect())
        });
    response.with_topics(topics.collect())
}

//! OffsetDelete (key 47): deletes a group's offsets in topics that it does not consume, for an
//! administrator.

use sedge_core::security::Operation;
use sedge_protocol::kafka::generated::offset_delete_request::OffsetDeleteRequestData;
use sedge_protocol::kafka::generated::offset_delete_response::{
    OffsetDeleteResponseData, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};

use crate::handlers::Request;

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
    let now = request.now();
    let group_id = message.group_id.as_str();
    let (reply, written) = match request.group(Operation::Delete, group_id) {
        Ok(group) => group.plan(|machine| machine.handle_offset_delete(now, group_id, &topics)),
        Err(error) => return response.with_error_code(error.code()),
    };
    let results = match written.wait().await.and(reply) {
        Ok(results) => results,
        Err(error) => return response.with_error_code(error.code()),
    };
    let known = request.topics(Operation::Read);
    let topics = topics
        .into_iter()
        .zip(results)
        .map(|((name, partitions), results)| {
            let topic = known.named(&name);
            let partitions = partitions.into_iter().zip(results).map(|(index, result)| {
                let found = topic.and_then(|topic| topic.partition_id(index));
                OffsetDeleteResponsePartition::default()
                    .with_partition_index(index)
                    .with_error_code(crate::handlers::code_of(found.and(result)))
            });
            OffsetDeleteResponseTopic::default()
                .with_name(name.into())
                .with_partitions(partitions.collect())
        });
    response.with_topics(topics.collect())
}

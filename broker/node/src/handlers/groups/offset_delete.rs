//! OffsetDelete (key 47): deletes a group's offsets in topics that it does not consume, for an
//! administrator.

use sedge_core::security::Operation;
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::generated::offset_delete_request::{
    OffsetDeleteRequestData, OffsetDeleteRequestTopic,
};
use sedge_protocol::kafka::generated::offset_delete_response::{
    OffsetDeleteResponseData, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};

use crate::handlers::{Request, Topics};

pub async fn handle(
    request: &Request,
    message: OffsetDeleteRequestData,
) -> OffsetDeleteResponseData {
    let response = OffsetDeleteResponseData::default();
    let now = request.now();
    let group_id = message.group_id.as_str();
    let group = match request.group(Operation::Delete, group_id) {
        Ok(group) => group,
        Err(error) => return response.with_error_code(error.code()),
    };
    if group_id.is_empty() {
        return response.with_error_code(ErrorCode::InvalidGroupId.code());
    }
    // Unknown partitions, and those that the client may not read, are not changed.
    let known = request.topics(Operation::Read);
    let checked: Vec<Vec<Checked>> = message
        .topics
        .iter()
        .map(|topic| check(&known, topic))
        .collect();
    let wanted: Vec<(String, Vec<i32>)> = message
        .topics
        .iter()
        .zip(&checked)
        .map(|(topic, checked)| {
            let found = checked.iter().filter(|(_, found)| found.is_ok());
            let found = found.map(|(index, _)| *index);
            (topic.name.to_string(), found.collect())
        })
        .collect();
    let (reply, written) = group.plan(|m| m.handle_offset_delete(now, group_id, &wanted));
    let results = match written.wait().await.and(reply) {
        Ok(results) => results,
        Err(error) => return response.with_error_code(error.code()),
    };
    let topics = message.topics.into_iter().zip(checked).zip(results);
    let topics = topics.map(|((topic, checked), results)| {
        let mut results = results.into_iter();
        let partitions = checked.into_iter().map(|(index, found)| {
            let result = found.and_then(|()| results.next().unwrap_or(Ok(())));
            OffsetDeleteResponsePartition::default()
                .with_partition_index(index)
                .with_error_code(crate::handlers::code_of(result))
        });
        OffsetDeleteResponseTopic::default()
            .with_name(topic.name)
            .with_partitions(partitions.collect())
    });
    response.with_topics(topics.collect())
}

/// A partition, and whether the client may delete its offset.
type Checked = (i32, Result<(), ErrorCode>);

fn check(known: &Topics, topic: &OffsetDeleteRequestTopic) -> Vec<Checked> {
    let found = known.named(topic.name.as_str());
    let partitions = topic.partitions.iter().map(|partition| {
        let index = partition.partition_index;
        let checked = found.and_then(|topic| topic.partition_id(index));
        (index, checked.map(|_| ()))
    });
    partitions.collect()
}

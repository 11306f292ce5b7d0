//! DeleteRecords (key 21): moves log starts.

use sedge_core::security::Operation;
use sedge_protocol::ErrorCode;
use sedge_protocol::ids::Offset;
use sedge_protocol::kafka::generated::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsRequestData,
};
use sedge_protocol::kafka::generated::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsResponseData, DeleteRecordsTopicResult,
};

use crate::handlers::Request;

/// The wire's value for all existing records.
const HIGH_WATERMARK: i64 = -1;

pub async fn handle(
    request: &Request,
    message: DeleteRecordsRequestData,
) -> DeleteRecordsResponseData {
    let mut topics = Vec::with_capacity(message.topics.len());
    for topic in message.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in &topic.partitions {
            let result = DeleteRecordsPartitionResult::default()
                .with_partition_index(wanted.partition_index);
            partitions.push(match delete(request, topic.name.as_str(), wanted).await {
                Ok(log_start) => result.with_low_watermark(log_start.get()),
                Err(error) => result.with_low_watermark(-1).with_error_code(error.code()),
            });
        }
        topics.push(
            DeleteRecordsTopicResult::default()
                .with_name(topic.name)
                .with_partitions(partitions),
        );
    }
    DeleteRecordsResponseData::default().with_topics(topics)
}

async fn delete(
    request: &Request,
    topic: &str,
    wanted: &DeleteRecordsPartition,
) -> Result<Offset, ErrorCode> {
    let topics = request.topics(Operation::Delete);
    let found = topics.named(topic)?;
    let before = match wanted.offset {
        HIGH_WATERMARK => None,
        offset => Some(Offset::from_wire(offset).ok_or(ErrorCode::OffsetOutOfRange)?),
    };
    if found.is_internal {
        // As in Kafka.
        return Err(ErrorCode::InvalidTopicException);
    }
    if !found.config.is_deleted_by_retention() {
        // As in Kafka, only topics whose cleanup.policy has delete.
        return Err(ErrorCode::PolicyViolation);
    }
    found.delete_records(wanted.partition_index, before).await
}

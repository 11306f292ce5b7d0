//! ListOffsets (key 2): the special timestamps, and the first record at or after a time.

use std::sync::Arc;

use sedge_core::metadata::Image;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{LeaderEpoch, Offset};
use sedge_protocol::kafka::generated::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequestData,
};
use sedge_protocol::kafka::generated::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsResponseData, ListOffsetsTopicResponse,
};
use sedge_protocol::limits::DECOMPRESSED_BYTES_MAX;
use sedge_protocol::records::{self, Records};
use sedge_protocol::{Bytes, ErrorCode};
use sedge_storage::LogStore;

use super::Request;
use crate::partitions::Partition;

const READ_COMMITTED: i8 = 1;
const FIRST_VERSION_WITH_EPOCHS: i16 = 4;

/// The wire's special timestamps.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
/// KIP-734.
const MAX_TIMESTAMP: i64 = -3;
/// KIP-405: where there is no remote storage, what is local is all.
const EARLIEST_LOCAL: i64 = -4;
/// KIP-1005, KIP-1023: nothing is tiered here, so there is no such offset.
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

pub async fn handle(request: &Request, message: ListOffsetsRequestData) -> ListOffsetsResponseData {
    let image = request.broker.metadata.load();
    let is_read_committed = message.isolation_level == READ_COMMITTED;
    let has_epochs = request.version() >= FIRST_VERSION_WITH_EPOCHS;
    let epoch = has_epochs.then_some(image.leader_epoch());
    let mut topics = Vec::with_capacity(message.topics.len());
    for topic in message.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in &topic.partitions {
            let found = find(request, &image, topic.name.as_str(), wanted);
            let answer = match found {
                Ok(partition) => {
                    lookup(request, partition, wanted.timestamp, is_read_committed).await
                }
                Err(error) => Err(error),
            };
            partitions.push(respond(wanted, answer, epoch));
        }
        topics.push(
            ListOffsetsTopicResponse::default()
                .with_name(topic.name)
                .with_partitions(partitions),
        );
    }
    ListOffsetsResponseData::default().with_topics(topics)
}

/// Offset and timestamp of what was found.
type Found = Option<(Offset, i64)>;

fn find(
    request: &Request,
    image: &Image,
    topic: &str,
    wanted: &ListOffsetsPartition,
) -> Result<Arc<Partition>, ErrorCode> {
    super::check_leader_epoch(image, LeaderEpoch::from_wire(wanted.current_leader_epoch))?;
    super::partition(request, image, topic, wanted.partition_index)
}

async fn lookup(
    request: &Request,
    partition: Arc<Partition>,
    timestamp: i64,
    is_read_committed: bool,
) -> Result<Found, ErrorCode> {
    let end = if is_read_committed {
        partition.last_stable_offset()
    } else {
        partition.high_watermark()
    };
    let store = Arc::clone(&request.broker.store);
    match timestamp {
        LATEST => Ok(Some((end, -1))),
        EARLIEST | EARLIEST_LOCAL => Ok(Some((partition.log_start(), -1))),
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => Ok(None),
        MAX_TIMESTAMP => blocking::unblock(move || newest(&*store, &partition, end)).await,
        time if time >= 0 => {
            blocking::unblock(move || first_at(&*store, &partition, time, end)).await
        }
        _ => Err(ErrorCode::InvalidRequest),
    }
}

fn first_at(
    store: &dyn LogStore,
    partition: &Partition,
    time: i64,
    end: Offset,
) -> Result<Found, ErrorCode> {
    let from = partition.log_start();
    let found = store
        .first_batch_at(partition.id, time, end)
        .map_err(|error| storage_error(&error))?;
    let Some(bytes) = found else {
        return Ok(None);
    };
    first_record(bytes, |offset, timestamp| {
        offset >= from && timestamp >= time
    })
}

fn newest(store: &dyn LogStore, partition: &Partition, end: Offset) -> Result<Found, ErrorCode> {
    let found = store
        .max_timestamp_batch(partition.id, end)
        .map_err(|error| storage_error(&error))?;
    let Some(bytes) = found else {
        return Ok(None);
    };
    let largest = sedge_protocol::batch::BatchHeader::read(&bytes)
        .map_or(i64::MAX, |header| header.max_timestamp());
    first_record(bytes, |_, timestamp| timestamp >= largest)
}

/// The first record of a batch that `matches`.
fn first_record(
    mut bytes: Bytes,
    matches: impl Fn(Offset, i64) -> bool,
) -> Result<Found, ErrorCode> {
    let batch = Batch::split_from(&mut bytes).ok_or(ErrorCode::CorruptMessage)?;
    let header = &batch.header;
    if header.is_log_append_time() {
        // KIP-32: all its records were appended at once.
        return Ok(Some((header.base_offset(), header.max_timestamp())));
    }
    let body = records::decompress(header, &batch.body, DECOMPRESSED_BYTES_MAX)
        .map_err(|_| ErrorCode::CorruptMessage)?;
    for record in Records::new(header, &body) {
        let record = record.map_err(|_| ErrorCode::CorruptMessage)?;
        let offset = header.base_offset().plus(i64::from(record.offset_delta));
        let timestamp = header
            .base_timestamp()
            .saturating_add(record.timestamp_delta);
        if matches(offset, timestamp) {
            return Ok(Some((offset, timestamp)));
        }
    }
    Ok(None)
}

fn storage_error(error: &sedge_storage::Error) -> ErrorCode {
    log::error!(target: "sedge::list_offsets", "{error}");
    ErrorCode::KafkaStorageError
}

fn respond(
    wanted: &ListOffsetsPartition,
    answer: Result<Found, ErrorCode>,
    epoch: Option<LeaderEpoch>,
) -> ListOffsetsPartitionResponse {
    let response = ListOffsetsPartitionResponse::default()
        .with_partition_index(wanted.partition_index)
        .with_timestamp(-1)
        .with_offset(-1)
        .with_leader_epoch(-1);
    match answer {
        Ok(Some((offset, timestamp))) => response
            .with_offset(offset.get())
            .with_timestamp(timestamp)
            .with_leader_epoch(epoch.map_or(-1, LeaderEpoch::get)),
        Ok(None) => response,
        Err(error) => response.with_error_code(error.code()),
    }
}

//! ListOffsets (key 2): finds the special timestamps, and the first record at or after a time.

use std::ops::ControlFlow;
use std::sync::Arc;

use sedge_core::security::Operation;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{LeaderEpoch, Offset, PartitionId};
use sedge_protocol::kafka::generated::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequestData, ListOffsetsTopic,
};
use sedge_protocol::kafka::generated::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsResponseData, ListOffsetsTopicResponse,
};
use sedge_protocol::records::{self, Opener, opened_bytes_max};
use sedge_protocol::{Bytes, ErrorCode};
use sedge_storage::LogStore;

use crate::fetching::read::Isolation;
use crate::handlers::{Request, Topics, repeats};
use crate::limits::TIME_LOOKUP_BATCHES_MAX;
use crate::log::partitions::Partition;

const FIRST_VERSION_WITH_EPOCHS: i16 = 4;

/// The wire's special timestamps.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
/// KIP-734.
const MAX_TIMESTAMP: i64 = -3;
/// KIP-405: without remote storage, the local log is all there is.
const EARLIEST_LOCAL: i64 = -4;
/// KIP-1005, KIP-1023: without tiered storage, there is no such offset.
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

pub async fn handle(request: &Request, message: ListOffsetsRequestData) -> ListOffsetsResponseData {
    let topics = request.topics(Operation::Describe);
    let isolation = Isolation::from_wire(message.isolation_level);
    let has_epochs = request.version() >= FIRST_VERSION_WITH_EPOCHS;
    let epoch = has_epochs.then_some(topics.leader_epoch());
    let of_topic = |topic: &ListOffsetsTopic, wanted: &ListOffsetsPartition| {
        (topic.name.clone(), wanted.partition_index)
    };
    let all = message.topics.iter().flat_map(|topic| {
        let partitions = topic.partitions.iter();
        partitions.map(move |wanted| of_topic(topic, wanted))
    });
    let named_twice = repeats::repeated(all);
    let mut answers = Vec::with_capacity(message.topics.len());
    for topic in message.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in &topic.partitions {
            let found = if named_twice.contains(&of_topic(&topic, wanted)) {
                Err(ErrorCode::InvalidRequest)
            } else {
                check_time(wanted.timestamp, request.version())
                    .and_then(|()| find(&topics, topic.name.as_str(), wanted))
            };
            let answer = match found {
                Ok(partition) => lookup(&topics, partition, wanted.timestamp, isolation).await,
                Err(error) => Err(error),
            };
            partitions.push(respond(wanted, answer, epoch));
        }
        answers.push(
            ListOffsetsTopicResponse::default()
                .with_name(topic.name)
                .with_partitions(partitions),
        );
    }
    ListOffsetsResponseData::default().with_topics(answers)
}

/// Offset and timestamp of the record that was found.
type Found = Option<(Offset, i64)>;

/// Checks that the version of the request has the timestamp. As in Kafka, this comes before the
/// checks of topic and epoch.
const fn check_time(timestamp: i64, version: i16) -> Result<(), ErrorCode> {
    let first_version = match timestamp {
        LATEST | EARLIEST | 0.. => 0,
        MAX_TIMESTAMP => 7,
        EARLIEST_LOCAL => 8,
        LATEST_TIERED => 9,
        EARLIEST_PENDING_UPLOAD => 11,
        _ => return Err(ErrorCode::UnsupportedVersion),
    };
    if version < first_version {
        return Err(ErrorCode::UnsupportedVersion);
    }
    Ok(())
}

fn find(
    topics: &Topics,
    topic: &str,
    wanted: &ListOffsetsPartition,
) -> Result<Arc<Partition>, ErrorCode> {
    let known = LeaderEpoch::from_wire(wanted.current_leader_epoch);
    topics
        .named(topic)?
        .published(wanted.partition_index, known)
}

async fn lookup(
    topics: &Topics,
    partition: Arc<Partition>,
    timestamp: i64,
    isolation: Isolation,
) -> Result<Found, ErrorCode> {
    let end = isolation.end_of(&partition);
    let span = Span {
        id: partition.id,
        from: partition.log_start(),
        until: end,
    };
    match timestamp {
        LATEST => Ok(Some((end, -1))),
        EARLIEST | EARLIEST_LOCAL => Ok(Some((span.from, -1))),
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => Ok(None),
        MAX_TIMESTAMP => {
            let work = move |topics: &Topics| newest(topics.store(), span);
            topics.off_executor(work).await
        }
        time => {
            let work = move |topics: &Topics| first_at(topics.store(), span, time);
            topics.off_executor(work).await
        }
    }
}

/// The offsets of a partition that an answer may name. The first batch may begin below them,
/// because DeleteRecords may cut a batch.
#[derive(Clone, Copy)]
struct Span {
    id: PartitionId,
    from: Offset,
    until: Offset,
}

fn first_at(store: &dyn LogStore, mut span: Span, time: i64) -> Result<Found, ErrorCode> {
    for _ in 0..TIME_LOOKUP_BATCHES_MAX {
        let found = store
            .first_batch_at(span.id, time, span.from, span.until)
            .map_err(|error| storage_error(&error))?;
        let Some(bytes) = found else {
            return Ok(None);
        };
        let batch = whole(bytes)?;
        let mut first = None;
        each_record(&batch, span.from, |offset, timestamp| {
            if timestamp >= time {
                first = Some((offset, timestamp));
            }
            first.is_none()
        });
        if first.is_some() {
            return Ok(first);
        }
        // The record with the header's largest timestamp may be below the log start.
        span.from = batch.header.next_offset();
    }
    // No record from this offset on is skipped, so a consumer that begins there misses none.
    Ok(Some((span.from, time)))
}

fn newest(store: &dyn LogStore, span: Span) -> Result<Found, ErrorCode> {
    let found = store
        .max_timestamp_batch(span.id, span.from, span.until)
        .map_err(|error| storage_error(&error))?;
    let Some(bytes) = found else {
        return Ok(None);
    };
    let batch = whole(bytes)?;
    let mut newest: Found = None;
    each_record(&batch, span.from, |offset, timestamp| {
        if newest.is_none_or(|(_, largest)| timestamp > largest) {
            newest = Some((offset, timestamp));
        }
        true
    });
    let is_cut = batch.header.base_offset() < span.from;
    if !is_cut || newest.is_some_and(|(_, largest)| largest >= batch.header.max_timestamp()) {
        return Ok(newest);
    }
    // The record with the header's largest timestamp is below the log start: other batches may have
    // newer records than the rest of this one.
    let behind = Span {
        from: batch.header.next_offset(),
        ..span
    };
    let other = self::newest(store, behind)?;
    Ok(match (newest, other) {
        (Some((_, largest)), Some((_, more))) if more > largest => other,
        (None, _) => other,
        _ => newest,
    })
}

fn whole(mut bytes: Bytes) -> Result<Batch, ErrorCode> {
    Batch::split_from(&mut bytes).ok_or(ErrorCode::CorruptMessage)
}

/// Calls `visit` with offset and timestamp of each record of a batch from `from` on, until it
/// returns false.
///
/// If records cannot be read, the header is used instead: one batch must not make a partition's
/// lookups fail, and a consumer that begins at its first record misses none.
fn each_record(batch: &Batch, from: Offset, mut visit: impl FnMut(Offset, i64) -> bool) {
    let header = &batch.header;
    let first = header.base_offset().max(from);
    if header.is_log_append_time() {
        // KIP-32: all records of the batch were appended at once.
        visit(first, header.max_timestamp());
        return;
    }
    let bytes_max = opened_bytes_max(batch.body.len());
    let mut opener = Opener::new();
    let read = records::each_record(header, &batch.body, &mut opener, bytes_max, |record| {
        let offset = header.base_offset().plus(i64::from(record.offset_delta));
        let timestamp = header
            .base_timestamp()
            .saturating_add(record.timestamp_delta);
        if offset >= from && !visit(offset, timestamp) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    if read.is_err() {
        visit(first, header.max_timestamp());
    }
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

#[cfg(test)]
mod tests {
    use sedge_protocol::batch::BatchHeader;
    use sedge_protocol::records::{BatchBuilder, Compression};
    use sedge_storage::{Commit, Entry, MemoryStore};

    use super::*;

    const P: PartitionId = PartitionId(5);

    /// Builds consecutive batches of records with these timestamps; `forge` changes their headers.
    fn store(batches: &[&[i64]], forge: impl Fn(&mut Batch)) -> MemoryStore {
        let store = MemoryStore::default();
        let mut next = Offset(0);
        for times in batches {
            let mut builder = BatchBuilder::new(Compression::Gzip);
            for time in *times {
                builder.push(*time, None, Some(b"value"), &[]);
            }
            let mut batch = builder.build().unwrap();
            forge(&mut batch);
            batch.header.set_base_offset(next);
            next = batch.header.next_offset();
            let commit = Commit {
                entries: vec![Entry::Append {
                    partition: P,
                    batches: vec![batch],
                }],
                ..Commit::default()
            };
            store.append(commit).unwrap();
        }
        store
    }

    fn span(from: i64) -> Span {
        Span {
            id: P,
            from: Offset(from),
            until: Offset(100),
        }
    }

    fn at(store: &MemoryStore, from: i64, time: i64) -> Option<(i64, i64)> {
        let found = first_at(store, span(from), time).unwrap();
        found.map(|(offset, time)| (offset.get(), time))
    }

    fn newest_from(store: &MemoryStore, from: i64) -> Option<(i64, i64)> {
        let found = newest(store, span(from)).unwrap();
        found.map(|(offset, time)| (offset.get(), time))
    }

    #[test]
    fn an_offset_below_the_log_start_is_never_answered() {
        let store = store(&[&[10, 50, 20], &[30, 40]], |_| ());
        assert_eq!(at(&store, 0, 15), Some((1, 50)));
        assert_eq!(at(&store, 2, 15), Some((2, 20)));
        // The first batch's header refers to a record that was deleted.
        assert_eq!(at(&store, 2, 25), Some((3, 30)));
        assert_eq!(at(&store, 2, 45), None);
        assert_eq!(newest_from(&store, 0), Some((1, 50)));
        assert_eq!(newest_from(&store, 2), Some((4, 40)));
        assert_eq!(newest_from(&store, 5), None);
    }

    #[test]
    fn a_log_append_time_batch_is_cut_by_the_log_start_too() {
        let store = store(&[&[1, 1, 1], &[1]], |batch| {
            let body = batch.body.clone();
            batch.header.set_log_append_time(700, &body);
        });
        assert_eq!(at(&store, 0, 600), Some((0, 700)));
        assert_eq!(at(&store, 2, 600), Some((2, 700)));
        assert_eq!(newest_from(&store, 2), Some((2, 700)));
        assert_eq!(at(&store, 2, 701), None);
    }

    #[test]
    fn the_newest_record_is_found_under_a_header_that_says_too_much() {
        let store = store(&[&[10, 50, 20]], |batch| {
            batch.header = forged(&batch.header, 35, &900_i64.to_be_bytes());
        });
        assert_eq!(newest_from(&store, 0), Some((1, 50)));
        assert_eq!(at(&store, 0, 40), Some((1, 50)));
        assert_eq!(at(&store, 0, 60), None);
    }

    #[test]
    fn one_unreadable_batch_does_not_fail_the_lookups_of_its_partition() {
        let store = store(&[&[10, 50], &[30, 40]], |batch| {
            if batch.header.base_timestamp() == 10 {
                let mut body = batch.body.to_vec();
                body[0] ^= 1;
                batch.body = body.into();
            }
        });
        assert_eq!(at(&store, 0, 5), Some((0, 50)));
        assert_eq!(at(&store, 2, 35), Some((3, 40)));
        assert_eq!(newest_from(&store, 0), Some((0, 50)));
    }

    fn forged(header: &BatchHeader, at: usize, field: &[u8]) -> BatchHeader {
        let mut bytes = *header.as_bytes();
        bytes[at..at + field.len()].copy_from_slice(field);
        BatchHeader::read(&bytes).unwrap()
    }
}

//! Tests records: producing, fetching, finding by time and epoch, and deleting.

use futures_lite::future::block_on;
use sedge_core::metadata::Command;
use sedge_protocol::batch::{Batch, BatchHeader, HEADER_BYTES};
use sedge_protocol::kafka::KafkaUuid;
use sedge_protocol::kafka::generated::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsRequestData, DeleteRecordsTopic,
};
use sedge_protocol::kafka::generated::delete_records_response::DeleteRecordsResponseData;
use sedge_protocol::kafka::generated::fetch_request::{
    FetchPartition, FetchRequestData, FetchTopic,
};
use sedge_protocol::kafka::generated::fetch_response::FetchResponseData;
use sedge_protocol::kafka::generated::init_producer_id_request::InitProducerIdRequestData;
use sedge_protocol::kafka::generated::init_producer_id_response::InitProducerIdResponseData;
use sedge_protocol::kafka::generated::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequestData, ListOffsetsTopic,
};
use sedge_protocol::kafka::generated::list_offsets_response::ListOffsetsResponseData;
use sedge_protocol::kafka::generated::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequestData, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use sedge_protocol::kafka::generated::offset_for_leader_epoch_response::OffsetForLeaderEpochResponseData;
use sedge_protocol::kafka::generated::produce_request::{
    PartitionProduceData, ProduceRequestData, TopicProduceData,
};
use sedge_protocol::kafka::generated::produce_response::ProduceResponseData;
use sedge_protocol::records::{BatchBuilder, Compression};
use sedge_protocol::{Bytes, BytesMut, ErrorCode};

use super::client::{Client, ask, code, text};
use crate::net::service::Disconnect;
use crate::test_broker::TestBroker;

/// Builds a batch of records with these timestamps.
fn batch(times: &[i64]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    for time in times {
        builder.push(*time, None, Some(b"value"), &[]);
    }
    let Batch { header, body } = builder.build().unwrap();
    [header.as_bytes().as_slice(), &body].concat().into()
}

pub fn produce_request(acks: i16, topic: &str, index: i32, records: Bytes) -> ProduceRequestData {
    let partition = PartitionProduceData::default()
        .with_index(index)
        .with_records(Some(records));
    let topic = TopicProduceData::default()
        .with_name(text(topic))
        .with_partition_data(vec![partition]);
    ProduceRequestData::default()
        .with_acks(acks)
        .with_topic_data(vec![topic])
}

/// Returns the error and the base offset.
fn produce(client: &Client, topic: &str, index: i32, records: Bytes) -> (ErrorCode, i64) {
    let request = produce_request(-1, topic, index, records);
    let answer = ask!(client, Produce 9, request => ProduceResponseData);
    let partition = &answer.responses[0].partition_responses[0];
    assert_eq!(
        (&answer.responses[0].name, partition.index),
        (&text(topic), index)
    );
    (code(partition.error_code), partition.base_offset)
}

#[test]
fn a_produce_is_answered_for_each_partition_by_itself() {
    let broker = TestBroker::start(&[]);
    broker.create_topic("a", &[]);
    let client = Client::new(&broker);
    assert_eq!(
        produce(&client, "a", 0, batch(&[1, 2])),
        (ErrorCode::None, 0)
    );
    assert_eq!(produce(&client, "a", 0, batch(&[3])), (ErrorCode::None, 2));
    let unknown = (ErrorCode::UnknownTopicOrPartition, -1);
    assert_eq!(produce(&client, "none", 0, batch(&[1])), unknown);
    assert_eq!(produce(&client, "a", 1, batch(&[1])), unknown);
    let mut rotten = batch(&[1]).to_vec();
    *rotten.last_mut().unwrap() ^= 1;
    let corrupt = (ErrorCode::CorruptMessage, -1);
    assert_eq!(produce(&client, "a", 0, rotten.into()), corrupt);
    let request = produce_request(2, "a", 0, batch(&[1]));
    let answer = ask!(client, Produce 9, request => ProduceResponseData);
    let partition = &answer.responses[0].partition_responses[0];
    assert_eq!(code(partition.error_code), ErrorCode::InvalidRequiredAcks);
    let mut by_unknown_id = produce_request(1, "", 0, batch(&[1]));
    by_unknown_id.topic_data[0].topic_id = KafkaUuid::from_parts(7, 7);
    let answer = ask!(client, Produce 13, by_unknown_id => ProduceResponseData);
    let partition = &answer.responses[0].partition_responses[0];
    assert_eq!(code(partition.error_code), ErrorCode::UnknownTopicId);
}

#[test]
fn a_produce_without_acks_has_no_reply_and_closes_the_connection_when_it_fails() {
    let broker = TestBroker::start(&[]);
    broker.create_topic("a", &[]);
    let client = Client::new(&broker);
    let send = |topic: &str| {
        let mut message = BytesMut::new();
        let request = produce_request(0, topic, 0, batch(&[1]));
        request.write(&mut message, 9).unwrap();
        client.send(0, 9, &message)
    };
    assert!(matches!(send("a"), Ok((None, _))));
    let failed = send("none");
    assert!(
        matches!(failed, Err(Disconnect::UnacknowledgedFailure)),
        "{failed:?}"
    );
}

fn fetch_request(topic: &str, partition: i32, offset: i64) -> FetchRequestData {
    let partition = FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default()
        .with_topic(text(topic))
        .with_partitions(vec![partition]);
    FetchRequestData::default()
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

#[test]
fn a_fetch_answers_stored_batches_and_errors_of_partitions() {
    let broker = TestBroker::start(&[]);
    broker.create_topic("a", &[]);
    let client = Client::new(&broker);
    produce(&client, "a", 0, batch(&[1, 2]));
    let check = |request: FetchRequestData, expected: (ErrorCode, i64, usize)| {
        let answer = ask!(client, Fetch 12, request => FetchResponseData);
        assert_eq!(answer.error_code, 0);
        let partition = &answer.responses[0].partitions[0];
        let bytes = partition.records.as_ref().map_or(0, Bytes::len);
        let found = (code(partition.error_code), partition.high_watermark, bytes);
        assert_eq!(found, expected);
    };
    let bytes = batch(&[1, 2]).len();
    check(fetch_request("a", 0, 0), (ErrorCode::None, 2, bytes));
    check(fetch_request("a", 0, 2), (ErrorCode::None, 2, 0));
    check(
        fetch_request("a", 0, 3),
        (ErrorCode::OffsetOutOfRange, 2, 0),
    );
    let unknown = (ErrorCode::UnknownTopicOrPartition, -1, 0);
    check(fetch_request("a", 1, 0), unknown);
    check(fetch_request("none", 0, 0), unknown);
    let epoch = |epoch: i32| {
        let mut request = fetch_request("a", 0, 0);
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        request
    };
    let current = broker.broker.log.metadata.load().leader_epoch().get();
    check(epoch(current), (ErrorCode::None, 2, bytes));
    check(epoch(current + 1), (ErrorCode::UnknownLeaderEpoch, -1, 0));
    let mut by_id = fetch_request("a", 0, 0);
    by_id.topics[0].topic_id = KafkaUuid::from_parts(7, 7);
    let answer = ask!(client, Fetch 13, by_id => FetchResponseData);
    let partition = &answer.responses[0].partitions[0];
    assert_eq!(code(partition.error_code), ErrorCode::UnknownTopicId);
    let request = FetchRequestData::default()
        .with_session_id(99)
        .with_session_epoch(1);
    let answer = ask!(client, Fetch 12, request => FetchResponseData);
    assert_eq!(code(answer.error_code), ErrorCode::FetchSessionIdNotFound);
}

/// The producer's codec is replaced, and a batch that becomes too large is refused.
#[test]
fn batches_are_stored_with_the_codec_of_their_topic() {
    let broker = TestBroker::start(&[]);
    let client = Client::new(&broker);
    let stored = |topic: &str, codec: Compression| {
        let mut builder = BatchBuilder::new(codec);
        for time in 0..50 {
            builder.push(time, None, Some(b"the same value"), &[]);
        }
        let Batch { header, body } = builder.build().unwrap();
        let records: Bytes = [header.as_bytes().as_slice(), &body].concat().into();
        let (error, base) = produce(&client, topic, 0, records);
        assert_eq!(error, ErrorCode::None, "{topic} {codec:?}");
        let request = fetch_request(topic, 0, base);
        let answer = ask!(client, Fetch 12, request => FetchResponseData);
        let records = answer.responses[0].partitions[0].records.clone().unwrap();
        let header = BatchHeader::read(&records).unwrap();
        assert_eq!(header.record_count(), 50);
        assert_eq!(header.with_computed_crc(&records[HEADER_BYTES..]), header);
        header.compression()
    };
    let codecs = [
        ("producer", None),
        ("uncompressed", Some(Compression::None)),
        ("gzip", Some(Compression::Gzip)),
        ("snappy", Some(Compression::Snappy)),
        ("lz4", Some(Compression::Lz4)),
        ("zstd", Some(Compression::Zstd)),
    ];
    for (name, expected) in codecs {
        broker.create_topic(name, &[("compression.type", name)]);
        for codec in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let expected = expected.unwrap_or(codec);
            assert_eq!(stored(name, codec), expected as i16, "{name} {codec:?}");
        }
    }
    let small = [
        ("compression.type", "uncompressed"),
        ("max.message.bytes", "200"),
    ];
    broker.create_topic("small", &small);
    let mut builder = BatchBuilder::new(Compression::Zstd);
    builder.push(1, None, Some(&[0; 1_000]), &[]);
    let Batch { header, body } = builder.build().unwrap();
    let records: Bytes = [header.as_bytes().as_slice(), &body].concat().into();
    assert!(records.len() < 200);
    let (error, _) = produce(&client, "small", 0, records);
    assert_eq!(error, ErrorCode::MessageTooLarge);
}

#[test]
fn a_fetch_session_answers_what_changed_alone() {
    let broker = TestBroker::start(&[]);
    broker.create_topic("a", &[]);
    let client = Client::new(&broker);
    let first = fetch_request("a", 0, 0).with_session_epoch(0);
    let answer = ask!(client, Fetch 12, first => FetchResponseData);
    assert_eq!(answer.responses.len(), 1);
    let next = |epoch: i32| {
        FetchRequestData::default()
            .with_max_bytes(1 << 20)
            .with_session_id(answer.session_id)
            .with_session_epoch(epoch)
    };
    let unchanged = ask!(client, Fetch 12, next(1) => FetchResponseData);
    assert!(unchanged.responses.is_empty());
    produce(&client, "a", 0, batch(&[1]));
    let changed = ask!(client, Fetch 12, next(2) => FetchResponseData);
    assert_eq!(changed.responses[0].partitions[0].high_watermark, 1);
    let again = ask!(client, Fetch 12, next(2) => FetchResponseData);
    assert_eq!(code(again.error_code), ErrorCode::InvalidFetchSessionEpoch);
}

#[test]
fn offsets_are_listed_by_time_and_by_the_special_times() {
    let broker = TestBroker::start(&[]);
    broker.create_topic("a", &[]);
    let client = Client::new(&broker);
    produce(&client, "a", 0, batch(&[10, 30, 20]));
    let request = |topic: &str, partition: i32, time: i64, epoch: i32| {
        let partition = ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_timestamp(time)
            .with_current_leader_epoch(epoch);
        let topic = ListOffsetsTopic::default()
            .with_name(text(topic))
            .with_partitions(vec![partition]);
        ListOffsetsRequestData::default().with_topics(vec![topic])
    };
    let first = |answer: &ListOffsetsResponseData| {
        let found = &answer.topics[0].partitions[0];
        (code(found.error_code), found.offset, found.timestamp)
    };
    let list = |topic: &str, partition: i32, time: i64, epoch: i32| {
        let request = request(topic, partition, time, epoch);
        first(&ask!(client, ListOffsets 11, request => ListOffsetsResponseData))
    };
    let ok = |offset, time| (ErrorCode::None, offset, time);
    assert_eq!(list("a", 0, -1, -1), ok(3, -1));
    assert_eq!(list("a", 0, -2, -1), ok(0, -1));
    assert_eq!(list("a", 0, -3, -1), ok(1, 30));
    assert_eq!(list("a", 0, -4, -1), ok(0, -1));
    assert_eq!(list("a", 0, -5, -1), ok(-1, -1));
    assert_eq!(list("a", 0, -6, -1), ok(-1, -1));
    assert_eq!(list("a", 0, 11, -1), ok(1, 30));
    assert_eq!(list("a", 0, 31, -1), ok(-1, -1));
    let refused = |code| (code, -1, -1);
    let unsupported = refused(ErrorCode::UnsupportedVersion);
    assert_eq!(list("a", 0, -7, -1), unsupported);
    let unknown = refused(ErrorCode::UnknownTopicOrPartition);
    assert_eq!(list("a", 1, -1, -1), unknown);
    let current = broker.broker.log.metadata.load().leader_epoch().get();
    // As in Kafka, a missing partition is reported before the epoch is checked.
    assert_eq!(list("none", 0, -1, current + 1), unknown);
    assert_eq!(
        list("a", 0, -1, current + 1),
        refused(ErrorCode::UnknownLeaderEpoch)
    );
    // A version without a special timestamp refuses it before any other check.
    let check = |answer: ListOffsetsResponseData, expected| {
        assert_eq!(first(&answer), expected);
    };
    let answer = ask!(client, ListOffsets 6, request("none", 0, -3, current + 1)
        => ListOffsetsResponseData);
    check(answer, unsupported);
    let answer = ask!(client, ListOffsets 7, request("a", 0, -3, -1) => ListOffsetsResponseData);
    check(answer, ok(1, 30));
    let answer = ask!(client, ListOffsets 10, request("a", 0, -6, -1) => ListOffsetsResponseData);
    check(answer, unsupported);
    // A partition that is named twice, in one topic or in two, is refused.
    let mut twice = request("a", 0, -1, -1);
    twice.topics.extend(request("a", 0, -2, -1).topics);
    let answer = ask!(client, ListOffsets 11, twice => ListOffsetsResponseData);
    check(answer, refused(ErrorCode::InvalidRequest));
}

#[test]
fn an_epoch_ends_where_the_log_does_if_it_is_the_current_one() {
    let broker = TestBroker::start(&[]);
    broker.create_topic("a", &[]);
    let client = Client::new(&broker);
    produce(&client, "a", 0, batch(&[1, 2]));
    let current = broker.broker.log.metadata.load().leader_epoch().get();
    let end = |topic: &str, partition: i32, asked: i32, known: i32| {
        let partition = OffsetForLeaderPartition::default()
            .with_partition(partition)
            .with_leader_epoch(asked)
            .with_current_leader_epoch(known);
        let topic = OffsetForLeaderTopic::default()
            .with_topic(text(topic))
            .with_partitions(vec![partition]);
        let request = OffsetForLeaderEpochRequestData::default().with_topics(vec![topic]);
        let answer = ask!(client, OffsetForLeaderEpoch 4, request
            => OffsetForLeaderEpochResponseData);
        let found = &answer.topics[0].partitions[0];
        (code(found.error_code), found.leader_epoch, found.end_offset)
    };
    assert_eq!(end("a", 0, current, -1), (ErrorCode::None, current, 2));
    assert_eq!(end("a", 0, current + 1, -1), (ErrorCode::None, -1, -1));
    assert_eq!(end("a", 0, -1, -1), (ErrorCode::None, -1, -1));
    // The first one begins at 0.
    assert_eq!(end("a", 0, -2, -1), (ErrorCode::None, -2, 0));
    let refused = |code| (code, -1, -1);
    assert_eq!(
        end("a", 0, current, current + 1),
        refused(ErrorCode::UnknownLeaderEpoch)
    );
    let unknown = refused(ErrorCode::UnknownTopicOrPartition);
    assert_eq!(end("a", 1, current, -1), unknown);
    assert_eq!(end("none", 0, current, current + 1), unknown);
}

/// As `tests/protocol/offsets.rs` has observed with Apache Kafka, whose epoch a restart raises.
#[test]
fn a_leader_epoch_that_is_over_is_refused_behind_what_is_not_there() {
    let broker = TestBroker::start(&[]);
    broker.create_topic("a", &[]);
    let client = Client::new(&broker);
    produce(&client, "a", 0, batch(&[1, 2, 3]));
    let raised = block_on(broker.broker.writer.metadata(Command::BumpLeaderEpoch));
    raised.unwrap().unwrap();
    produce(&client, "a", 0, batch(&[4]));
    let current = broker.broker.log.metadata.load().leader_epoch().get();
    let before = current - 1;
    let list = |partition: i32, time: i64, known: i32| {
        let partition = ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_timestamp(time)
            .with_current_leader_epoch(known);
        let topic = ListOffsetsTopic::default()
            .with_name(text("a"))
            .with_partitions(vec![partition]);
        let request = ListOffsetsRequestData::default().with_topics(vec![topic]);
        let answer = ask!(client, ListOffsets 5, request => ListOffsetsResponseData);
        code(answer.topics[0].partitions[0].error_code)
    };
    for time in [-1, -2, 0] {
        assert_eq!(list(0, time, current), ErrorCode::None);
        assert_eq!(list(0, time, before), ErrorCode::FencedLeaderEpoch);
        assert_eq!(list(1, time, before), ErrorCode::UnknownTopicOrPartition);
    }
    assert_eq!(list(0, -7, before), ErrorCode::UnsupportedVersion);
    let end = |partition: i32, asked: i32, known: i32| {
        let partition = OffsetForLeaderPartition::default()
            .with_partition(partition)
            .with_leader_epoch(asked)
            .with_current_leader_epoch(known);
        let topic = OffsetForLeaderTopic::default()
            .with_topic(text("a"))
            .with_partitions(vec![partition]);
        let request = OffsetForLeaderEpochRequestData::default().with_topics(vec![topic]);
        let answer = ask!(client, OffsetForLeaderEpoch 3, request
            => OffsetForLeaderEpochResponseData);
        let found = &answer.topics[0].partitions[0];
        (code(found.error_code), found.leader_epoch, found.end_offset)
    };
    for asked in [before, current, current + 9, -1] {
        assert_eq!(
            end(0, asked, before),
            (ErrorCode::FencedLeaderEpoch, -1, -1)
        );
        assert_eq!(
            end(1, asked, before),
            (ErrorCode::UnknownTopicOrPartition, -1, -1)
        );
    }
    for known in [-1, current] {
        assert_eq!(end(0, before, known), (ErrorCode::None, before, 3));
        assert_eq!(end(0, current, known), (ErrorCode::None, current, 4));
    }
}

#[test]
fn records_are_deleted_where_retention_may_delete() {
    let broker = TestBroker::start(&[]);
    broker.create_topic("a", &[]);
    broker.create_topic("compacted", &[("cleanup.policy", "compact")]);
    let client = Client::new(&broker);
    produce(&client, "a", 0, batch(&[1, 2]));
    let delete = |topic: &str, partition: i32, offset: i64| {
        let partition = DeleteRecordsPartition::default()
            .with_partition_index(partition)
            .with_offset(offset);
        let topic = DeleteRecordsTopic::default()
            .with_name(text(topic))
            .with_partitions(vec![partition]);
        let request = DeleteRecordsRequestData::default().with_topics(vec![topic]);
        let answer = ask!(client, DeleteRecords 2, request => DeleteRecordsResponseData);
        let found = &answer.topics[0].partitions[0];
        (code(found.error_code), found.low_watermark)
    };
    assert_eq!(delete("a", 0, 1), (ErrorCode::None, 1));
    assert_eq!(delete("a", 0, -1), (ErrorCode::None, 2));
    assert_eq!(delete("a", 0, 3), (ErrorCode::OffsetOutOfRange, -1));
    assert_eq!(delete("a", 0, -2), (ErrorCode::OffsetOutOfRange, -1));
    assert_eq!(delete("a", 1, 0), (ErrorCode::UnknownTopicOrPartition, -1));
    assert_eq!(
        delete("none", 0, 0),
        (ErrorCode::UnknownTopicOrPartition, -1)
    );
    assert_eq!(delete("compacted", 0, -1), (ErrorCode::PolicyViolation, -1));
}

#[test]
fn each_producer_gets_an_id_of_its_own() {
    let broker = TestBroker::start(&[]);
    let client = Client::new(&broker);
    let init = || {
        let request = InitProducerIdRequestData::default()
            .with_producer_id(-1)
            .with_producer_epoch(-1);
        let answer = ask!(client, InitProducerId 4, request => InitProducerIdResponseData);
        (
            code(answer.error_code),
            answer.producer_id,
            answer.producer_epoch,
        )
    };
    let (first, second) = (init(), init());
    assert_eq!((first.0, first.2), (ErrorCode::None, 0));
    assert!(first.1 >= 0 && second.1 > first.1, "{first:?} {second:?}");
}

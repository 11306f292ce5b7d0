//! Tests that each kind of request is charged to the quotas of its client.

use std::time::Duration;

use sedge_core::security::Principal;
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::generated::alter_client_quotas_request::{
    AlterClientQuotasRequestData, EntityData, EntryData, OpData,
};
use sedge_protocol::kafka::generated::alter_client_quotas_response::AlterClientQuotasResponseData;
use sedge_protocol::kafka::generated::create_partitions_request::{
    CreatePartitionsRequestData, CreatePartitionsTopic,
};
use sedge_protocol::kafka::generated::create_partitions_response::CreatePartitionsResponseData;
use sedge_protocol::kafka::generated::delete_topics_request::{
    DeleteTopicState, DeleteTopicsRequestData,
};
use sedge_protocol::kafka::generated::delete_topics_response::DeleteTopicsResponseData;
use sedge_protocol::kafka::generated::fetch_response::FetchResponseData;
use sedge_protocol::kafka::generated::metadata_request::MetadataRequestData;
use sedge_protocol::kafka::generated::metadata_response::MetadataResponseData;
use sedge_protocol::kafka::generated::produce_response::ProduceResponseData;
use sedge_protocol::kafka::generated::{ApiKey, fetch_request};
use sedge_protocol::records::{BatchBuilder, Compression};
use sedge_protocol::{Bytes, BytesMut};

use super::client::{Client, ask, code, text};
use super::records::produce_request;
use crate::test_broker::TestBroker;

fn set(client: &Client, user: &str, quota: &str, value: f64) {
    let entity = EntityData::default()
        .with_entity_type(text("user"))
        .with_entity_name(Some(text(user)));
    let op = OpData::default()
        .with_key(text(quota))
        .with_value(value)
        .with_remove(value == 0.0);
    let entry = EntryData::default()
        .with_entity(vec![entity])
        .with_ops(vec![op]);
    let request = AlterClientQuotasRequestData::default().with_entries(vec![entry]);
    let answer = ask!(client, AlterClientQuotas 1, request => AlterClientQuotasResponseData);
    assert_eq!(code(answer.entries[0].error_code), ErrorCode::None);
}

/// A batch of about this size.
fn batch(bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(1, None, Some(&vec![b'x'; bytes]), &[]);
    let batch = builder.build().unwrap();
    [batch.header.as_bytes().as_slice(), &batch.body]
        .concat()
        .into()
}

fn produce(client: &Client, bytes: usize) -> ProduceResponseData {
    let request = produce_request(-1, "a", 0, batch(bytes));
    let answer = ask!(client, Produce 9, request => ProduceResponseData);
    let partition = &answer.responses[0].partition_responses[0];
    assert_eq!(code(partition.error_code), ErrorCode::None);
    answer
}

#[test]
fn a_produce_is_charged_to_its_user_and_acknowledged_all_the_same() {
    let broker = TestBroker::start(&[]);
    broker.create_topic("a", &[]);
    let client = Client::new(&broker);
    let (alice, bob) = (Principal::user("alice"), Principal::user("bob"));
    let (alice, bob) = (client.as_principal(alice), client.as_principal(bob));
    set(&client, "alice", "producer_byte_rate", 1_000.0);
    assert_eq!(produce(&alice, 500).throttle_time_ms, 0);
    let throttle_ms = produce(&alice, 2_500).throttle_time_ms;
    assert!((2_000..2_500).contains(&throttle_ms), "{throttle_ms}");
    assert_eq!(produce(&bob, 2_500).throttle_time_ms, 0);
    // There is no response; only the mute shows the throttling.
    let mut message = BytesMut::new();
    let request = produce_request(0, "a", 0, batch(500));
    request.write(&mut message, 9).unwrap();
    let (reply, answered) = alice.send(ApiKey::Produce as i16, 9, &message).unwrap();
    assert!(
        reply.is_none() && answered.mute > Duration::from_secs(2),
        "{answered:?}"
    );
    set(&client, "alice", "producer_byte_rate", 0.0);
    assert_eq!(produce(&alice, 2_500).throttle_time_ms, 0);
}

#[test]
fn a_throttled_fetch_has_nothing_and_its_session_goes_on() {
    let broker = TestBroker::start(&[]);
    broker.create_topic("a", &[]);
    let client = Client::new(&broker);
    let name = Principal::ANONYMOUS;
    let fetch = |session: (i32, i32), offset: Option<i64>| {
        let partition = |offset| {
            let partition = fetch_request::FetchPartition::default()
                .with_fetch_offset(offset)
                .with_partition_max_bytes(10_000);
            fetch_request::FetchTopic::default()
                .with_topic(text("a"))
                .with_partitions(vec![partition])
        };
        let request = fetch_request::FetchRequestData::default()
            .with_max_bytes(10_000)
            .with_session_id(session.0)
            .with_session_epoch(session.1)
            .with_topics(offset.map(partition).into_iter().collect());
        ask!(client, Fetch 12, request => FetchResponseData)
    };
    produce(&client, 800);
    let first = fetch((0, 0), Some(0));
    assert!(first.session_id > 0);
    produce(&client, 800);
    set(&client, name.name(), "consumer_byte_rate", 1_000.0);
    let bytes = |answer: &FetchResponseData| -> usize {
        let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
        partitions
            .filter_map(|partition| partition.records.as_ref())
            .map(Bytes::len)
            .sum()
    };
    let session = first.session_id;
    let second = fetch((session, 1), Some(0));
    assert!(bytes(&second) > 800);
    let throttled = fetch((session, 2), Some(1));
    assert!(
        (500..1_000).contains(&throttled.throttle_time_ms),
        "{throttled:?}"
    );
    assert_eq!((bytes(&throttled), throttled.session_id), (0, session));
    set(&client, name.name(), "consumer_byte_rate", 0.0);
    // This request names no partition: the session has the offset.
    let third = fetch((session, 3), None);
    assert_eq!((third.error_code, third.throttle_time_ms), (0, 0));
    assert!(bytes(&third) > 800);
}

#[test]
fn partitions_are_charged_when_they_come_and_when_they_go() {
    let broker = TestBroker::start(&[("controller.quota.window.num", "1")]);
    let client = Client::new(&broker);
    broker.create_topic("a", &[]);
    let grow = |total: i32, validate_only: bool| {
        let topic = CreatePartitionsTopic::default()
            .with_name(text("a"))
            .with_count(total);
        let request = CreatePartitionsRequestData::default()
            .with_topics(vec![topic])
            .with_validate_only(validate_only);
        let answer = ask!(client, CreatePartitions 3, request => CreatePartitionsResponseData);
        (code(answer.results[0].error_code), answer.throttle_time_ms)
    };
    let exceeded = ErrorCode::ThrottlingQuotaExceeded;
    let rate = "controller_mutation_rate";
    set(&client, "ANONYMOUS", rate, 1.0);
    // Neither request is charged.
    assert_eq!(grow(500, true), (ErrorCode::None, 0));
    assert_eq!(grow(1, false).0, ErrorCode::InvalidPartitions);
    assert_eq!(grow(100, false), (ErrorCode::None, 0));
    let (refused, throttle_ms) = grow(101, false);
    assert_eq!(refused, exceeded);
    assert!((90_000..99_000).contains(&throttle_ms), "{throttle_ms}");
    let delete = |version: i16| {
        let topic = DeleteTopicState::default().with_name(Some(text("a")));
        let request = DeleteTopicsRequestData::default();
        let request = match version {
            6 => request.with_topics(vec![topic]),
            _ => request.with_topic_names(vec![text("a")]),
        };
        let answer = client.ask(
            (ApiKey::DeleteTopics, version),
            |buffer, version| request.write(buffer, version),
            DeleteTopicsResponseData::read,
        );
        (
            code(answer.responses[0].error_code),
            answer.throttle_time_ms,
        )
    };
    assert_eq!(delete(6).0, exceeded);
    // KIP-599: an older client is throttled, but not refused.
    let (deleted, throttle_ms) = delete(4);
    assert_eq!(deleted, ErrorCode::None);
    assert!(throttle_ms > 190_000, "{throttle_ms}");
}

#[test]
fn the_time_of_a_handler_is_charged() {
    let broker = TestBroker::start(&[]);
    let client = Client::new(&broker);
    // Every handler exceeds this quota.
    set(&client, "ANONYMOUS", "request_percentage", 1e-9);
    let request = MetadataRequestData::default();
    let answer = ask!(client, Metadata 9, request => MetadataResponseData);
    assert_eq!(answer.throttle_time_ms, 1_000);
    assert_eq!(answer.brokers.len(), 1);
}

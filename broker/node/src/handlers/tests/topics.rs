//! Tests topics: listing, creating, changing and deleting them.

use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::KafkaUuid;
use sedge_protocol::kafka::generated::alter_partition_reassignments_request::{
    AlterPartitionReassignmentsRequestData, ReassignablePartition, ReassignableTopic,
};
use sedge_protocol::kafka::generated::alter_partition_reassignments_response::AlterPartitionReassignmentsResponseData;
use sedge_protocol::kafka::generated::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsRequestData, CreatePartitionsTopic,
};
use sedge_protocol::kafka::generated::create_partitions_response::CreatePartitionsResponseData;
use sedge_protocol::kafka::generated::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequestData,
};
use sedge_protocol::kafka::generated::create_topics_response::CreateTopicsResponseData;
use sedge_protocol::kafka::generated::delete_topics_request::{
    DeleteTopicState, DeleteTopicsRequestData,
};
use sedge_protocol::kafka::generated::delete_topics_response::DeleteTopicsResponseData;
use sedge_protocol::kafka::generated::describe_topic_partitions_request::{
    Cursor, DescribeTopicPartitionsRequestData, TopicRequest,
};
use sedge_protocol::kafka::generated::describe_topic_partitions_response::DescribeTopicPartitionsResponseData;
use sedge_protocol::kafka::generated::elect_leaders_request::{
    ElectLeadersRequestData, TopicPartitions,
};
use sedge_protocol::kafka::generated::elect_leaders_response::ElectLeadersResponseData;
use sedge_protocol::kafka::generated::list_partition_reassignments_request::ListPartitionReassignmentsRequestData;
use sedge_protocol::kafka::generated::list_partition_reassignments_response::ListPartitionReassignmentsResponseData;
use sedge_protocol::kafka::generated::metadata_request::{
    MetadataRequestData, MetadataRequestTopic,
};
use sedge_protocol::kafka::generated::metadata_response::MetadataResponseData;

use super::client::{Client, ask, code, text};
use crate::test_broker::TestBroker;

const UNKNOWN: KafkaUuid = KafkaUuid::from_parts(7, 7);

fn topic(name: &str, partitions: i32, replicas: i16) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(text(name))
        .with_num_partitions(partitions)
        .with_replication_factor(replicas)
}

fn create(client: &Client, topics: Vec<CreatableTopic>) -> CreateTopicsResponseData {
    let request = CreateTopicsRequestData::default().with_topics(topics);
    ask!(client, CreateTopics 7, request => CreateTopicsResponseData)
}

fn named(name: &str) -> MetadataRequestTopic {
    MetadataRequestTopic::default().with_name(Some(text(name)))
}

fn metadata(
    client: &Client,
    topics: Option<Vec<MetadataRequestTopic>>,
    may_create: bool,
) -> MetadataResponseData {
    let request = MetadataRequestData::default()
        .with_topics(topics)
        .with_allow_auto_topic_creation(may_create);
    ask!(client, Metadata 12, request => MetadataResponseData)
}

#[test]
fn metadata_names_what_is_there_and_creates_what_may_be() {
    let broker = TestBroker::start(&[]);
    let client = Client::new(&broker);
    create(&client, vec![topic("a", 3, 1), topic("b", 1, 1)]);
    let all = metadata(&client, None, true);
    let shape = |at: usize| (all.topics[at].name.clone(), all.topics[at].partitions.len());
    assert_eq!(
        (shape(0), shape(1)),
        ((Some(text("a")), 3), (Some(text("b")), 1))
    );
    assert_eq!(
        (all.brokers.len(), all.controller_id),
        (1, all.brokers[0].node_id)
    );
    assert_eq!(
        (all.brokers[0].host.as_str(), all.brokers[0].port),
        ("broker.example", 9092)
    );
    let id = all.topics[1].topic_id;
    let by_id = |id| {
        MetadataRequestTopic::default()
            .with_topic_id(id)
            .with_name(None)
    };
    let wanted = vec![named("none"), by_id(id), by_id(UNKNOWN), named("not/valid")];
    let found = metadata(&client, Some(wanted.clone()), false);
    let codes = |found: &MetadataResponseData| -> Vec<ErrorCode> {
        found
            .topics
            .iter()
            .map(|topic| code(topic.error_code))
            .collect()
    };
    let unknown = ErrorCode::UnknownTopicOrPartition;
    let by_unknown_id = ErrorCode::UnknownTopicId;
    let illegal = ErrorCode::InvalidTopicException;
    assert_eq!(
        codes(&found),
        [unknown, ErrorCode::None, by_unknown_id, illegal]
    );
    assert_eq!(found.topics[1].name, Some(text("b")));
    let created = metadata(&client, Some(wanted), true);
    let invalid = ErrorCode::InvalidTopicException;
    assert_eq!(
        codes(&created),
        [ErrorCode::None, ErrorCode::None, by_unknown_id, invalid]
    );
    assert_ne!(created.topics[0].topic_id, KafkaUuid::ZERO);
    let none = metadata(&client, Some(Vec::new()), true);
    assert!(none.topics.is_empty());
    // In versions before null, an empty list means all topics.
    let request = MetadataRequestData::default().with_topics(Some(Vec::new()));
    let all = ask!(client, Metadata 0, request => MetadataResponseData);
    assert_eq!(all.topics.len(), 3);
}

#[test]
fn a_topic_is_created_as_asked_or_refused_with_a_reason() {
    let broker = TestBroker::start(&[]);
    let client = Client::new(&broker);
    let node = broker.broker.node_id.get();
    let assigned = |indices: &[i32], node: i32| {
        let one = |index: &i32| {
            CreatableReplicaAssignment::default()
                .with_partition_index(*index)
                .with_broker_ids(vec![node])
        };
        topic("assigned", -1, -1).with_assignments(indices.iter().map(one).collect())
    };
    let config = |key: &str, value: &str| {
        CreatableTopicConfig::default()
            .with_name(text(key))
            .with_value(Some(text(value)))
    };
    let check = |topic: CreatableTopic, expected: ErrorCode| {
        let name = topic.name.clone();
        let answer = create(&client, vec![topic]);
        let answer = &answer.topics[0];
        assert_eq!((&answer.name, code(answer.error_code)), (&name, expected));
        assert_eq!(answer.error_message.is_some(), expected != ErrorCode::None);
    };
    check(topic("a", 2, 1), ErrorCode::None);
    check(topic("a", 2, 1), ErrorCode::TopicAlreadyExists);
    check(topic("b", 0, 1), ErrorCode::InvalidPartitions);
    check(topic("b", 1, 2), ErrorCode::InvalidReplicationFactor);
    check(topic("b/c", 1, 1), ErrorCode::InvalidTopicException);
    check(
        topic("b", 1, 1).with_configs(vec![config("none", "1")]),
        ErrorCode::InvalidConfig,
    );
    let filter = config("sedge.filter", "not-deployed");
    check(
        topic("b", 1, 1).with_configs(vec![filter]),
        ErrorCode::InvalidConfig,
    );
    check(assigned(&[0, 2], node), ErrorCode::InvalidReplicaAssignment);
    check(
        assigned(&[0], node + 1),
        ErrorCode::InvalidReplicaAssignment,
    );
    check(
        assigned(&[0], node).with_num_partitions(1),
        ErrorCode::InvalidRequest,
    );
    check(assigned(&[1, 0], node), ErrorCode::None);
    let answer = create(
        &client,
        vec![topic("c", -1, -1), topic("d", 1, 1), topic("c", 1, 1)],
    );
    let codes: Vec<_> = answer
        .topics
        .iter()
        .map(|topic| code(topic.error_code))
        .collect();
    assert_eq!(codes, [ErrorCode::InvalidRequest, ErrorCode::None]);
    let request = CreateTopicsRequestData::default()
        .with_topics(vec![topic("e", -1, -1)])
        .with_validate_only(true);
    let answer = ask!(client, CreateTopics 7, request => CreateTopicsResponseData);
    assert_eq!(
        (answer.topics[0].error_code, answer.topics[0].num_partitions),
        (0, 1)
    );
    assert!(broker.broker.log.metadata.load().topic("e").is_none());
}

fn delete(client: &Client, topics: Vec<DeleteTopicState>) -> Vec<ErrorCode> {
    let request = DeleteTopicsRequestData::default().with_topics(topics);
    let answer = ask!(client, DeleteTopics 6, request => DeleteTopicsResponseData);
    let codes = answer.responses.iter().map(|topic| code(topic.error_code));
    codes.collect()
}

#[test]
fn a_topic_is_deleted_by_name_or_id_and_named_once() {
    let broker = TestBroker::start(&[]);
    let client = Client::new(&broker);
    let created = create(
        &client,
        vec![topic("a", 1, 1), topic("b", 1, 1), topic("c", 1, 1)],
    );
    let id = |at: usize| DeleteTopicState::default().with_topic_id(created.topics[at].topic_id);
    let name = |name: &str| DeleteTopicState::default().with_name(Some(text(name)));
    assert_eq!(
        delete(&client, vec![name("a"), name("c"), id(0)]),
        [ErrorCode::InvalidRequest, ErrorCode::None]
    );
    let unknown = DeleteTopicState::default().with_topic_id(UNKNOWN);
    let neither = DeleteTopicState::default();
    assert_eq!(
        delete(&client, vec![name("c"), id(1), unknown, neither]),
        [
            ErrorCode::UnknownTopicOrPartition,
            ErrorCode::None,
            ErrorCode::UnknownTopicId,
            ErrorCode::InvalidRequest
        ]
    );
    let left = metadata(&client, None, false);
    assert_eq!(left.topics.len(), 1);
    let (broker, older) = (
        TestBroker::start(&[("delete.topic.enable", "false")]),
        DeleteTopicsRequestData::default().with_topic_names(vec![text("a")]),
    );
    let client = Client::new(&broker);
    assert_eq!(
        delete(&client, vec![name("a")]),
        [ErrorCode::TopicDeletionDisabled]
    );
    let answer = ask!(client, DeleteTopics 2, older => DeleteTopicsResponseData);
    assert_eq!(
        code(answer.responses[0].error_code),
        ErrorCode::InvalidRequest
    );
}

#[test]
fn a_topic_only_grows() {
    let broker = TestBroker::start(&[]);
    let client = Client::new(&broker);
    create(&client, vec![topic("a", 2, 1)]);
    let node = broker.broker.node_id.get();
    let grow = |topics: Vec<CreatePartitionsTopic>| -> Vec<ErrorCode> {
        let request = CreatePartitionsRequestData::default().with_topics(topics);
        let answer = ask!(client, CreatePartitions 3, request => CreatePartitionsResponseData);
        answer
            .results
            .iter()
            .map(|topic| code(topic.error_code))
            .collect()
    };
    let to = |name: &str, count: i32| {
        CreatePartitionsTopic::default()
            .with_name(text(name))
            .with_count(count)
            .with_assignments(None)
    };
    let assigned = |node: i32| {
        let assignment = CreatePartitionsAssignment::default().with_broker_ids(vec![node]);
        to("a", 3).with_assignments(Some(vec![assignment]))
    };
    assert_eq!(
        grow(vec![to("none", 2)]),
        [ErrorCode::UnknownTopicOrPartition]
    );
    assert_eq!(grow(vec![to("a", 2)]), [ErrorCode::InvalidPartitions]);
    assert_eq!(
        grow(vec![assigned(node + 1)]),
        [ErrorCode::InvalidReplicaAssignment]
    );
    assert_eq!(
        grow(vec![to("a", 3), to("a", 4)]),
        [ErrorCode::InvalidRequest]
    );
    assert_eq!(grow(vec![assigned(node)]), [ErrorCode::None]);
    assert_eq!(metadata(&client, None, false).topics[0].partitions.len(), 3);
}

#[test]
fn topics_are_described_in_pages() {
    let broker = TestBroker::start(&[]);
    let client = Client::new(&broker);
    create(&client, vec![topic("a", 3, 1), topic("b", 2, 1)]);
    let page = |names: &[&str], cursor: Option<(&str, i32)>, limit: i32| {
        let wanted = |name: &&str| TopicRequest::default().with_name(text(name));
        let cursor = cursor.map(|(name, index)| {
            Box::new(
                Cursor::default()
                    .with_topic_name(text(name))
                    .with_partition_index(index),
            )
        });
        let request = DescribeTopicPartitionsRequestData::default()
            .with_topics(names.iter().map(wanted).collect())
            .with_response_partition_limit(limit)
            .with_cursor(cursor);
        let answer = ask!(client, DescribeTopicPartitions 0, request
            => DescribeTopicPartitionsResponseData);
        let topics: Vec<_> = answer
            .topics
            .iter()
            .map(|topic| {
                let indices = topic
                    .partitions
                    .iter()
                    .map(|partition| partition.partition_index);
                (code(topic.error_code), indices.collect::<Vec<_>>())
            })
            .collect();
        let next = answer
            .next_cursor
            .map(|cursor| (cursor.topic_name.to_string(), cursor.partition_index));
        (topics, next)
    };
    let next = |name: &str, index| Some((name.to_owned(), index));
    let ok = ErrorCode::None;
    assert_eq!(page(&[], None, 2), (vec![(ok, vec![0, 1])], next("a", 2)));
    assert_eq!(
        page(&[], Some(("a", 2)), 2),
        (vec![(ok, vec![2]), (ok, vec![0])], next("b", 1))
    );
    assert_eq!(page(&[], Some(("b", 1)), 2), (vec![(ok, vec![1])], None));
    let unknown = (ErrorCode::UnknownTopicOrPartition, vec![]);
    assert_eq!(
        page(&["none", "b"], None, 9),
        (vec![(ok, vec![0, 1]), unknown], None)
    );
}

#[test]
fn one_broker_elects_and_reassigns_nothing() {
    let broker = TestBroker::start(&[]);
    let client = Client::new(&broker);
    create(&client, vec![topic("a", 1, 1)]);
    let elect = |election_type: i8, name: &str, partitions: Vec<i32>| {
        let wanted = TopicPartitions::default()
            .with_topic(text(name))
            .with_partitions(partitions);
        let request = ElectLeadersRequestData::default()
            .with_election_type(election_type)
            .with_topic_partitions(Some(vec![wanted]));
        let answer = ask!(client, ElectLeaders 2, request => ElectLeadersResponseData);
        let results = answer.replica_election_results.iter();
        let results = results.flat_map(|topic| &topic.partition_result);
        let codes = results.map(|partition| code(partition.error_code));
        (code(answer.error_code), codes.collect::<Vec<_>>())
    };
    let (not_needed, unknown) = (
        ErrorCode::ElectionNotNeeded,
        ErrorCode::UnknownTopicOrPartition,
    );
    assert_eq!(
        elect(0, "a", vec![0, 1]),
        (ErrorCode::None, vec![not_needed, unknown])
    );
    assert_eq!(elect(1, "none", vec![0]), (ErrorCode::None, vec![unknown]));
    assert_eq!(elect(2, "a", vec![0]), (ErrorCode::InvalidRequest, vec![]));
    let partition =
        ReassignablePartition::default().with_replicas(Some(vec![broker.broker.node_id.get()]));
    let wanted = |name: &str| {
        ReassignableTopic::default()
            .with_name(text(name))
            .with_partitions(vec![partition.clone()])
    };
    let request = AlterPartitionReassignmentsRequestData::default()
        .with_topics(vec![wanted("a"), wanted("none")]);
    let answer = ask!(client, AlterPartitionReassignments 1, request
        => AlterPartitionReassignmentsResponseData);
    let codes = answer.responses.iter().flat_map(|topic| &topic.partitions);
    let codes: Vec<_> = codes.map(|partition| code(partition.error_code)).collect();
    assert_eq!(codes, [ErrorCode::None, unknown]);
    let request = ListPartitionReassignmentsRequestData::default();
    let answer = ask!(client, ListPartitionReassignments 0, request
        => ListPartitionReassignmentsResponseData);
    assert!(answer.topics.is_empty() && answer.error_code == 0);
}

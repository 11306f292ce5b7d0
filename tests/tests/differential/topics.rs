//! Requests about topics.

use sedge_protocol::kafka::KafkaUuid;
use sedge_protocol::kafka::generated as messages;

use messages::alter_partition_reassignments_request as reassign;
use messages::create_partitions_request as grow;
use messages::create_topics_request as create;
use messages::delete_topics_request as delete;
use messages::describe_topic_partitions_request as describe;
use messages::elect_leaders_request as elect;
use messages::metadata_request as metadata;

use crate::case::{Case, case, text};
use crate::{MISSING, TOPIC};

const TIMEOUT_MS: i32 = 30_000;

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    of_metadata(&mut cases);
    of_creation(&mut cases);
    of_deletion(&mut cases);
    of_partitions(&mut cases);
    cases
}

fn of_metadata(cases: &mut Vec<Case>) {
    for name in [TOPIC, MISSING, "a/b", "", "..", "__consumer_offsets_"] {
        case!(cases, &format!("metadata of {name:?}"), Metadata 1..=13, |_| {
            let topic = metadata::MetadataRequestTopic::default().with_name(Some(text(name)));
            metadata::MetadataRequestData::default().with_topics(Some(vec![topic]))
        } => messages::metadata_response::MetadataResponseData);
    }
    case!(cases, "metadata of no topic", Metadata 1..=13, |_| {
        metadata::MetadataRequestData::default().with_topics(Some(Vec::new()))
    } => messages::metadata_response::MetadataResponseData);
    case!(cases, "metadata of an unknown id", Metadata 12..=13, |_| {
        let topic = metadata::MetadataRequestTopic::default()
            .with_name(None)
            .with_topic_id(KafkaUuid::from_parts(1, 2));
        metadata::MetadataRequestData::default().with_topics(Some(vec![topic]))
    } => messages::metadata_response::MetadataResponseData);
    for name in [TOPIC, MISSING, "a/b"] {
        case!(cases, &format!("describe topic partitions of {name:?}"),
            DescribeTopicPartitions 0..=0, |_| {
            let topic = describe::TopicRequest::default().with_name(text(name));
            describe::DescribeTopicPartitionsRequestData::default()
                .with_response_partition_limit(2_000)
                .with_topics(vec![topic])
        } => messages::describe_topic_partitions_response::DescribeTopicPartitionsResponseData);
    }
}

fn of_creation(cases: &mut Vec<Case>) {
    let mut add = |name: &str, topics: Vec<create::CreatableTopic>| {
        case!(cases, &format!("create {name}"), CreateTopics 2..=4, |_| {
            create::CreateTopicsRequestData::default()
                .with_topics(topics.clone())
                .with_timeout_ms(TIMEOUT_MS)
                .with_validate_only(true)
        } => messages::create_topics_response::CreateTopicsResponseData);
    };
    let topic = |name: &str, partitions: i32, factor: i16| {
        create::CreatableTopic::default()
            .with_name(text(name))
            .with_num_partitions(partitions)
            .with_replication_factor(factor)
    };
    for name in [TOPIC, "", ".", "..", "a/b", &"n".repeat(250), "new"] {
        add(&format!("{name:.20?}"), vec![topic(name, 1, 1)]);
    }
    for (partitions, factor) in [(0, 1), (-2, 1), (1, 0), (1, -2), (1, 2), (i32::MIN, 1)] {
        let name = format!("{partitions} partitions {factor} replicas");
        add(&name, vec![topic("new", partitions, factor)]);
    }
    add("twice", vec![topic("new", 1, 1), topic("new", 1, 1)]);
    add("nothing", Vec::new());
    let assigned = |partitions: &[(i32, &[i32])]| {
        let assignments = partitions.iter().map(|(index, brokers)| {
            create::CreatableReplicaAssignment::default()
                .with_partition_index(*index)
                .with_broker_ids(brokers.to_vec())
        });
        topic("new", -1, -1).with_assignments(assignments.collect())
    };
    add("assigned", vec![assigned(&[(0, &[1]), (1, &[1])])]);
    add(
        "assigned with a gap",
        vec![assigned(&[(0, &[1]), (2, &[1])])],
    );
    add("assigned to nobody", vec![assigned(&[(0, &[])])]);
    add("assigned elsewhere", vec![assigned(&[(0, &[7])])]);
    add(
        "assigned and counted",
        vec![assigned(&[(0, &[1])]).with_num_partitions(1)],
    );
    for (key, value) in [
        ("retention.ms", Some("1")),
        ("retention.ms", Some("x")),
        ("retention.ms", None),
        ("no.such.key", Some("1")),
        ("cleanup.policy", Some("shred")),
        ("compression.gzip.level", Some("0")),
        ("min.insync.replicas", Some("2")),
        ("min.insync.replicas", Some("0")),
    ] {
        let config = create::CreatableTopicConfig::default()
            .with_name(text(key))
            .with_value(value.map(text));
        let topic = topic("new", 1, 1).with_configs(vec![config]);
        add(&format!("{key}={value:?}"), vec![topic]);
    }
}

fn of_deletion(cases: &mut Vec<Case>) {
    for name in [MISSING, "", "a/b"] {
        case!(cases, &format!("delete {name:?}"), DeleteTopics 1..=5, |_| {
            delete::DeleteTopicsRequestData::default()
                .with_topic_names(vec![text(name)])
                .with_timeout_ms(TIMEOUT_MS)
        } => messages::delete_topics_response::DeleteTopicsResponseData);
    }
    case!(cases, "delete an unknown id", DeleteTopics 6..=6, |_| {
        let topic = delete::DeleteTopicState::default()
            .with_name(None)
            .with_topic_id(KafkaUuid::from_parts(1, 2));
        delete::DeleteTopicsRequestData::default()
            .with_topics(vec![topic])
            .with_timeout_ms(TIMEOUT_MS)
    } => messages::delete_topics_response::DeleteTopicsResponseData);
}

fn of_partitions(cases: &mut Vec<Case>) {
    for (name, count, brokers) in [
        (TOPIC, 3, None),
        (TOPIC, 2, None),
        (TOPIC, 1, None),
        (TOPIC, 0, None),
        (TOPIC, -1, None),
        (MISSING, 3, None),
        ("a/b", 3, None),
        (TOPIC, 3, Some(vec![1])),
        (TOPIC, 4, Some(vec![1])),
        (TOPIC, 3, Some(vec![7])),
        (TOPIC, 3, Some(vec![])),
    ] {
        let named = format!("create partitions {name:?} {count} {brokers:?}");
        case!(cases, &named, CreatePartitions 0..=3, |_| {
            let assignment = |brokers: &Vec<i32>| {
                let of = grow::CreatePartitionsAssignment::default();
                vec![of.with_broker_ids(brokers.clone())]
            };
            let topic = grow::CreatePartitionsTopic::default()
                .with_name(text(name))
                .with_count(count)
                .with_assignments(brokers.as_ref().map(assignment));
            grow::CreatePartitionsRequestData::default()
                .with_topics(vec![topic])
                .with_timeout_ms(TIMEOUT_MS)
                .with_validate_only(true)
        } => messages::create_partitions_response::CreatePartitionsResponseData);
    }
    for (name, partition) in [(TOPIC, 0), (TOPIC, 9), (MISSING, 0)] {
        case!(cases, &format!("elect {name:?} {partition}"), ElectLeaders 0..=2, |_| {
            let topic = elect::TopicPartitions::default()
                .with_topic(text(name))
                .with_partitions(vec![partition]);
            elect::ElectLeadersRequestData::default()
                .with_topic_partitions(Some(vec![topic]))
                .with_timeout_ms(TIMEOUT_MS)
        } => messages::elect_leaders_response::ElectLeadersResponseData);
    }
    for (name, partition, replicas) in [
        (TOPIC, 0, None),
        (TOPIC, 9, None),
        (MISSING, 0, Some(vec![1])),
        (TOPIC, 0, Some(vec![7])),
        (TOPIC, 0, Some(vec![])),
        (TOPIC, 0, Some(vec![1, 1])),
    ] {
        let named = format!("reassign {name:?} {partition} {replicas:?}");
        case!(cases, &named, AlterPartitionReassignments 0..=1, |_| {
            let partition = reassign::ReassignablePartition::default()
                .with_partition_index(partition)
                .with_replicas(replicas.clone());
            let topic = reassign::ReassignableTopic::default()
                .with_name(text(name))
                .with_partitions(vec![partition]);
            reassign::AlterPartitionReassignmentsRequestData::default()
                .with_topics(vec![topic])
                .with_timeout_ms(TIMEOUT_MS)
        } => messages::alter_partition_reassignments_response::AlterPartitionReassignmentsResponseData);
    }
}

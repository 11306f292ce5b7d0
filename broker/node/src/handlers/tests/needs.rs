//! Compares the needs in the table with Kafka's documentation ("Operations and Resources on
//! Protocols"), and tests denied requests without a process.

use std::collections::BTreeSet;

use sedge_core::metadata::{Command, PLUGINS_TOPIC};
use sedge_core::security::acl::CLUSTER_NAME;
use sedge_core::security::{
    AclBinding, Host, Operation, PatternType, Permission, Principal, Resource,
};
use sedge_protocol::ErrorCode;
use sedge_protocol::api::APIS;
use sedge_protocol::kafka::KafkaUuid;
use sedge_protocol::kafka::generated::metadata_request::MetadataRequestData;
use sedge_protocol::kafka::generated::metadata_response::MetadataResponseData;
use sedge_protocol::kafka::generated::offset_commit_request::{
    OffsetCommitRequestData, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use sedge_protocol::kafka::generated::offset_commit_response::OffsetCommitResponseData;
use sedge_protocol::kafka::generated::offset_delete_request::{
    OffsetDeleteRequestData, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use sedge_protocol::kafka::generated::offset_delete_response::OffsetDeleteResponseData;
use sedge_protocol::kafka::generated::offset_fetch_request::{
    OffsetFetchRequestData, OffsetFetchRequestGroup,
};
use sedge_protocol::kafka::generated::offset_fetch_response::OffsetFetchResponseData;
use sedge_protocol::kafka::generated::produce_response::ProduceResponseData;
use sedge_protocol::plugin_records::{Change, batch_of};

use super::client::{Client, ask, code, text};
use super::configs;
use super::records::produce_request;
use crate::handlers::apis;
use crate::test_broker::TestBroker;

/// An API and the operations that it needs, in the order of the documentation.
const DOCUMENTED: &[(&str, &[&str])] = &[
    // Kafka has no topic by which a client changes what the broker runs.
    (
        "Produce",
        &["Write TransactionalId", "Write Topic", "Alter Cluster"],
    ),
    ("Fetch", &["Read Topic"]),
    ("ListOffsets", &["Describe Topic"]),
    (
        "Metadata",
        &[
            "Describe Topic",
            "Create Cluster",
            "Create Topic",
            "Describe Cluster",
        ],
    ),
    ("OffsetCommit", &["Read Group", "Read Topic"]),
    ("OffsetFetch", &["Describe Group", "Describe Topic"]),
    (
        "FindCoordinator",
        &["Describe Group", "Describe TransactionalId"],
    ),
    ("JoinGroup", &["Read Group"]),
    ("Heartbeat", &["Read Group"]),
    ("LeaveGroup", &["Read Group"]),
    ("SyncGroup", &["Read Group"]),
    ("DescribeGroups", &["Describe Group"]),
    ("ListGroups", &["Describe Cluster", "Describe Group"]),
    ("SaslHandshake", &[]),
    ("ApiVersions", &[]),
    (
        "CreateTopics",
        &["Create Cluster", "Create Topic", "DescribeConfigs Topic"],
    ),
    (
        "DeleteTopics",
        &["Delete Topic", "Describe Topic", "Delete Cluster"],
    ),
    ("DeleteRecords", &["Delete Topic"]),
    (
        "InitProducerId",
        &[
            "Write TransactionalId",
            "IdempotentWrite Cluster",
            "Write Topic",
        ],
    ),
    (
        "OffsetForLeaderEpoch",
        &["ClusterAction Cluster", "Describe Topic"],
    ),
    (
        "AddPartitionsToTxn",
        &[
            "Write TransactionalId",
            "Write Topic",
            "ClusterAction Cluster",
        ],
    ),
    ("AddOffsetsToTxn", &["Write TransactionalId", "Read Group"]),
    ("EndTxn", &["Write TransactionalId"]),
    (
        "WriteTxnMarkers",
        &["Alter Cluster", "ClusterAction Cluster"],
    ),
    (
        "TxnOffsetCommit",
        &["Write TransactionalId", "Read Group", "Read Topic"],
    ),
    ("DescribeAcls", &["Describe Cluster"]),
    ("CreateAcls", &["Alter Cluster"]),
    ("DeleteAcls", &["Alter Cluster"]),
    (
        "DescribeConfigs",
        &[
            "DescribeConfigs Cluster",
            "DescribeConfigs Topic",
            "DescribeConfigs Group",
        ],
    ),
    (
        "AlterConfigs",
        &[
            "AlterConfigs Cluster",
            "AlterConfigs Topic",
            "AlterConfigs Group",
            // Of links.
            "Alter Cluster",
        ],
    ),
    ("AlterReplicaLogDirs", &["Alter Cluster"]),
    ("DescribeLogDirs", &["Describe Cluster"]),
    ("SaslAuthenticate", &[]),
    ("CreatePartitions", &["Alter Topic"]),
    ("CreateDelegationToken", &["CreateTokens User"]),
    // The owner's and the renewers' alone.
    ("RenewDelegationToken", &[]),
    ("ExpireDelegationToken", &[]),
    (
        "DescribeDelegationToken",
        &["Describe DelegationToken", "DescribeTokens User"],
    ),
    ("DeleteGroups", &["Delete Group"]),
    ("ElectLeaders", &["Alter Cluster"]),
    (
        "IncrementalAlterConfigs",
        &[
            "AlterConfigs Cluster",
            "AlterConfigs Topic",
            "AlterConfigs Group",
            // Of links.
            "Alter Cluster",
            // Of the origins of a mirrored topic.
            "Write Topic",
        ],
    ),
    ("AlterPartitionReassignments", &["Alter Cluster"]),
    ("ListPartitionReassignments", &["Describe Cluster"]),
    ("OffsetDelete", &["Delete Group", "Read Topic"]),
    ("DescribeClientQuotas", &["DescribeConfigs Cluster"]),
    ("AlterClientQuotas", &["AlterConfigs Cluster"]),
    ("DescribeUserScramCredentials", &["Describe Cluster"]),
    ("AlterUserScramCredentials", &["Alter Cluster"]),
    ("DescribeQuorum", &["Describe Cluster"]),
    ("UpdateFeatures", &["Alter Cluster"]),
    ("DescribeCluster", &["Describe Cluster"]),
    ("DescribeProducers", &["Read Topic"]),
    ("UnregisterBroker", &["Alter Cluster"]),
    (
        "DescribeTransactions",
        &["Describe TransactionalId", "Describe Topic"],
    ),
    ("ListTransactions", &["Describe TransactionalId"]),
    ("ConsumerGroupHeartbeat", &["Read Group", "Describe Topic"]),
    (
        "ConsumerGroupDescribe",
        &["Describe Group", "Describe Topic"],
    ),
    // Kafka asks for no right either.
    ("GetTelemetrySubscriptions", &[]),
    ("PushTelemetry", &[]),
    ("ListConfigResources", &["DescribeConfigs Cluster"]),
    ("DescribeTopicPartitions", &["Describe Topic"]),
    ("AddRaftVoter", &["Alter Cluster"]),
    ("RemoveRaftVoter", &["Alter Cluster"]),
];

#[test]
fn needs_are_those_that_kafka_documents() {
    assert_eq!(DOCUMENTED.len(), APIS.len());
    for (api, (name, documented)) in APIS.iter().zip(DOCUMENTED) {
        assert_eq!(format!("{:?}", api.key), *name);
        let mut needs = BTreeSet::new();
        for need in apis::needs(api.key) {
            let rights = std::iter::once(need.right).chain(need.or);
            needs.extend(rights.map(|(resource, operation)| format!("{operation:?} {resource:?}")));
        }
        let documented: BTreeSet<String> = documented.iter().map(ToString::to_string).collect();
        assert_eq!(needs, documented, "{name}");
    }
}

/// Returns a broker with an authorizer whose rules allow the anonymous client `rights`.
fn with_rights(rights: &[(Resource, &str, Operation)]) -> (TestBroker, Client) {
    let broker = TestBroker::start(&[
        (
            "authorizer.class.name",
            sedge_core::config::STANDARD_AUTHORIZER,
        ),
        ("super.users", "User:admin; User:operator"),
    ]);
    let rules = rights
        .iter()
        .zip(1..)
        .map(|((resource, name, operation), number)| {
            let rule = AclBinding {
                resource: *resource,
                pattern: PatternType::Literal,
                name: (*name).into(),
                principal: Principal::ANONYMOUS.as_str().into(),
                host: Host::Address("192.0.2.1".parse().unwrap()),
                operation: *operation,
                permission: Permission::Allow,
            };
            (KafkaUuid::from_parts(1, number), rule)
        });
    let rules = rules.collect();
    let made = broker.broker.writer.metadata(Command::CreateAcls { rules });
    futures_lite::future::block_on(made).unwrap().unwrap();
    let client = Client::new(&broker).with_coordinator();
    (broker, client)
}

/// A client may not delete the offsets of a topic that it may not read.
#[test]
fn offsets_of_a_topic_that_may_not_be_read_stay() {
    let (broker, client) = with_rights(&[
        (Resource::Group, "g", Operation::All),
        (Resource::Topic, "mine", Operation::Read),
        (Resource::Topic, "theirs", Operation::Describe),
    ]);
    broker.create_topic("mine", &[]);
    broker.create_topic("theirs", &[]);
    let admin = client.as_principal(Principal::user("admin"));
    let commit = |topic: &str| {
        OffsetCommitRequestTopic::default()
            .with_name(text(topic))
            .with_partitions(vec![
                OffsetCommitRequestPartition::default()
                    .with_committed_offset(7)
                    .with_committed_metadata(Some(text(""))),
            ])
    };
    let request = OffsetCommitRequestData::default()
        .with_group_id(text("g"))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![commit("mine"), commit("theirs")]);
    let answer = ask!(admin, OffsetCommit 8, request => OffsetCommitResponseData);
    let codes = answer
        .topics
        .iter()
        .map(|topic| topic.partitions[0].error_code);
    assert_eq!(codes.collect::<Vec<_>>(), [0, 0]);

    let delete = |topic: &str| {
        OffsetDeleteRequestTopic::default()
            .with_name(text(topic))
            .with_partitions(vec![OffsetDeleteRequestPartition::default()])
    };
    let request = OffsetDeleteRequestData::default()
        .with_group_id(text("g"))
        .with_topics(vec![delete("theirs"), delete("mine"), delete("none")]);
    let answer = ask!(client, OffsetDelete 0, request => OffsetDeleteResponseData);
    let codes = answer
        .topics
        .iter()
        .map(|topic| code(topic.partitions[0].error_code));
    let refused = ErrorCode::TopicAuthorizationFailed;
    assert_eq!(
        codes.collect::<Vec<_>>(),
        [refused, ErrorCode::None, refused]
    );

    let group = OffsetFetchRequestGroup::default()
        .with_group_id(text("g"))
        .with_topics(None);
    let request = OffsetFetchRequestData::default().with_groups(vec![group]);
    let answer = ask!(admin, OffsetFetch 8, request => OffsetFetchResponseData);
    let left = answer.groups[0]
        .topics
        .iter()
        .map(|topic| topic.name.to_string());
    assert_eq!(left.collect::<Vec<_>>(), ["theirs"]);
}

#[test]
fn denials_are_counted_and_what_is_left_out_of_a_list_is_not_one() {
    let (broker, client) = with_rights(&[(Resource::Topic, "mine", Operation::Read)]);
    broker.create_topic("mine", &[]);
    broker.create_topic("theirs", &[]);
    let denied = || broker.broker.metrics.authorization_denied.get();
    let list = || {
        let request = MetadataRequestData::default().with_topics(None);
        let answer = ask!(client, Metadata 12, request => MetadataResponseData);
        let names = answer.topics.into_iter().filter_map(|topic| topic.name);
        names.map(|name| name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(list(), ["mine"]);
    assert_eq!(denied(), 0);
    let request = OffsetFetchRequestData::default().with_groups(vec![
        OffsetFetchRequestGroup::default().with_group_id(text("g")),
    ]);
    let answer = ask!(client, OffsetFetch 8, request => OffsetFetchResponseData);
    let found = code(answer.groups[0].error_code);
    assert_eq!((found, denied()), (ErrorCode::GroupAuthorizationFailed, 1));
}

#[test]
fn a_super_user_may_do_what_no_rule_allows() {
    let (broker, client) = with_rights(&[]);
    broker.create_topic("theirs", &[]);
    let seen = |client: &Client| {
        let request = MetadataRequestData::default().with_topics(None);
        let answer = ask!(client, Metadata 12, request => MetadataResponseData);
        answer.topics.len()
    };
    assert_eq!(seen(&client), 0);
    assert_eq!(seen(&client.as_principal(Principal::user("operator"))), 1);
    assert_eq!(seen(&client.as_principal(Principal::user("Operator"))), 0);
}

/// A client that may write to the topic of plugins could run code in the broker.
#[test]
fn deploying_a_plugin_needs_a_right_on_the_cluster() {
    let change = Change::of("range", Some(b"a component"), 1_795_311_182_000);
    let batch = batch_of(&change).unwrap();
    let bytes = [&batch.header.as_bytes()[..], &batch.body].concat();
    let write = (Resource::Topic, PLUGINS_TOPIC, Operation::Write);
    let alter = (Resource::Cluster, CLUSTER_NAME, Operation::Alter);
    let check = |rights: &[_], expected: ErrorCode| {
        let (broker, client) = with_rights(rights);
        broker.create_topic(PLUGINS_TOPIC, &[]);
        let request = produce_request(-1, PLUGINS_TOPIC, 0, bytes.clone().into());
        let answer = ask!(client, Produce 9, request => ProduceResponseData);
        let partition = &answer.responses[0].partition_responses[0];
        assert_eq!(code(partition.error_code), expected, "{rights:?}");
    };
    check(&[write], ErrorCode::ClusterAuthorizationFailed);
    check(&[alter], ErrorCode::TopicAuthorizationFailed);
    check(&[write, alter], ErrorCode::None);
}

/// A link makes the broker send its topics elsewhere, so that its keys are not enough.
#[test]
fn a_link_needs_the_cluster_s_right_to_alter() {
    const GROUP: &str = "sedge-mirror-hq";
    let alter = |rights: &[(Resource, &str, Operation)], key: &str, value: &str| {
        let (_broker, client) = with_rights(rights);
        configs::alter(&client, &[(32, GROUP)], key, 0, value)[0]
    };
    let group = (Resource::Group, GROUP, Operation::AlterConfigs);
    let cluster = (Resource::Cluster, "kafka-cluster", Operation::Alter);
    let denied = ErrorCode::ClusterAuthorizationFailed;
    assert_eq!(alter(&[group], "topics", "a"), denied);
    let denied = ErrorCode::GroupAuthorizationFailed;
    assert_eq!(alter(&[cluster], "topics", "a"), denied);
    // The rights are there, and so the keys are looked at: they lack the servers.
    assert_eq!(
        alter(&[group, cluster], "topics", "a"),
        ErrorCode::InvalidConfig
    );
}

/// Whoever may write records may say where they come from, and nothing else of the topic.
#[test]
fn a_writer_may_add_origins_to_a_topic() {
    const TOPIC: i8 = 2;
    const SET: i8 = 0;
    const APPEND: i8 = 2;
    let (broker, client) = with_rights(&[(Resource::Topic, "mine", Operation::Write)]);
    broker.create_topic("mine", &[]);
    broker.create_topic("theirs", &[]);
    let alter = |topic: &str, key: &str, op: i8| {
        configs::alter(&client, &[(TOPIC, topic)], key, op, "cluster-1")[0]
    };
    let origins = sedge_core::config::ORIGINS_KEY;
    assert_eq!(alter("mine", origins, APPEND), ErrorCode::None);
    let denied = ErrorCode::TopicAuthorizationFailed;
    assert_eq!(alter("mine", origins, SET), denied);
    assert_eq!(alter("mine", "sedge.filter", APPEND), denied);
    assert_eq!(alter("theirs", origins, APPEND), denied);
    let image = broker.broker.log.metadata.load();
    let of = |topic: &str| image.topic(topic).unwrap().overrides.get(origins).cloned();
    assert_eq!(of("mine").as_deref(), Some("cluster-1"));
    assert_eq!(of("theirs"), None);
}

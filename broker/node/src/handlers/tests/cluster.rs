//! Tests the handlers about the cluster: its APIs, its members, the disk, and access rules that are
//! not set.

use sedge_protocol::ErrorCode;
use sedge_protocol::api::APIS;
use sedge_protocol::kafka::generated::add_raft_voter_request::AddRaftVoterRequestData;
use sedge_protocol::kafka::generated::add_raft_voter_response::AddRaftVoterResponseData;
use sedge_protocol::kafka::generated::alter_replica_log_dirs_request::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic, AlterReplicaLogDirsRequestData,
};
use sedge_protocol::kafka::generated::alter_replica_log_dirs_response::AlterReplicaLogDirsResponseData;
use sedge_protocol::kafka::generated::api_versions_request::ApiVersionsRequestData;
use sedge_protocol::kafka::generated::api_versions_response::ApiVersionsResponseData;
use sedge_protocol::kafka::generated::create_acls_request::{AclCreation, CreateAclsRequestData};
use sedge_protocol::kafka::generated::create_acls_response::CreateAclsResponseData;
use sedge_protocol::kafka::generated::delete_acls_request::{
    DeleteAclsFilter, DeleteAclsRequestData,
};
use sedge_protocol::kafka::generated::delete_acls_response::DeleteAclsResponseData;
use sedge_protocol::kafka::generated::describe_acls_request::DescribeAclsRequestData;
use sedge_protocol::kafka::generated::describe_acls_response::DescribeAclsResponseData;
use sedge_protocol::kafka::generated::describe_cluster_request::DescribeClusterRequestData;
use sedge_protocol::kafka::generated::describe_cluster_response::DescribeClusterResponseData;
use sedge_protocol::kafka::generated::describe_log_dirs_request::{
    DescribableLogDirTopic, DescribeLogDirsRequestData,
};
use sedge_protocol::kafka::generated::describe_log_dirs_response::DescribeLogDirsResponseData;
use sedge_protocol::kafka::generated::describe_quorum_request::{self, DescribeQuorumRequestData};
use sedge_protocol::kafka::generated::describe_quorum_response::DescribeQuorumResponseData;
use sedge_protocol::kafka::generated::unregister_broker_request::UnregisterBrokerRequestData;
use sedge_protocol::kafka::generated::unregister_broker_response::UnregisterBrokerResponseData;
use sedge_protocol::kafka::generated::update_features_request::{self, UpdateFeaturesRequestData};
use sedge_protocol::kafka::generated::update_features_response::UpdateFeaturesResponseData;

use super::client::{Client, ask, code, text};
use crate::net::service::Disconnect;
use crate::test_broker::TestBroker;

#[test]
fn all_apis_are_advertised_and_a_client_is_known_by_what_it_said_first() {
    let broker = TestBroker::start(&[]);
    let client = Client::new(&broker);
    for software in ["first", "second"] {
        let request = ApiVersionsRequestData::default()
            .with_client_software_name(text(software))
            .with_client_software_version(text("1.2"));
        let answer = ask!(client, ApiVersions 4, request => ApiVersionsResponseData);
        assert_eq!((answer.error_code, answer.api_keys.len()), (0, APIS.len()));
    }
    let Err(Disconnect::Unsupported(told)) = client.send(0, 1, &[]) else {
        panic!("produce v1 is not answered");
    };
    assert_eq!(told.software.as_deref(), Some("first 1.2"));
}

#[test]
fn the_cluster_is_this_broker() {
    let broker = TestBroker::start(&[]);
    let client = Client::new(&broker);
    let node = broker.broker.node_id.get();
    let describe = |with_operations: bool| {
        let request = DescribeClusterRequestData::default()
            .with_include_cluster_authorized_operations(with_operations);
        ask!(client, DescribeCluster 1, request => DescribeClusterResponseData)
    };
    let answer = describe(true);
    assert_eq!((answer.error_code, answer.controller_id), (0, node));
    let own = &answer.brokers[0];
    let found = (own.broker_id, own.host.as_str(), own.port);
    assert_eq!(
        (answer.brokers.len(), found),
        (1, (node, "broker.example", 9092))
    );
    assert!(answer.cluster_authorized_operations > 0);
    assert_eq!(describe(false).cluster_authorized_operations, i32::MIN);
}

#[test]
fn the_log_directory_is_described_by_its_partitions() {
    let broker = TestBroker::start(&[]);
    broker.create_topic("a", &[]);
    broker.create_topic("b", &[]);
    let client = Client::new(&broker);
    let describe = |topics: Option<&[(&str, &[i32])]>| {
        let wanted = topics.map(|topics| {
            let topic = |(name, partitions): &(&str, &[i32])| {
                DescribableLogDirTopic::default()
                    .with_topic(text(name))
                    .with_partitions(partitions.to_vec())
            };
            topics.iter().map(topic).collect()
        });
        let request = DescribeLogDirsRequestData::default().with_topics(wanted);
        let answer = ask!(client, DescribeLogDirs 4, request => DescribeLogDirsResponseData);
        assert_eq!((answer.error_code, answer.results.len()), (0, 1));
        let directory = &answer.results[0];
        assert!(directory.total_bytes > 0 && directory.usable_bytes >= 0);
        let topics = directory.topics.iter();
        let shape = topics.map(|topic| (topic.name.to_string(), topic.partitions.len()));
        shape.collect::<Vec<_>>()
    };
    let all = describe(None);
    assert_eq!(all, [("a".to_owned(), 1), ("b".to_owned(), 1)]);
    let some = describe(Some(&[("b", &[0, 1]), ("none", &[0])]));
    assert_eq!(some, [("b".to_owned(), 1)]);
}

#[test]
fn there_are_no_access_rules_to_read_or_change() {
    let broker = TestBroker::start(&[]);
    let client = Client::new(&broker);
    let disabled = ErrorCode::SecurityDisabled;
    let request = DescribeAclsRequestData::default();
    let answer = ask!(client, DescribeAcls 3, request => DescribeAclsResponseData);
    assert_eq!(code(answer.error_code), disabled);
    let request = CreateAclsRequestData::default()
        .with_creations(vec![AclCreation::default(), AclCreation::default()]);
    let answer = ask!(client, CreateAcls 3, request => CreateAclsResponseData);
    let codes: Vec<_> = answer
        .results
        .iter()
        .map(|one| code(one.error_code))
        .collect();
    assert_eq!(codes, [disabled, disabled]);
    let request = DeleteAclsRequestData::default().with_filters(vec![DeleteAclsFilter::default()]);
    let answer = ask!(client, DeleteAcls 3, request => DeleteAclsResponseData);
    assert_eq!(code(answer.filter_results[0].error_code), disabled);
}

#[test]
fn the_quorum_is_this_broker_and_only_its_log_is_described() {
    let broker = TestBroker::start(&[]);
    broker.create_topic("a", &[]);
    let client = Client::new(&broker);
    let node = broker.broker.node_id.get();
    let describe = |topics: &[(&str, &[i32])]| {
        use describe_quorum_request::{PartitionData, TopicData};
        let topic = |(name, partitions): &(&str, &[i32])| {
            let partition = |index: &i32| PartitionData::default().with_partition_index(*index);
            TopicData::default()
                .with_topic_name(text(name))
                .with_partitions(partitions.iter().map(partition).collect())
        };
        let request =
            DescribeQuorumRequestData::default().with_topics(topics.iter().map(topic).collect());
        ask!(client, DescribeQuorum 2, request => DescribeQuorumResponseData)
    };
    let answer = describe(&[("__cluster_metadata", &[0])]);
    let quorum = &answer.topics[0].partitions[0];
    assert_eq!((quorum.error_code, quorum.leader_id), (0, node));
    assert!(quorum.high_watermark > 0);
    let own = &quorum.current_voters[0];
    let end = (own.replica_id, own.log_end_offset);
    assert_eq!(end, (node, quorum.high_watermark));
    assert_eq!(answer.nodes[0].listeners[0].port, 9092);
    // Older versions have neither messages nor nodes.
    let partition = describe_quorum_request::PartitionData::default();
    let topic = describe_quorum_request::TopicData::default()
        .with_topic_name(text("__cluster_metadata"))
        .with_partitions(vec![partition]);
    let request = DescribeQuorumRequestData::default().with_topics(vec![topic]);
    let oldest = ask!(client, DescribeQuorum 0, request.clone() => DescribeQuorumResponseData);
    assert_eq!(oldest.topics[0].partitions[0].leader_id, node);
    let older = ask!(client, DescribeQuorum 1, request => DescribeQuorumResponseData);
    assert_eq!(older.topics[0].partitions[0].leader_id, node);
    let codes = |topics: &[(&str, &[i32])]| {
        let answer = describe(topics);
        assert!(answer.nodes.is_empty() && answer.error_code == 0);
        let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
        let codes = partitions.map(|partition| partition.error_code);
        codes.collect::<Vec<_>>()
    };
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    assert!(codes(&[]).is_empty());
    assert_eq!(codes(&[("a", &[0])]), [unknown]);
    assert_eq!(codes(&[("__cluster_metadata", &[1])]), [unknown]);
    assert_eq!(codes(&[("__cluster_metadata", &[0, 1])]), [unknown; 2]);
    let both: [(&str, &[i32]); 2] = [("__cluster_metadata", &[0]), ("a", &[0])];
    assert_eq!(codes(&both), [unknown; 2]);
}

const TRANSACTIONS: &str = "transaction.version";

#[test]
fn a_feature_s_level_is_changed_and_advertised_with_a_new_epoch() {
    let broker = TestBroker::start(&[]);
    let client = Client::new(&broker);
    let levels = || {
        let request = ApiVersionsRequestData::default();
        let answer = ask!(client, ApiVersions 4, request => ApiVersionsResponseData);
        let levels = answer.finalized_features.iter();
        let levels = levels.map(|of| (of.name.to_string(), of.max_version_level));
        (answer.finalized_features_epoch, levels.collect::<Vec<_>>())
    };
    let update = |feature: &str, level: i16, upgrade_type: i8, validate_only: bool| {
        let update = update_features_request::FeatureUpdateKey::default()
            .with_feature(text(feature))
            .with_max_version_level(level)
            .with_upgrade_type(upgrade_type);
        let request = UpdateFeaturesRequestData::default()
            .with_feature_updates(vec![update])
            .with_validate_only(validate_only);
        let answer = ask!(client, UpdateFeatures 1, request => UpdateFeaturesResponseData);
        let results = answer.results.iter().map(|of| of.error_code);
        (code(answer.error_code), results.collect::<Vec<_>>())
    };
    let has =
        |levels: &[(String, i16)], level: i16| levels.contains(&(TRANSACTIONS.to_owned(), level));
    let (before, all) = levels();
    assert!(has(&all, 2));
    let refused = (ErrorCode::InvalidUpdateVersion, vec![]);
    assert_eq!(update(TRANSACTIONS, 1, 1, false), refused);
    assert_eq!(update("none.version", 1, 1, false), refused);
    let done = (ErrorCode::None, vec![0]);
    assert_eq!(update(TRANSACTIONS, 1, 2, true), done);
    assert_eq!(levels(), (before, all));
    assert_eq!(update(TRANSACTIONS, 1, 2, false), done);
    let (after, all) = levels();
    assert!(has(&all, 1) && after > before, "{after} {before} {all:?}");
    assert_eq!(update(TRANSACTIONS, 0, 3, false), done);
    let (_, all) = levels();
    assert!(!all.iter().any(|(name, _)| name == TRANSACTIONS), "{all:?}");
    // Clients before version 4 take a lowest level of 0 for an error.
    let request = ApiVersionsRequestData::default();
    let older = ask!(client, ApiVersions 3, request => ApiVersionsResponseData);
    assert!(older.supported_features.iter().all(|of| of.min_version > 0));
}

#[test]
fn there_is_no_other_broker_voter_or_directory() {
    let broker = TestBroker::start(&[]);
    broker.create_topic("a", &[]);
    let client = Client::new(&broker);
    let unregister = |id: i32| {
        let request = UnregisterBrokerRequestData::default().with_broker_id(id);
        let answer = ask!(client, UnregisterBroker 0, request => UnregisterBrokerResponseData);
        code(answer.error_code)
    };
    assert_eq!(unregister(77), ErrorCode::BrokerIdNotRegistered);
    let own = broker.broker.node_id.get();
    assert_eq!(unregister(own), ErrorCode::InvalidRequest);

    let add = |cluster: Option<&str>| {
        let request = AddRaftVoterRequestData::default().with_cluster_id(cluster.map(text));
        let answer = ask!(client, AddRaftVoter 1, request => AddRaftVoterResponseData);
        code(answer.error_code)
    };
    let own = broker.broker.cluster_id.clone();
    assert_eq!(add(Some("none")), ErrorCode::InconsistentClusterId);
    assert_eq!(add(Some(&own)), ErrorCode::UnsupportedVersion);
    assert_eq!(add(None), ErrorCode::UnsupportedVersion);

    let move_to = |path: &str, topic: &str, index: i32| {
        let topic = AlterReplicaLogDirTopic::default()
            .with_name(text(topic))
            .with_partitions(vec![index]);
        let dir = AlterReplicaLogDir::default()
            .with_path(text(path))
            .with_topics(vec![topic]);
        let request = AlterReplicaLogDirsRequestData::default().with_dirs(vec![dir]);
        let answer = ask!(client, AlterReplicaLogDirs 2, request
            => AlterReplicaLogDirsResponseData);
        code(answer.results[0].partitions[0].error_code)
    };
    let own = broker.broker.config.data.display().to_string();
    assert_eq!(move_to(&own, "a", 0), ErrorCode::None);
    let unknown = ErrorCode::UnknownTopicOrPartition;
    assert_eq!(move_to(&own, "a", 9), unknown);
    assert_eq!(move_to(&own, "none", 0), unknown);
    assert_eq!(move_to("/none", "a", 0), ErrorCode::LogDirNotFound);
}

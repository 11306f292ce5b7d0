//! Tests the handlers about the cluster: its APIs, its members, the disk, and access rules that are
//! not set.

use sedge_protocol::ErrorCode;
use sedge_protocol::api::APIS;
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

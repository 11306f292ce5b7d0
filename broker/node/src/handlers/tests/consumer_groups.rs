//! Tests groups of the consumer protocol (KIP-848) through the table.

use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::generated::api_versions_request::ApiVersionsRequestData;
use sedge_protocol::kafka::generated::api_versions_response::ApiVersionsResponseData;
use sedge_protocol::kafka::generated::consumer_group_describe_request::ConsumerGroupDescribeRequestData;
use sedge_protocol::kafka::generated::consumer_group_describe_response::{
    ConsumerGroupDescribeResponseData, DescribedGroup,
};
use sedge_protocol::kafka::generated::consumer_group_heartbeat_request::ConsumerGroupHeartbeatRequestData;
use sedge_protocol::kafka::generated::consumer_group_heartbeat_response::ConsumerGroupHeartbeatResponseData;
use sedge_protocol::kafka::generated::describe_groups_request::DescribeGroupsRequestData;
use sedge_protocol::kafka::generated::describe_groups_response::DescribeGroupsResponseData;
use sedge_protocol::kafka::generated::list_groups_request::ListGroupsRequestData;
use sedge_protocol::kafka::generated::list_groups_response::ListGroupsResponseData;
use sedge_protocol::kafka::generated::offset_fetch_request::{
    OffsetFetchRequestData, OffsetFetchRequestGroup,
};
use sedge_protocol::kafka::generated::offset_fetch_response::OffsetFetchResponseData;

use super::client::{Client, ask, code, text};
use super::configs::{self, GROUP, SET};
use crate::test_broker::TestBroker;

fn started() -> (TestBroker, Client) {
    let broker = TestBroker::start(&[]);
    broker.create_topic("a", &[]);
    let client = Client::new(&broker).with_coordinator();
    (broker, client)
}

fn join(member: &str) -> ConsumerGroupHeartbeatRequestData {
    ConsumerGroupHeartbeatRequestData::default()
        .with_group_id(text("g"))
        .with_member_id(text(member))
        .with_rebalance_timeout_ms(60_000)
        .with_subscribed_topic_names(Some(vec![text("a")]))
        .with_topic_partitions(Some(Vec::new()))
}

fn beat(
    client: &Client,
    request: ConsumerGroupHeartbeatRequestData,
) -> ConsumerGroupHeartbeatResponseData {
    ask!(client, ConsumerGroupHeartbeat 1, request => ConsumerGroupHeartbeatResponseData)
}

fn describe(client: &Client, group: &str) -> DescribedGroup {
    let request = ConsumerGroupDescribeRequestData::default().with_group_ids(vec![text(group)]);
    let answer = ask!(client, ConsumerGroupDescribe 1, request
        => ConsumerGroupDescribeResponseData);
    answer.groups.into_iter().next().unwrap()
}

#[test]
fn a_member_joins_is_shown_and_leaves() {
    let (_broker, client) = started();
    let joined = beat(&client, join("m"));
    assert_eq!((joined.error_code, joined.member_epoch), (0, 1));
    assert_eq!(joined.heartbeat_interval_ms, 5_000);
    let assigned = joined.assignment.unwrap().topic_partitions;
    assert_eq!(assigned.len(), 1);
    assert_eq!(assigned[0].partitions, [0]);

    let described = describe(&client, "g");
    assert_eq!(described.group_state.as_str(), "Stable");
    assert_eq!((described.group_epoch, described.assignment_epoch), (1, 1));
    assert_eq!(described.assignor_name.as_str(), "uniform");
    let member = &described.members[0];
    assert_eq!((member.member_id.as_str(), member.member_type), ("m", 1));
    let shown = &member.assignment.topic_partitions[0];
    assert_eq!(
        (shown.topic_name.as_str(), shown.partitions.len()),
        ("a", 1)
    );
    assert_eq!(member.target_assignment.topic_partitions.len(), 1);

    let request = ListGroupsRequestData::default().with_types_filter(vec![text("Consumer")]);
    let listed = ask!(client, ListGroups 5, request => ListGroupsResponseData);
    assert_eq!(listed.groups.len(), 1);
    assert_eq!(listed.groups[0].group_type.as_str(), "consumer");
    let request = DescribeGroupsRequestData::default().with_groups(vec![text("g")]);
    let classic = ask!(client, DescribeGroups 6, request => DescribeGroupsResponseData);
    let not_found = ErrorCode::GroupIdNotFound;
    assert_eq!(code(classic.groups[0].error_code), not_found);

    let left = beat(&client, join("m").with_member_epoch(-1));
    assert_eq!((left.error_code, left.member_epoch), (0, -1));
    assert_eq!(describe(&client, "g").group_state.as_str(), "Empty");
    assert_eq!(code(describe(&client, "none").error_code), not_found);
}

#[test]
fn errors_come_with_the_reason() {
    let (_broker, client) = started();
    let regex = join("m")
        .with_subscribed_topic_names(None)
        .with_subscribed_topic_regex(Some(text("(")));
    let table = [
        (join(""), ErrorCode::InvalidRequest),
        (join("m").with_member_epoch(3), ErrorCode::GroupIdNotFound),
        (regex, ErrorCode::InvalidRegularExpression),
        (
            join("m").with_server_assignor(Some(text("sticky"))),
            ErrorCode::UnsupportedAssignor,
        ),
    ];
    for (request, expected) in table {
        let answer = beat(&client, request);
        assert_eq!(code(answer.error_code), expected);
        assert!(!answer.error_message.unwrap().as_str().is_empty());
    }
}

#[test]
fn offsets_are_fetched_with_the_epoch_of_the_member() {
    let (_broker, client) = started();
    beat(&client, join("m"));
    let fetch = |member: Option<&str>, epoch: i32| {
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(text("g"))
            .with_member_id(member.map(text))
            .with_member_epoch(epoch);
        let request = OffsetFetchRequestData::default().with_groups(vec![group]);
        let answer = ask!(client, OffsetFetch 9, request => OffsetFetchResponseData);
        code(answer.groups[0].error_code)
    };
    assert_eq!(fetch(None, -1), ErrorCode::None);
    assert_eq!(fetch(Some("m"), 1), ErrorCode::None);
    assert_eq!(fetch(Some("m"), 2), ErrorCode::StaleMemberEpoch);
    assert_eq!(fetch(Some("x"), 1), ErrorCode::UnknownMemberId);
}

#[test]
fn a_group_s_own_heartbeat_interval_is_told_to_its_members() {
    let (_broker, client) = started();
    let key = "consumer.heartbeat.interval.ms";
    let altered = configs::alter(&client, &[(GROUP, "g")], key, SET, "6000");
    assert_eq!(altered, [ErrorCode::None]);
    assert_eq!(beat(&client, join("m")).heartbeat_interval_ms, 6_000);
}

#[test]
fn without_the_protocol_its_requests_are_refused() {
    let protocols = ("group.coordinator.rebalance.protocols", "classic");
    let broker = TestBroker::start(&[protocols]);
    let client = Client::new(&broker).with_coordinator();
    let refused = beat(&client, join("m"));
    assert_eq!(code(refused.error_code), ErrorCode::UnsupportedVersion);
}

#[test]
fn the_version_of_groups_is_a_finalized_feature() {
    let (_broker, client) = started();
    let answer = ask!(client, ApiVersions 3, ApiVersionsRequestData::default()
        => ApiVersionsResponseData);
    let mut features = answer.finalized_features.iter();
    let level = features.find(|feature| feature.name.as_str() == "group.version");
    assert_eq!(level.unwrap().max_version_level, 1);
}

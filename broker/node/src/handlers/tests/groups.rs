//! Tests groups: members, and committed offsets.

use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::KafkaUuid;
use sedge_protocol::kafka::generated::delete_groups_request::DeleteGroupsRequestData;
use sedge_protocol::kafka::generated::delete_groups_response::DeleteGroupsResponseData;
use sedge_protocol::kafka::generated::describe_groups_request::DescribeGroupsRequestData;
use sedge_protocol::kafka::generated::describe_groups_response::DescribeGroupsResponseData;
use sedge_protocol::kafka::generated::find_coordinator_request::FindCoordinatorRequestData;
use sedge_protocol::kafka::generated::find_coordinator_response::FindCoordinatorResponseData;
use sedge_protocol::kafka::generated::heartbeat_request::HeartbeatRequestData;
use sedge_protocol::kafka::generated::heartbeat_response::HeartbeatResponseData;
use sedge_protocol::kafka::generated::join_group_request::{
    JoinGroupRequestData, JoinGroupRequestProtocol,
};
use sedge_protocol::kafka::generated::join_group_response::JoinGroupResponseData;
use sedge_protocol::kafka::generated::leave_group_request::{
    LeaveGroupRequestData, MemberIdentity,
};
use sedge_protocol::kafka::generated::leave_group_response::LeaveGroupResponseData;
use sedge_protocol::kafka::generated::list_groups_request::ListGroupsRequestData;
use sedge_protocol::kafka::generated::list_groups_response::ListGroupsResponseData;
use sedge_protocol::kafka::generated::offset_commit_request::{
    OffsetCommitRequestData, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use sedge_protocol::kafka::generated::offset_commit_response::OffsetCommitResponseData;
use sedge_protocol::kafka::generated::offset_delete_request::{
    OffsetDeleteRequestData, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use sedge_protocol::kafka::generated::offset_delete_response::OffsetDeleteResponseData;
use sedge_protocol::kafka::generated::offset_fetch_request::{
    OffsetFetchRequestData, OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use sedge_protocol::kafka::generated::offset_fetch_response::OffsetFetchResponseData;
use sedge_protocol::kafka::generated::sync_group_request::SyncGroupRequestData;
use sedge_protocol::kafka::generated::sync_group_response::SyncGroupResponseData;

use super::client::{Client, ask, code, text};
use crate::test_broker::TestBroker;

fn started() -> (TestBroker, Client) {
    let broker = TestBroker::start(&[("group.initial.rebalance.delay.ms", "0")]);
    let client = Client::new(&broker).with_coordinator();
    (broker, client)
}

#[test]
fn the_coordinator_of_every_group_is_this_broker() {
    let (broker, client) = started();
    let node = broker.broker.node_id.get();
    let find = |key_type: i8, keys: &[&str]| -> Vec<(ErrorCode, i32, String)> {
        let request = FindCoordinatorRequestData::default()
            .with_key_type(key_type)
            .with_coordinator_keys(keys.iter().map(|key| text(key)).collect());
        let answer = ask!(client, FindCoordinator 4, request => FindCoordinatorResponseData);
        let found = answer.coordinators.into_iter();
        found
            .map(|found| {
                (
                    code(found.error_code),
                    found.node_id,
                    found.host.to_string(),
                )
            })
            .collect()
    };
    let here = (ErrorCode::None, node, "broker.example".to_owned());
    assert_eq!(find(0, &["a", "b"]), [here.clone(), here.clone()]);
    assert_eq!(find(1, &["t"]), [here]);
    assert_eq!(
        find(2, &["s"]),
        [(ErrorCode::InvalidRequest, -1, String::new())]
    );
    let request = FindCoordinatorRequestData::default().with_key(text("a"));
    let older = ask!(client, FindCoordinator 3, request => FindCoordinatorResponseData);
    assert_eq!(
        (code(older.error_code), older.node_id),
        (ErrorCode::None, node)
    );
}

fn join(client: &Client, group: &str, member_id: &str) -> JoinGroupResponseData {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(b"topics".as_slice().into());
    let request = JoinGroupRequestData::default()
        .with_group_id(text(group))
        .with_member_id(text(member_id))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(10_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol]);
    ask!(client, JoinGroup 9, request => JoinGroupResponseData)
}

fn sync(client: &Client, group: &str, member_id: &str, generation: i32) -> SyncGroupResponseData {
    let request = SyncGroupRequestData::default()
        .with_group_id(text(group))
        .with_member_id(text(member_id))
        .with_generation_id(generation)
        .with_protocol_type(Some(text("consumer")))
        .with_protocol_name(Some(text("range")));
    ask!(client, SyncGroup 5, request => SyncGroupResponseData)
}

fn describe(client: &Client, group: &str) -> (ErrorCode, String, usize) {
    let request = DescribeGroupsRequestData::default().with_groups(vec![text(group)]);
    let answer = ask!(client, DescribeGroups 6, request => DescribeGroupsResponseData);
    let group = &answer.groups[0];
    let state = group.group_state.to_string();
    (code(group.error_code), state, group.members.len())
}

#[test]
fn a_member_joins_beats_and_leaves() {
    let (_broker, client) = started();
    let unnamed = join(&client, "g", "");
    assert_eq!(code(unnamed.error_code), ErrorCode::MemberIdRequired);
    let member_id = unnamed.member_id.to_string();
    let joined = join(&client, "g", &member_id);
    assert_eq!(code(joined.error_code), ErrorCode::None);
    assert_eq!(
        (joined.leader.as_str(), joined.members.len()),
        (member_id.as_str(), 1)
    );
    let generation = joined.generation_id;
    let synced = sync(&client, "g", &member_id, generation);
    assert_eq!(code(synced.error_code), ErrorCode::None);
    assert_eq!(
        describe(&client, "g"),
        (ErrorCode::None, "Stable".to_owned(), 1)
    );
    let beat = |group: &str, member_id: &str, generation: i32| {
        let request = HeartbeatRequestData::default()
            .with_group_id(text(group))
            .with_member_id(text(member_id))
            .with_generation_id(generation);
        code(ask!(client, Heartbeat 4, request => HeartbeatResponseData).error_code)
    };
    assert_eq!(beat("g", &member_id, generation), ErrorCode::None);
    assert_eq!(
        beat("g", &member_id, generation + 1),
        ErrorCode::IllegalGeneration
    );
    assert_eq!(beat("g", "other", generation), ErrorCode::UnknownMemberId);
    assert_eq!(
        beat("none", &member_id, generation),
        ErrorCode::UnknownMemberId
    );
    let leave = |group: &str, members: &[&str]| {
        let member = |id: &&str| MemberIdentity::default().with_member_id(text(id));
        let request = LeaveGroupRequestData::default()
            .with_group_id(text(group))
            .with_members(members.iter().map(member).collect());
        let answer = ask!(client, LeaveGroup 5, request => LeaveGroupResponseData);
        let members = answer.members.iter().map(|member| code(member.error_code));
        (code(answer.error_code), members.collect::<Vec<_>>())
    };
    assert_eq!(
        leave("g", &["other", &member_id]),
        (
            ErrorCode::None,
            vec![ErrorCode::UnknownMemberId, ErrorCode::None]
        )
    );
    let request = LeaveGroupRequestData::default()
        .with_group_id(text("g"))
        .with_member_id(text("other"));
    let older = ask!(client, LeaveGroup 2, request => LeaveGroupResponseData);
    assert_eq!(code(older.error_code), ErrorCode::UnknownMemberId);
    let unknown = sync(&client, "none", &member_id, generation);
    assert_eq!(code(unknown.error_code), ErrorCode::UnknownMemberId);
    let invalid = join(&client, "", "");
    assert_eq!(code(invalid.error_code), ErrorCode::InvalidGroupId);
}

#[test]
fn a_group_that_is_not_there_is_described_by_the_version() {
    let (_broker, client) = started();
    let dead = "Dead".to_owned();
    assert_eq!(
        describe(&client, "none"),
        (ErrorCode::GroupIdNotFound, dead.clone(), 0)
    );
    // Offsets may be committed for the group "", so it is described as any other.
    assert_eq!(describe(&client, ""), (ErrorCode::GroupIdNotFound, dead, 0));
    let request = DescribeGroupsRequestData::default().with_groups(vec![text("none")]);
    let older = ask!(client, DescribeGroups 5, request => DescribeGroupsResponseData);
    assert_eq!(older.groups[0].group_state, text("Dead"));
    assert_eq!(code(older.groups[0].error_code), ErrorCode::None);
}

fn commit(client: &Client, group: &str, topic: &str, partition: i32) -> ErrorCode {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(partition)
        .with_committed_offset(5)
        .with_committed_metadata(Some(text("note")));
    let topic = OffsetCommitRequestTopic::default()
        .with_name(text(topic))
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequestData::default()
        .with_group_id(text(group))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    let answer = ask!(client, OffsetCommit 9, request => OffsetCommitResponseData);
    code(answer.topics[0].partitions[0].error_code)
}

/// Returns offset and metadata of the first partition in the answer, if any.
fn committed(client: &Client, group: &str, topics: Option<&[&str]>) -> Option<(i64, String)> {
    let topic = |name: &&str| {
        OffsetFetchRequestTopics::default()
            .with_name(text(name))
            .with_partition_indexes(vec![0])
    };
    let wanted = OffsetFetchRequestGroup::default()
        .with_group_id(text(group))
        .with_topics(topics.map(|topics| topics.iter().map(topic).collect()));
    let request = OffsetFetchRequestData::default().with_groups(vec![wanted]);
    let answer = ask!(client, OffsetFetch 9, request => OffsetFetchResponseData);
    assert_eq!(answer.groups[0].error_code, 0);
    let found = answer.groups[0].topics.first()?.partitions.first()?;
    assert_eq!(found.error_code, 0);
    let metadata = found.metadata.as_ref().map(ToString::to_string);
    Some((found.committed_offset, metadata.unwrap_or_default()))
}

#[test]
fn an_offset_is_committed_fetched_deleted_and_gone_with_its_group() {
    let (broker, client) = started();
    broker.create_topic("a", &[]);
    assert_eq!(commit(&client, "g", "a", 0), ErrorCode::None);
    assert_eq!(
        commit(&client, "g", "a", 1),
        ErrorCode::UnknownTopicOrPartition
    );
    assert_eq!(
        commit(&client, "g", "none", 0),
        ErrorCode::UnknownTopicOrPartition
    );
    let found = Some((5, "note".to_owned()));
    let nothing = Some((-1, String::new()));
    assert_eq!(committed(&client, "g", Some(&["a"])), found);
    assert_eq!(committed(&client, "g", None), found);
    assert_eq!(committed(&client, "g", Some(&["none"])), nothing);
    assert_eq!(committed(&client, "other", Some(&["a"])), nothing);
    assert_eq!(committed(&client, "other", None), None);
    let unknown = OffsetFetchRequestTopics::default()
        .with_topic_id(KafkaUuid::from_parts(7, 7))
        .with_partition_indexes(vec![0]);
    let wanted = OffsetFetchRequestGroup::default()
        .with_group_id(text("g"))
        .with_topics(Some(vec![unknown]));
    let request = OffsetFetchRequestData::default().with_groups(vec![wanted]);
    let answer = ask!(client, OffsetFetch 10, request => OffsetFetchResponseData);
    let partition = &answer.groups[0].topics[0].partitions[0];
    assert_eq!(code(partition.error_code), ErrorCode::UnknownTopicId);
    let delete = |group: &str, topics: &[&str]| {
        let topic = |name: &&str| {
            OffsetDeleteRequestTopic::default()
                .with_name(text(name))
                .with_partitions(vec![OffsetDeleteRequestPartition::default()])
        };
        let request = OffsetDeleteRequestData::default()
            .with_group_id(text(group))
            .with_topics(topics.iter().map(topic).collect());
        let answer = ask!(client, OffsetDelete 0, request => OffsetDeleteResponseData);
        let topics = answer.topics.iter().flat_map(|topic| &topic.partitions);
        let codes = topics.map(|partition| code(partition.error_code));
        (code(answer.error_code), codes.collect::<Vec<_>>())
    };
    assert_eq!(
        delete("g", &["a", "none"]),
        (
            ErrorCode::None,
            vec![ErrorCode::None, ErrorCode::UnknownTopicOrPartition]
        )
    );
    assert_eq!(delete("none", &["a"]), (ErrorCode::GroupIdNotFound, vec![]));
    assert_eq!(committed(&client, "g", Some(&["a"])), nothing);
    assert_eq!(commit(&client, "g", "a", 0), ErrorCode::None);
    assert_eq!(listed(&client), ["g"]);
    let request =
        DeleteGroupsRequestData::default().with_groups_names(vec![text("g"), text("none")]);
    let answer = ask!(client, DeleteGroups 2, request => DeleteGroupsResponseData);
    let codes: Vec<_> = answer
        .results
        .iter()
        .map(|group| code(group.error_code))
        .collect();
    assert_eq!(codes, [ErrorCode::None, ErrorCode::GroupIdNotFound]);
    assert_eq!(committed(&client, "g", Some(&["a"])), nothing);
    assert!(listed(&client).is_empty());
}

fn listed(client: &Client) -> Vec<String> {
    let request = ListGroupsRequestData::default();
    let answer = ask!(client, ListGroups 5, request => ListGroupsResponseData);
    let groups = answer.groups.iter().map(|group| group.group_id.to_string());
    groups.collect()
}

#[test]
fn members_of_an_unknown_generation_commit_nothing() {
    let (broker, client) = started();
    broker.create_topic("a", &[]);
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(5);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(text("a"))
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequestData::default()
        .with_group_id(text("g"))
        .with_generation_id_or_member_epoch(3)
        .with_member_id(text("m"))
        .with_topics(vec![topic]);
    let commit = |answer: OffsetCommitResponseData| code(answer.topics[0].partitions[0].error_code);
    let newer = ask!(client, OffsetCommit 9, request.clone() => OffsetCommitResponseData);
    assert_eq!(commit(newer), ErrorCode::GroupIdNotFound);
    let older = ask!(client, OffsetCommit 8, request => OffsetCommitResponseData);
    assert_eq!(commit(older), ErrorCode::IllegalGeneration);
    assert_eq!(
        committed(&client, "g", Some(&["a"])),
        Some((-1, String::new()))
    );
}

//! Requests about groups: coordinators, offsets of groups without members, members that nobody
//! knows, and groups that are described, listed and deleted.

use sedge_protocol::kafka::generated as messages;

use messages::delete_groups_request as delete;
use messages::describe_groups_request as describe;
use messages::find_coordinator_request as find;
use messages::list_groups_request as list;
use messages::offset_commit_request as commit;
use messages::offset_delete_request as forget;
use messages::offset_fetch_request as fetch;

use crate::case::{Case, case, text};
use crate::{MISSING, TOPIC};

/// Groups with offsets and without members, groups that are not there, and one that cannot be.
const GROUPS: [&str; 3] = ["g", "nobody", ""];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    of_coordinators(&mut cases);
    of_offsets(&mut cases);
    of_groups(&mut cases);
    cases
}

fn of_coordinators(cases: &mut Vec<Case>) {
    for kind in [0, 1, 9] {
        let named = format!("find coordinator of type {kind} without a key");
        case!(cases, &named, FindCoordinator 4..=6, |_| {
            find::FindCoordinatorRequestData::default().with_key_type(kind)
        } => messages::find_coordinator_response::FindCoordinatorResponseData);
    }
    for (kind, key) in [(0, "g"), (0, ""), (1, "x"), (1, ""), (9, "g")] {
        let named = format!("find coordinator of type {kind} {key:?}");
        case!(cases, &named, FindCoordinator 1..=3, |_| {
            find::FindCoordinatorRequestData::default()
                .with_key_type(kind)
                .with_key(text(key))
        } => messages::find_coordinator_response::FindCoordinatorResponseData);
        case!(cases, &named, FindCoordinator 4..=6, |_| {
            find::FindCoordinatorRequestData::default()
                .with_key_type(kind)
                .with_coordinator_keys(vec![text(key), text("other")])
        } => messages::find_coordinator_response::FindCoordinatorResponseData);
    }
}

fn of_offsets(cases: &mut Vec<Case>) {
    let places = [
        (TOPIC, 0, 5),
        (TOPIC, 1, 0),
        (TOPIC, 9, 1),
        (MISSING, 0, 1),
        (TOPIC, 0, -5),
    ];
    for (group, generation, member) in [("g", -1, ""), ("", -1, ""), ("g", 3, "m"), ("new", 3, "m")]
    {
        for (topic, partition, offset) in places {
            let named =
                format!("commit {group:?} {generation} {member:?} {topic} {partition} {offset}");
            case!(cases, &named, OffsetCommit 2..=9, |_| {
                let partition = commit::OffsetCommitRequestPartition::default()
                    .with_partition_index(partition)
                    .with_committed_offset(offset)
                    .with_committed_metadata(Some(text("m")));
                let topic = commit::OffsetCommitRequestTopic::default()
                    .with_name(text(topic))
                    .with_partitions(vec![partition]);
                commit::OffsetCommitRequestData::default()
                    .with_group_id(text(group))
                    .with_generation_id_or_member_epoch(generation)
                    .with_member_id(text(member))
                    .with_topics(vec![topic])
            } => messages::offset_commit_response::OffsetCommitResponseData);
        }
    }
    case!(cases, "commit metadata that is too long", OffsetCommit 2..=9, |_| {
        let partition = commit::OffsetCommitRequestPartition::default()
            .with_committed_metadata(Some(text(&"m".repeat(5_000))));
        let topic = commit::OffsetCommitRequestTopic::default()
            .with_name(text(TOPIC))
            .with_partitions(vec![partition]);
        commit::OffsetCommitRequestData::default()
            .with_group_id(text("g"))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![topic])
    } => messages::offset_commit_response::OffsetCommitResponseData);
    for group in GROUPS {
        let named = format!("fetch offsets of {group:?}");
        case!(cases, &named, OffsetFetch 1..=7, |_| {
            let of = |name, partitions| {
                fetch::OffsetFetchRequestTopic::default()
                    .with_name(text(name))
                    .with_partition_indexes(partitions)
            };
            fetch::OffsetFetchRequestData::default()
                .with_group_id(text(group))
                .with_topics(Some(vec![of(TOPIC, vec![0, 1, 9]), of(MISSING, vec![0])]))
        } => messages::offset_fetch_response::OffsetFetchResponseData);
        let named = format!("fetch all offsets of {group:?}");
        case!(cases, &named, OffsetFetch 2..=7, |_| {
            fetch::OffsetFetchRequestData::default()
                .with_group_id(text(group))
                .with_topics(None)
        } => messages::offset_fetch_response::OffsetFetchResponseData);
        for (member, epoch) in [(None, -1), (Some("m"), 3)] {
            let named = format!("fetch offsets of {group:?} and another as {member:?} {epoch}");
            case!(cases, &named, OffsetFetch 8..=9, |version| {
                let of = |name: &str, topics| {
                    let of = fetch::OffsetFetchRequestGroup::default()
                        .with_group_id(text(name))
                        .with_topics(topics);
                    if version < 9 {
                        return of;
                    }
                    of.with_member_id(member.map(text)).with_member_epoch(epoch)
                };
                let topic = fetch::OffsetFetchRequestTopics::default()
                    .with_name(text(TOPIC))
                    .with_partition_indexes(vec![0, 9]);
                fetch::OffsetFetchRequestData::default()
                    .with_groups(vec![of(group, Some(vec![topic])), of("nobody-else", None)])
                    .with_require_stable(true)
            } => messages::offset_fetch_response::OffsetFetchResponseData);
        }
        for (name, index) in [(TOPIC, 1), (MISSING, 0), ("a/b", 0)] {
            let named = format!("forget the offset of {group:?} in {name} {index}");
            case!(cases, &named, OffsetDelete 0..=0, |_| {
                let partition =
                    forget::OffsetDeleteRequestPartition::default().with_partition_index(index);
                let topic = forget::OffsetDeleteRequestTopic::default()
                    .with_name(text(name))
                    .with_partitions(vec![partition]);
                forget::OffsetDeleteRequestData::default()
                    .with_group_id(text(group))
                    .with_topics(vec![topic])
            } => messages::offset_delete_response::OffsetDeleteResponseData);
        }
    }
}

fn of_groups(cases: &mut Vec<Case>) {
    for group in GROUPS {
        case!(cases, &format!("describe the group {group:?}"), DescribeGroups 0..=6, |_| {
            describe::DescribeGroupsRequestData::default().with_groups(vec![text(group)])
        } => messages::describe_groups_response::DescribeGroupsResponseData);
        let named = format!("describe {group:?} of the consumer protocol");
        case!(cases, &named, ConsumerGroupDescribe 0..=1, |_| {
            messages::consumer_group_describe_request::ConsumerGroupDescribeRequestData::default()
                .with_group_ids(vec![text(group)])
        } => messages::consumer_group_describe_response::ConsumerGroupDescribeResponseData);
    }
    case!(cases, "list groups", ListGroups 0..=5, |_| {
        list::ListGroupsRequestData::default()
    } => messages::list_groups_response::ListGroupsResponseData);
    for state in ["Empty", "empty", "Stable", "Dead", "no state", ""] {
        let named = format!("list groups in {state:?}");
        case!(cases, &named, ListGroups 4..=5, |_| {
            list::ListGroupsRequestData::default().with_states_filter(vec![text(state)])
        } => messages::list_groups_response::ListGroupsResponseData);
    }
    for kind in ["classic", "Classic", "consumer", "share", "no type", ""] {
        let named = format!("list groups of type {kind:?}");
        case!(cases, &named, ListGroups 5..=5, |_| {
            list::ListGroupsRequestData::default().with_types_filter(vec![text(kind)])
        } => messages::list_groups_response::ListGroupsResponseData);
    }
    // The last one is deleted, and deleted again.
    for group in ["nobody", "", "g"] {
        case!(cases, &format!("delete the group {group:?}"), DeleteGroups 0..=2, |_| {
            delete::DeleteGroupsRequestData::default().with_groups_names(vec![text(group)])
        } => messages::delete_groups_response::DeleteGroupsResponseData);
    }
}

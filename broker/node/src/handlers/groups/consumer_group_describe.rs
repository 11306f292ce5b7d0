//! ConsumerGroupDescribe (key 69, KIP-848): returns the epochs, members and assignments of consumer
//! groups.

use sedge_core::groups::{
    Assignment, ConsumerGroupDescription, ConsumerMemberDescription, Refused,
};
use sedge_core::security::{OPERATIONS_NOT_ASKED, Operation, Resource};
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::consumer_group_describe_request::ConsumerGroupDescribeRequestData;
use sedge_protocol::kafka::generated::consumer_group_describe_response::{
    Assignment as Assigned, ConsumerGroupDescribeResponseData, DescribedGroup, Member,
    TopicPartitions,
};

use crate::handlers::{Request, Topics};

const FIRST_VERSION_WITH_MEMBER_TYPES: i16 = 1;
const UNKNOWN_TYPE: i8 = -1;
const CLASSIC_TYPE: i8 = 0;
const CONSUMER_TYPE: i8 = 1;

pub async fn handle(
    request: &Request,
    message: ConsumerGroupDescribeRequestData,
) -> ConsumerGroupDescribeResponseData {
    let asked = message.include_authorized_operations;
    let topics = request.topics(Operation::Describe);
    let groups = message.group_ids.into_iter().map(|group_id| {
        let described = match find(request, group_id.as_str()) {
            Ok(group) => show(request, &topics, group).map(|group| {
                let id = group_id.as_str();
                let operations = request.authorized_operations(asked, Resource::Group, id);
                group.with_authorized_operations(operations)
            }),
            Err(refused) => Err(refused),
        };
        let described = described.unwrap_or_else(|Refused { code, message }| {
            DescribedGroup::default()
                .with_authorized_operations(OPERATIONS_NOT_ASKED)
                .with_error_code(code.code())
                .with_error_message(Some(message.into()))
        });
        described.with_group_id(group_id)
    });
    ConsumerGroupDescribeResponseData::default().with_groups(groups.collect())
}

fn find(request: &Request, group_id: &str) -> Result<ConsumerGroupDescription, Refused> {
    let group = request.group(Operation::Describe, group_id);
    let group = group.map_err(|code| Refused::new(code, "Authorization failed."))?;
    if group_id.is_empty() {
        let why = "GroupId can't be empty.";
        return Err(Refused::new(ErrorCode::InvalidGroupId, why));
    }
    group.with(|machine| machine.describe_consumer(group_id))
}

/// Shows a group, if the client may know of all topics of its members.
fn show(
    request: &Request,
    topics: &Topics,
    group: ConsumerGroupDescription,
) -> Result<DescribedGroup, Refused> {
    let names = group.members.iter().flat_map(|member| &member.topics);
    let assigned = group.members.iter().flat_map(|member| {
        let topics = member.assignment.topics();
        topics.chain(member.target.topics())
    });
    let assigned = assigned.filter_map(|id| topics.existing_by_id(id.into()));
    if !names
        .map(String::as_str)
        .chain(assigned)
        .all(|name| topics.shows(name))
    {
        return Err(Refused::new(
            ErrorCode::TopicAuthorizationFailed,
            "The group has described topic(s) that the client is not authorized to describe.",
        ));
    }
    let has_types = request.version() >= FIRST_VERSION_WITH_MEMBER_TYPES;
    let members = group.members.into_iter();
    let members = members.map(|of| member(topics, has_types, of)).collect();
    Ok(DescribedGroup::default()
        .with_group_state(KafkaString::from_static(group.state))
        .with_group_epoch(group.epoch)
        .with_assignment_epoch(group.assignment_epoch)
        .with_assignor_name(KafkaString::from_static(group.assignor))
        .with_members(members))
}

fn member(topics: &Topics, has_types: bool, of: ConsumerMemberDescription) -> Member {
    let names = of.topics.into_iter().map(KafkaString::from);
    let member_type = match of.is_classic {
        _ if !has_types => UNKNOWN_TYPE,
        true => CLASSIC_TYPE,
        false => CONSUMER_TYPE,
    };
    Member::default()
        .with_member_id(of.member_id.into())
        .with_instance_id(of.instance_id.map(KafkaString::from))
        .with_rack_id(of.rack_id.map(KafkaString::from))
        .with_member_epoch(of.epoch)
        .with_client_id(of.client_id.into())
        .with_client_host(of.client_host.into())
        .with_subscribed_topic_names(names.collect())
        .with_subscribed_topic_regex(of.regex.map(KafkaString::from))
        .with_assignment(assigned(topics, &of.assignment))
        .with_target_assignment(assigned(topics, &of.target))
        .with_member_type(member_type)
}

/// Returns an assignment with the names of its topics; those that were deleted are left out.
fn assigned(topics: &Topics, assignment: &Assignment) -> Assigned {
    let of_topics = assignment.to_wire().into_iter();
    let of_topics = of_topics.filter_map(|(id, partitions)| {
        let name = topics.existing_by_id(id)?.to_owned();
        let topic = TopicPartitions::default()
            .with_topic_id(id)
            .with_topic_name(name.into());
        Some(topic.with_partitions(partitions))
    });
    Assigned::default().with_topic_partitions(of_topics.collect())
}

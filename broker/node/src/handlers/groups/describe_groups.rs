//! DescribeGroups (key 15): returns state, members and assignments of classic groups. Groups of the
//! consumer protocol count as missing here.

use sedge_core::groups::GroupDescription;
use sedge_core::security::{OPERATIONS_NOT_ASKED, Operation, Resource};
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::describe_groups_request::DescribeGroupsRequestData;
use sedge_protocol::kafka::generated::describe_groups_response::{
    DescribeGroupsResponseData, DescribedGroup, DescribedGroupMember,
};

use crate::handlers::Request;

/// KIP-1043: in earlier versions, a group that does not exist is in the state `Dead`.
const FIRST_VERSION_WITH_GROUP_ID_NOT_FOUND: i16 = 6;
const DEAD: &str = "Dead";

pub async fn handle(
    request: &Request,
    message: DescribeGroupsRequestData,
) -> DescribeGroupsResponseData {
    let asked = message.include_authorized_operations;
    let operations =
        |group: &KafkaString| request.authorized_operations(asked, Resource::Group, group.as_str());
    let groups = message.groups.into_iter().map(|group_id| {
        let found = request
            .group(Operation::Describe, group_id.as_str())
            .map(|group| group.with(|machine| machine.describe(group.id())));
        let group = match found {
            Err(error) => refused(error, None),
            Ok(Ok(found)) => describe(found).with_authorized_operations(operations(&group_id)),
            Ok(Err(missing)) if request.version() >= FIRST_VERSION_WITH_GROUP_ID_NOT_FOUND => {
                refused(missing.code, Some(missing.message.into()))
            }
            Ok(Err(_)) => refused(ErrorCode::None, None),
        };
        group.with_group_id(group_id)
    });
    DescribeGroupsResponseData::default().with_groups(groups.collect())
}

fn refused(error: ErrorCode, message: Option<KafkaString>) -> DescribedGroup {
    DescribedGroup::default()
        .with_group_state(KafkaString::from_static(DEAD))
        .with_authorized_operations(OPERATIONS_NOT_ASKED)
        .with_error_code(error.code())
        .with_error_message(message)
}

fn describe(group: GroupDescription) -> DescribedGroup {
    let members = group.members.into_iter().map(|member| {
        DescribedGroupMember::default()
            .with_member_id(member.member_id.into())
            .with_group_instance_id(member.group_instance_id.map(KafkaString::from))
            .with_client_id(member.client_id.into())
            .with_client_host(member.client_host.into())
            .with_member_metadata(member.metadata)
            .with_member_assignment(member.assignment)
    });
    DescribedGroup::default()
        .with_group_state(KafkaString::from_static(group.state))
        .with_protocol_type(group.protocol_type.into())
        .with_protocol_data(group.protocol.into())
        .with_members(members.collect())
}

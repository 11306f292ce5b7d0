//! LeaveGroup (key 13): removes members, at their own request or an administrator's.

use sedge_core::groups::{LeaveRequest, LeavingMember};
use sedge_core::security::Operation;
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::generated::leave_group_request::LeaveGroupRequestData;
use sedge_protocol::kafka::generated::leave_group_response::{
    LeaveGroupResponseData, MemberResponse,
};

use crate::handlers::Request;

/// KIP-345.
const FIRST_BATCHED_VERSION: i16 = 3;

pub async fn handle(request: &Request, message: LeaveGroupRequestData) -> LeaveGroupResponseData {
    let is_batched = request.version() >= FIRST_BATCHED_VERSION;
    let members: Vec<LeavingMember> = if is_batched {
        let members = message.members.into_iter().map(|member| LeavingMember {
            member_id: member.member_id.to_string(),
            group_instance_id: member.group_instance_id.map(|id| id.to_string()),
        });
        members.collect()
    } else {
        let member_id = message.member_id.to_string();
        vec![LeavingMember {
            member_id,
            group_instance_id: None,
        }]
    };
    let leave = LeaveRequest {
        group_id: message.group_id.to_string(),
        members,
    };
    let response = LeaveGroupResponseData::default();
    let (reply, written) = match request.group(Operation::Read, &leave.group_id) {
        Ok(group) => group.leave(&leave),
        Err(error) => return response.with_error_code(error.code()),
    };
    if let Err(error) = written.wait().await {
        return response.with_error_code(error.code());
    }
    let mut results = match reply {
        Err(error) => return response.with_error_code(error.code()),
        Ok(results) => results.into_iter().map(crate::handlers::code_of),
    };
    if !is_batched {
        return response.with_error_code(results.next_back().unwrap_or(ErrorCode::None.code()));
    }
    let members = leave
        .members
        .into_iter()
        .zip(results)
        .map(|(member, code)| {
            MemberResponse::default()
                .with_member_id(member.member_id.into())
                .with_group_instance_id(member.group_instance_id.map(Into::into))
                .with_error_code(code)
        });
    response.with_members(members.collect())
}

//! JoinGroup (key 11): the answer comes with the rebalance.

use sedge_core::groups::{JoinReply, JoinRequest, Protocol, ReplyBody};
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::join_group_request::JoinGroupRequestData;
use sedge_protocol::kafka::generated::join_group_response::{
    JoinGroupResponseData, JoinGroupResponseMember,
};
use sedge_protocol::{Bytes, ErrorCode};

use super::Request;
use crate::net::service::{Answer, Answered, Disconnect};
use crate::random::random_uuid;

/// KIP-394.
const FIRST_VERSION_WITH_KNOWN_MEMBER_IDS: i16 = 4;
const FIRST_VERSION_WITH_NO_PROTOCOL: i16 = 7;
/// KIP-814.
const FIRST_VERSION_WITH_SKIPPED_ASSIGNMENT: i16 = 9;
const NO_GENERATION: i32 = -1;

pub async fn handle(request: Request, message: JoinGroupRequestData) -> Result<Answer, Disconnect> {
    let join = read(&request, message);
    let now = request.broker.log.clock.now();
    let suffix = random_uuid().inner().to_string();
    let answered = request.broker.groups.join(now, join, &suffix);
    Ok(Answer::Later(Box::pin(async move {
        let Ok(ReplyBody::Join(reply)) = answered.recv().await else {
            return Err(Disconnect::ShuttingDown);
        };
        let response = respond(reply, request.version());
        request
            .encode(|buffer, version| response.write(buffer, version))
            .map(Answered::from)
    })))
}

fn read(request: &Request, message: JoinGroupRequestData) -> JoinRequest {
    let version = request.version();
    let rebalance_timeout_ms = if version == 0 {
        message.session_timeout_ms
    } else {
        message.rebalance_timeout_ms
    };
    let protocols = message.protocols.into_iter().map(|protocol| Protocol {
        name: protocol.name.to_string(),
        // The group keeps it, and is not to keep the whole request.
        metadata: Bytes::copy_from_slice(&protocol.metadata),
    });
    JoinRequest {
        group_id: message.group_id.to_string(),
        member_id: message.member_id.to_string(),
        group_instance_id: message.group_instance_id.map(|id| id.to_string()),
        client_id: request.client_id().to_owned(),
        client_host: format!("/{}", request.session.remote.ip()),
        session_timeout_ms: message.session_timeout_ms,
        rebalance_timeout_ms,
        protocol_type: message.protocol_type.to_string(),
        protocols: protocols.collect(),
        requires_known_member_id: version >= FIRST_VERSION_WITH_KNOWN_MEMBER_IDS,
        supports_skipping_assignment: version >= FIRST_VERSION_WITH_SKIPPED_ASSIGNMENT,
    }
}

fn respond(reply: JoinReply, version: i16) -> JoinGroupResponseData {
    // Before, there is no null.
    let named = |name: Option<String>| match name {
        None if version < FIRST_VERSION_WITH_NO_PROTOCOL => Some(KafkaString::default()),
        name => name.map(KafkaString::from),
    };
    let response = JoinGroupResponseData::default();
    match reply {
        Err(refused) => response
            .with_error_code(refused.error.code())
            .with_generation_id(NO_GENERATION)
            .with_protocol_name(named(None))
            .with_member_id(refused.member_id.into()),
        Ok(joined) => {
            let members = joined.members.into_iter().map(|member| {
                JoinGroupResponseMember::default()
                    .with_member_id(member.member_id.into())
                    .with_group_instance_id(member.group_instance_id.map(KafkaString::from))
                    .with_metadata(member.metadata)
            });
            response
                .with_error_code(ErrorCode::None.code())
                .with_generation_id(joined.generation_id)
                .with_protocol_type(joined.protocol_type.map(KafkaString::from))
                .with_protocol_name(named(joined.protocol_name))
                .with_leader(joined.leader.into())
                .with_skip_assignment(joined.skip_assignment)
                .with_member_id(joined.member_id.into())
                .with_members(members.collect())
        }
    }
}

//! JoinGroup (key 11): answered when the rebalance completes.

use async_channel::Receiver;
use sedge_core::groups::{JoinRefused, JoinReply, JoinRequest, Protocol, ReplyBody};
use sedge_core::security::Operation;
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::join_group_request::JoinGroupRequestData;
use sedge_protocol::kafka::generated::join_group_response::{
    JoinGroupResponseData, JoinGroupResponseMember,
};
use sedge_protocol::{Bytes, ErrorCode};

use crate::handlers::Request;
use crate::net::service::Disconnect;
use crate::process::random::random_uuid;

/// KIP-394.
const FIRST_VERSION_WITH_KNOWN_MEMBER_IDS: i16 = 4;
const FIRST_VERSION_WITH_NO_PROTOCOL: i16 = 7;
/// KIP-814.
const FIRST_VERSION_WITH_SKIPPED_ASSIGNMENT: i16 = 9;
const NO_GENERATION: i32 = -1;

pub async fn start(
    request: &Request,
    message: JoinGroupRequestData,
) -> Result<Receiver<ReplyBody>, Disconnect> {
    let join = read(request, message);
    let suffix = random_uuid().inner().to_string();
    let group_id = join.group_id.clone();
    Ok(match request.group(Operation::Read, &group_id) {
        Ok(group) => group.join(join, &suffix),
        Err(error) => {
            let member_id = join.member_id;
            crate::handlers::at_once(ReplyBody::Join(Err(JoinRefused { error, member_id })))
        }
    })
}

pub async fn finish(
    request: &Request,
    answered: Receiver<ReplyBody>,
) -> Result<Option<JoinGroupResponseData>, Disconnect> {
    let Ok(ReplyBody::Join(reply)) = answered.recv().await else {
        return Err(Disconnect::ShuttingDown);
    };
    Ok(Some(respond(reply, request.version())))
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
        // Copied, since the group keeps the metadata and must not keep the whole request alive.
        metadata: Bytes::copy_from_slice(&protocol.metadata),
    });
    JoinRequest {
        group_id: message.group_id.to_string(),
        member_id: message.member_id.to_string(),
        group_instance_id: message.group_instance_id.map(|id| id.to_string()),
        client_id: request.client_id().to_owned(),
        client_host: format!("/{}", request.remote_ip()),
        session_timeout_ms: message.session_timeout_ms,
        rebalance_timeout_ms,
        protocol_type: message.protocol_type.to_string(),
        protocols: protocols.collect(),
        requires_known_member_id: version >= FIRST_VERSION_WITH_KNOWN_MEMBER_IDS,
        supports_skipping_assignment: version >= FIRST_VERSION_WITH_SKIPPED_ASSIGNMENT,
    }
}

fn respond(reply: JoinReply, version: i16) -> JoinGroupResponseData {
    // Earlier versions have no null.
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

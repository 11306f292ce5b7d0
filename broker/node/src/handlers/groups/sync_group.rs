//! SyncGroup (key 14): the leader sends the assignment, and the other members wait for it.

use async_channel::Receiver;
use sedge_core::groups::{ReplyBody, SyncRequest};
use sedge_core::security::Operation;
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::sync_group_request::SyncGroupRequestData;
use sedge_protocol::kafka::generated::sync_group_response::SyncGroupResponseData;
use sedge_protocol::{Bytes, ErrorCode};

use crate::handlers::Request;
use crate::net::service::Disconnect;

const FIRST_VERSION_WITH_PROTOCOL: i16 = 5;

pub async fn start(
    request: &Request,
    message: SyncGroupRequestData,
) -> Result<Receiver<ReplyBody>, Disconnect> {
    // KIP-559: the member tells which protocol it was told, and the coordinator compares.
    let is_told = message.protocol_type.is_some() && message.protocol_name.is_some();
    if request.version() >= FIRST_VERSION_WITH_PROTOCOL && !is_told {
        let error = ErrorCode::InconsistentGroupProtocol;
        return Ok(crate::handlers::at_once(ReplyBody::Sync(Err(error))));
    }
    let assignments = message.assignments.into_iter();
    let sync = SyncRequest {
        group_id: message.group_id.to_string(),
        generation_id: message.generation_id,
        member_id: message.member_id.to_string(),
        group_instance_id: message.group_instance_id.map(|id| id.to_string()),
        protocol_type: message.protocol_type.map(|name| name.to_string()),
        protocol_name: message.protocol_name.map(|name| name.to_string()),
        assignments: assignments
            // Copied, since the group keeps the assignment and must not keep the whole request
            // alive.
            .map(|one| {
                (
                    one.member_id.to_string(),
                    Bytes::copy_from_slice(&one.assignment),
                )
            })
            .collect(),
    };
    let group_id = sync.group_id.clone();
    Ok(match request.group(Operation::Read, &group_id) {
        Ok(group) => group.sync(sync),
        Err(error) => crate::handlers::at_once(ReplyBody::Sync(Err(error))),
    })
}

pub async fn finish(
    _: &Request,
    answered: Receiver<ReplyBody>,
) -> Result<Option<SyncGroupResponseData>, Disconnect> {
    let Ok(ReplyBody::Sync(reply)) = answered.recv().await else {
        return Err(Disconnect::ShuttingDown);
    };
    let response = SyncGroupResponseData::default();
    Ok(Some(match reply {
        Err(error) => response.with_error_code(error.code()),
        Ok(synced) => response
            .with_protocol_type(synced.protocol_type.map(KafkaString::from))
            .with_protocol_name(synced.protocol_name.map(KafkaString::from))
            .with_assignment(synced.assignment),
    }))
}

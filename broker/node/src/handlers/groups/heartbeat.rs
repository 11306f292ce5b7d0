//! Heartbeat (key 12): keeps the member's session alive and tells it when the group rebalances.

use sedge_core::groups::HeartbeatRequest;
use sedge_core::security::Operation;
use sedge_protocol::kafka::generated::heartbeat_request::HeartbeatRequestData;
use sedge_protocol::kafka::generated::heartbeat_response::HeartbeatResponseData;

use crate::handlers::Request;

pub async fn handle(request: &Request, message: HeartbeatRequestData) -> HeartbeatResponseData {
    let heartbeat = HeartbeatRequest {
        group_id: message.group_id.to_string(),
        generation_id: message.generation_id,
        member_id: message.member_id.to_string(),
        group_instance_id: message.group_instance_id.map(|id| id.to_string()),
    };
    let now = request.now();
    let beat = request
        .group(Operation::Read, &heartbeat.group_id)
        .and_then(|group| group.with(|machine| machine.handle_heartbeat(now, &heartbeat)));
    HeartbeatResponseData::default().with_error_code(crate::handlers::code_of(beat))
}

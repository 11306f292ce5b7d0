//! Heartbeat (key 12): a member is alive, and hears whether its group goes round.

use sedge_core::groups::HeartbeatRequest;
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::generated::heartbeat_request::HeartbeatRequestData;
use sedge_protocol::kafka::generated::heartbeat_response::HeartbeatResponseData;

use super::Request;

pub async fn handle(request: &Request, message: HeartbeatRequestData) -> HeartbeatResponseData {
    let heartbeat = HeartbeatRequest {
        group_id: message.group_id.to_string(),
        generation_id: message.generation_id,
        member_id: message.member_id.to_string(),
        group_instance_id: message.group_instance_id.map(|id| id.to_string()),
    };
    let now = request.broker.log.clock.now();
    let beat = request
        .broker
        .groups
        .with(|machine| machine.handle_heartbeat(now, &heartbeat));
    HeartbeatResponseData::default().with_error_code(beat.err().unwrap_or(ErrorCode::None).code())
}

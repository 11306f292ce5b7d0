//! PushTelemetry (key 72): takes the metrics of a client, which `/metrics` shows.

use sedge_core::telemetry::Push;
use sedge_protocol::kafka::generated::push_telemetry_request::PushTelemetryRequestData;
use sedge_protocol::kafka::generated::push_telemetry_response::PushTelemetryResponseData;

use crate::handlers::{Request, code_of};

pub async fn handle(
    request: &Request,
    message: PushTelemetryRequestData,
) -> PushTelemetryResponseData {
    let push = Push {
        subscription_id: message.subscription_id,
        is_terminating: message.terminating,
        compression_type: message.compression_type,
        bytes: message.metrics.len(),
    };
    let taken = request
        .take_telemetry(message.client_instance_id, push, message.metrics)
        .await;
    PushTelemetryResponseData::default().with_error_code(code_of(taken))
}

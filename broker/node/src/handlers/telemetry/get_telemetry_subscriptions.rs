//! GetTelemetrySubscriptions (key 71): tells a client which of its metrics to push, and how often.

use sedge_core::telemetry::{COMPRESSION_TYPES, TELEMETRY_BYTES_MAX};
use sedge_protocol::kafka::generated::get_telemetry_subscriptions_request::GetTelemetrySubscriptionsRequestData;
use sedge_protocol::kafka::generated::get_telemetry_subscriptions_response::GetTelemetrySubscriptionsResponseData;
use sedge_protocol::kafka::{KafkaString, KafkaUuid};

use crate::handlers::Request;
use crate::process::random::random_uuid;

pub async fn handle(
    request: &Request,
    message: GetTelemetrySubscriptionsRequestData,
) -> GetTelemetrySubscriptionsResponseData {
    // A client that has no id gets one.
    let id = match message.client_instance_id {
        KafkaUuid::ZERO => random_uuid(),
        id => id,
    };
    let response = GetTelemetrySubscriptionsResponseData::default();
    match request.telemetry_subscription(id) {
        Ok(granted) => response
            .with_client_instance_id(id)
            .with_subscription_id(granted.subscription_id)
            .with_accepted_compression_types(COMPRESSION_TYPES.to_vec())
            .with_push_interval_ms(granted.interval_ms)
            .with_telemetry_max_bytes(TELEMETRY_BYTES_MAX as i32)
            .with_delta_temporality(true)
            .with_requested_metrics(granted.metrics.into_iter().map(KafkaString::from).collect()),
        Err(error) => response.with_error_code(error.code()),
    }
}

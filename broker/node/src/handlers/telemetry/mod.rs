//! Handlers about the metrics that clients push (KIP-714).

pub mod get_telemetry_subscriptions;
pub mod push_telemetry;

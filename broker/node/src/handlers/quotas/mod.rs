//! Handlers that describe and change client quotas (KIP-546).

pub mod alter_client_quotas;
pub mod describe_client_quotas;

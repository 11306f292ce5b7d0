//! Handlers that describe and change users' SCRAM credentials.

pub mod alter_user_scram_credentials;
pub mod describe_user_scram_credentials;

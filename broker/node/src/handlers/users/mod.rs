//! Users: what proves their passwords.

pub mod alter_user_scram_credentials;
pub mod describe_user_scram_credentials;

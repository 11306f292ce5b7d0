//! Tests SASL: real clients with each mechanism, adding and removing users, and hostile clients.

#[path = "sasl/clients.rs"]
mod clients;
#[path = "sasl/hostile.rs"]
mod hostile;
#[path = "sasl/oauth.rs"]
mod oauth;
#[path = "sasl/sessions.rs"]
mod sessions;
#[path = "sasl/support.rs"]
mod support;
#[path = "sasl/tokens.rs"]
mod tokens;
#[path = "sasl/users.rs"]
mod users;

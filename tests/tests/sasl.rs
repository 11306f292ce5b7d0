//! Tests SASL: real clients with each mechanism, adding and removing users, and hostile clients.

#[path = "sasl/clients.rs"]
mod clients;
#[path = "sasl/hostile.rs"]
mod hostile;
#[path = "sasl/sessions.rs"]
mod sessions;
#[path = "sasl/support.rs"]
mod support;
#[path = "sasl/users.rs"]
mod users;

//! SASL: real clients by each mechanism, users that come and go, and clients that are not polite.

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

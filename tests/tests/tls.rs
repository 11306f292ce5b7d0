//! TLS: real clients over it, certificates that are wrong in each way, files that change, and the
//! mirror.

#[path = "tls/bad_input.rs"]
mod bad_input;
#[path = "tls/certificates.rs"]
mod certificates;
#[path = "tls/clients.rs"]
mod clients;
#[path = "tls/mirror.rs"]
mod mirror;
#[path = "tls/support.rs"]
mod support;

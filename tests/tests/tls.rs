//! TLS with real clients: invalid certificates, malformed handshakes, reloaded files, and the
//! mirror.

#[path = "tls/bad_input.rs"]
mod bad_input;
#[path = "tls/certificates.rs"]
mod certificates;
#[path = "tls/clients.rs"]
mod clients;
#[path = "tls/console.rs"]
mod console;
#[path = "tls/device.rs"]
mod device;
#[path = "tls/handshakes.rs"]
mod handshakes;
#[path = "tls/mirror.rs"]
mod mirror;
#[path = "tls/mirror_rights.rs"]
mod mirror_rights;
#[path = "tls/support.rs"]
mod support;

//! The node: composes everything around the decisions into the process `sedge`.
//!
//! It is a library only so that its modules are tested and linted as a whole; only the binary
//! imports it. The process starts in `cli`; `config` reads its configuration; `console` and
//! `metrics` report on it.

pub mod broker;
pub mod cli;
pub mod client;
pub mod config;
pub mod console;
pub mod coordinator;
mod fetching;
pub mod gateway;
pub mod handlers;
pub mod limits;
pub mod log;
pub mod metadata;
pub mod metrics;
pub mod mirror;
pub mod net;
pub mod oauth;
pub mod plugins;
pub mod process;
pub mod serve;
#[cfg(test)]
mod test_broker;
pub mod tls;
pub mod upkeep;
pub mod writer;

/// The version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

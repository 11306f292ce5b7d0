//! The node: everything around the decisions, composed into the process `sedge`.
//!
//! A library only so that its modules are tested and linted as a whole; nothing imports it but the
//! binary. `cli` is where the process starts, `config` what it was told, `console` and `metrics`
//! what it says about itself.

pub mod broker;
pub mod cli;
pub mod client;
pub mod config;
pub mod console;
pub mod coordinator;
pub mod demo;
mod fetching;
pub mod handlers;
pub mod limits;
pub mod log;
pub mod logging;
pub mod metadata;
pub mod metrics;
pub mod mirror;
pub mod net;
pub mod plugins;
pub mod process;
pub mod serve;
#[cfg(test)]
mod test_broker;
pub mod upkeep;
pub mod writer;

/// The version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

//! The node: everything around the decisions, composed into the process `sedge`.
//!
//! A library only so that its modules are tested and linted as a whole; nothing imports it but the
//! binary. `cli` is where the process starts, `config` what it was told, `console` and `metrics`
//! what it says about itself.

pub mod broker;
pub mod cleaner;
pub mod cli;
pub mod client;
pub mod config;
pub mod console;
pub mod coordinator;
pub mod demo;
pub mod descriptors;
mod disk_work;
pub mod exit;
pub mod failure;
mod fetching;
pub mod handlers;
pub mod inspection;
pub mod limits;
pub mod log;
pub mod logging;
pub mod metadata_log;
pub mod metadata_repair;
pub mod metadata_replay;
pub mod metadata_snapshot;
pub mod metrics;
pub mod mirror;
pub mod net;
pub mod openers;
pub mod output;
pub mod plugin_topic;
pub mod plugins;
pub mod process;
pub mod producer_ids;
pub mod random;
pub mod runtime;
pub mod serve;
pub mod signals;
pub mod start;
pub mod status;
#[cfg(test)]
mod test_broker;
pub mod told;
pub mod upkeep;
pub mod writer;

/// The version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

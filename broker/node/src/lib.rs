//! The node: everything around the decisions, composed into the process `sedge`.
//!
//! A library only so that its modules are tested and linted as a whole; nothing imports it but the
//! binary. `cli` is where the process starts, `config` what it was told, `console` and `metrics`
//! what it says about itself.

pub mod cli;
pub mod client;
pub mod config;
pub mod console;
pub mod logging;
pub mod metrics;
pub mod process;
pub mod serve;
pub mod signals;

//! Write a sedge plugin in Rust: implement [`Filter`], [`Partitioner`] or [`QuotaPolicy`], and name
//! it in [`filter!`], [`partitioner!`] or [`quota_policy!`].
//!
//! ```ignore
//! #![no_std]
//! use sedge_plugin_sdk::{Config, Filter, Record, String, Verdict, filter};
//!
//! struct DropTombstones;
//!
//! impl Filter for DropTombstones {
//!     fn configure(_: &Config) -> Result<Self, String> {
//!         Ok(Self)
//!     }
//!     fn filter(&mut self, record: &Record<'_>) -> Verdict {
//!         if record.value().is_some() { Verdict::Keep } else { Verdict::Drop }
//!     }
//! }
//!
//! filter!(DropTombstones);
//! ```
//!
//! The SDK hides `wit/plugin.wit`: records are read in place from flat bytes, and verdicts are
//! returned in the cheapest form that expresses them. A guest is built without `std`; one that
//! needs it turns the feature `runtime` off and says `[package.metadata.sedge] std = true`.
#![no_std]

extern crate alloc;

mod batch;
mod config;
mod filter;
pub mod json;
pub mod metrics;
mod murmur2;
mod partitioner;
mod quota;
mod records;
mod running;
#[cfg(all(target_arch = "wasm32", feature = "runtime"))]
mod runtime;

pub use alloc::{borrow::ToOwned, format, string::String, vec, vec::Vec};

pub use batch::{Batch, Record, Stage};
pub use config::Config;
pub use filter::{Field, Filter, Needs, Verdict};
pub use murmur2::{kafka_partition, murmur2};
pub use partitioner::Partitioner;
#[doc(hidden)]
pub use partitioner::needs_of;
pub use quota::{Grant, Operation, QuotaPolicy, Request};
pub use records::{Fields, Header, Headers};

/// The bindings that `wit-bindgen` generates from `wit/` for a filter, for plugins that want the
/// bare interface.
#[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "record-filter",
        pub_export_macro: true,
        default_bindings_module: "sedge_plugin_sdk::bindings",
    });
}

/// The bindings for a partitioner.
pub use sedge_plugin_partitioner_bindings as partitioner_bindings;
/// The bindings for a quota policy.
pub use sedge_plugin_quota_bindings as quota_bindings;

#[doc(hidden)]
pub use running::Running;

/// Lines in the broker's log, which truncates long ones and drops those above its rate limit.
pub mod log {
    use crate::bindings::sedge::plugin::log::{Level, log};

    /// Logs an error that needs action.
    pub fn error(message: &str) {
        log(Level::Error, message);
    }

    /// Logs a problem that does not stop the plugin.
    pub fn warn(message: &str) {
        log(Level::Warn, message);
    }

    /// Logs a change of state.
    pub fn info(message: &str) {
        log(Level::Info, message);
    }

    /// Logs details for debugging.
    pub fn debug(message: &str) {
        log(Level::Debug, message);
    }
}

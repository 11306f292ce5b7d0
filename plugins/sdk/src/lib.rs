//! Write a sedge plugin in Rust. A filter can be a function with the attribute [`macro@filter_fn`]:
//!
//! ```
//! use sedge_plugin_sdk::{Record, Verdict, filter_fn};
//!
//! #[filter_fn]
//! fn drop_tombstones(record: &Record<'_>) -> Verdict {
//!     if record.value().is_some() { Verdict::Keep } else { Verdict::Drop }
//! }
//! ```
//!
//! A filter that reads its settings once, refuses wrong ones or keeps something in memory
//! implements [`Filter`] and is named in [`filter!`]:
//!
//! ```
//! use sedge_plugin_sdk::{Config, Filter, Record, String, Verdict, filter};
//!
//! struct DropLong {
//!     bytes_max: usize,
//! }
//!
//! impl Filter for DropLong {
//!     fn configure(config: &Config) -> Result<Self, String> {
//!         Ok(Self { bytes_max: config.parse_or("bytes.max", 1024)? })
//!     }
//!     fn filter(&mut self, record: &Record<'_>) -> Verdict {
//!         let bytes = record.value().map_or(0, <[u8]>::len);
//!         if bytes > self.bytes_max { Verdict::Drop } else { Verdict::Keep }
//!     }
//! }
//!
//! filter!(DropLong);
//! ```
//!
//! Partitioners ([`Partitioner`], [`partitioner!`]) and quota policies ([`QuotaPolicy`],
//! [`quota_policy!`]) are written in the same way:
//!
//! ```
//! use sedge_plugin_sdk::{Config, Grant, QuotaPolicy, Request, String, quota_policy};
//!
//! struct RefuseHuge;
//!
//! impl QuotaPolicy for RefuseHuge {
//!     fn configure(_: &Config) -> Result<Self, String> {
//!         Ok(Self)
//!     }
//!     fn decide(&mut self, request: &Request) -> Grant {
//!         if request.bytes <= 1 << 20 {
//!             return Grant::Allow;
//!         }
//!         Grant::Reject("at most 1 MiB".into())
//!     }
//! }
//!
//! quota_policy!(RefuseHuge);
//! ```
//!
//! `sedge plugin new NAME` makes a project with this crate in it, and `sedge plugin build` builds
//! it. The crate of a plugin begins with `#![no_std]` (see below).
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
pub mod state;

pub use alloc::{borrow::ToOwned, boxed::Box, format, string::String, vec, vec::Vec};

pub use batch::{Batch, Client, Origin, Record, Stage};
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
        path: "wit",
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

/// Makes a filter of a function that takes a [`Record`], or a [`Record`] and the [`Config`], and
/// returns a [`Verdict`].
///
/// The filter reads the value of records; one that reads other fields names all of them:
///
/// ```
/// use sedge_plugin_sdk::{Config, Record, ToOwned, Verdict, filter_fn};
///
/// #[filter_fn(key, headers)]
/// fn keyed(record: &Record<'_>, config: &Config) -> Verdict {
///     let unit = config.get("unit").unwrap_or("C").as_bytes();
///     if record.key().is_none() {
///         return Verdict::Reject("a reading has a key".to_owned());
///     }
///     let mut headers = record.headers();
///     if headers.any(|header| header.value == Some(unit)) { Verdict::Keep } else { Verdict::Drop }
/// }
/// ```
pub use sedge_plugin_macros::filter_fn;

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

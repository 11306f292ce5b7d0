//! Makes every decision of the broker and does no I/O: state machines that take time, randomness
//! and bytes as input and return what to do.
//!
//! **Invariant:** no clock, no thread, no file, no random source; with `no_std` they do not
//! compile.

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod backoff;
pub mod base64;
pub mod cleaner;
pub mod clock;
pub mod config;
pub mod disk_cap;
pub mod fetch;
pub mod groups;
pub mod limits;
pub mod log;
pub mod machine;
pub mod metadata;
pub mod mirror;
pub mod offsets;
pub mod partitioner;
pub mod principal_mapping;
pub mod quota;
pub mod retention;
pub mod security;
pub mod security_protocol;
pub mod shard;
pub mod telemetry;
pub mod transactions;
pub mod wear;
pub mod x509;

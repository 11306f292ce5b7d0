//! Kafka's bytes to messages and back.
//!
//! Messages and their codecs are `kacrab-protocol`'s, re-exported as [`kafka`]; here are the
//! newtypes, the record-batch header, what this broker answers to, and the limits on what a frame
//! may ask for.

pub mod api;
pub mod batch;
pub mod coordinator;
pub mod error;
pub mod fetch;
pub mod frame;
pub mod ids;
pub mod limits;
pub mod metadata_records;
pub mod plugin_records;
pub mod records;
pub mod snapshot_records;
pub mod wire;

pub use bytes::{Bytes, BytesMut};
pub use error::{Error, Result};
pub use kacrab_protocol as kafka;
pub use kacrab_protocol::generated::{ApiKey, ErrorCode};

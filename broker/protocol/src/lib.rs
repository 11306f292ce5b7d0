//! Decodes Kafka's bytes into messages and encodes them back.
//!
//! Messages and their codecs come from `kacrab-protocol`, re-exported as [`kafka`]. This crate adds
//! the newtypes, the record-batch header, the table of answered requests, and the limits on what a
//! frame may ask for.

pub mod api;
pub mod batch;
pub mod coordinator;
pub mod error;
pub mod fetch;
pub mod frame;
pub mod gateway_records;
pub mod ids;
pub mod limits;
pub mod metadata_records;
pub mod offset_map_records;
pub mod otlp;
pub mod parts;
pub mod plugin_records;
pub mod produce;
pub mod records;
pub mod snapshot_records;
pub mod state_records;
pub mod transaction_records;
pub mod wire;

pub use bytes::{Bytes, BytesMut};
pub use error::{Error, Result};
pub use kacrab_protocol as kafka;
pub use kacrab_protocol::generated::{ApiKey, ErrorCode};

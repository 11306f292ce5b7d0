//! A small Kafka client: what the mirror, the command line and the demo speak to brokers with, ours
//! or another vendor's from Kafka 2.1 on.
//!
//! It is a *request* client: typed requests, one connection a broker with requests in flight on it,
//! versions negotiated, metadata kept and refreshed, retries with backoff. It is not a consumer (no
//! groups joined, no fetch sessions) and does not batch records: callers bring whole batches.
//!
//! | module | what |
//! | --- | --- |
//! | `config` | [`ClientConfig`], from Kafka's own client keys |
//! | `transport` | a connected byte stream; the place where TLS comes in |
//! | `connection` | one broker: handshake, requests in flight, answers matched, time limits |
//! | `versions` | what that broker speaks |
//! | `request` | the messages this client sends, and the versions it stays within |
//! | `cluster` | [`Client`]: metadata, a connection a broker, whom to ask and when to ask again |
//! | `topics`, `groups`, `records`, `plugins` | the calls themselves |
//!
//! **Invariant:** nothing is allocated for a length off the wire before it is checked against
//! `receive.message.max.bytes`, and no request waits longer than its time limit.
//! **Invariant:** requests started on one connection leave in the order they were started in.

pub mod cluster;
pub mod config;
pub mod connection;
pub mod error;
pub mod groups;
pub mod limits;
pub mod plugins;
pub mod records;
pub mod request;
pub mod topics;
pub mod transport;
pub mod versions;

#[cfg(test)]
mod tests;

pub use cluster::{Client, Endpoint, Metadata, PartitionMetadata, TopicMetadata};
pub use config::ClientConfig;
pub use error::Error;

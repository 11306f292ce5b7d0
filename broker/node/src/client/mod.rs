//! A small Kafka client, with which the mirror, the command line and the demo speak to brokers:
//! sedge's, or another vendor's from Kafka 2.1 on.
//!
//! It is a *request* client: typed requests, one connection per broker with requests in flight on
//! it, negotiated versions, cached and refreshed metadata, retries with backoff. It is not a
//! consumer (it joins no groups and has no fetch sessions) and does not batch records: callers
//! bring whole batches.
//!
//! | module | contents |
//! | --- | --- |
//! | `config` | [`ClientConfig`], from Kafka's own client keys |
//! | `transport`, `address` | a connected byte stream, with TLS or without |
//! | `http_proxy` | a way to a broker through a proxy |
//! | `handshake`, `sasl` | the first requests: negotiation of versions, and the login |
//! | `connection`, `frame` | one broker: requests in flight, answers matched, time limits |
//! | `versions` | the versions that a broker speaks |
//! | `request` | the messages that this client sends, and their version limits |
//! | `cluster` | [`Client`]: metadata, a connection per broker, choice of the broker, retries |
//! | `topics`, `groups`, `records`, `transactions`, `plugins` | the calls themselves |
//!
//! **Invariant:** a length off the wire is checked against `receive.message.max.bytes` before
//! memory is allocated for it, and no request waits longer than its time limit.
//! **Invariant:** requests started on one connection are sent in the order in which they were
//! started.

mod address;
pub mod cluster;
pub mod config;
pub mod connection;
pub mod error;
pub mod fetches;
mod frame;
pub mod groups;
mod handshake;
mod http_proxy;
pub mod limits;
pub mod plugins;
pub mod records;
pub mod request;
pub mod sasl;
pub mod topics;
pub mod transactions;
pub mod transport;
pub mod versions;

#[cfg(test)]
mod tests;

pub use cluster::{Client, Endpoint, Metadata, PartitionMetadata, TopicMetadata};
pub use config::ClientConfig;
pub use error::Error;

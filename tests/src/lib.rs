//! The harness of the acceptance tests: real brokers, real clients, real disks, links that can be
//! cut.
//!
//! The harness knows the broker only from outside, by its command line, its ready line and the
//! Kafka protocol. It encodes the protocol itself ([`wire`]), so that a mistake in the broker's
//! protocol crate cannot hide itself.
//!
//! - **Invariant:** everything that is started here ends with the value that started it, also in a
//!   panic.
//! - **Invariant:** every wait is for a condition, bounded by a limit, and a wait that fails shows
//!   the end of the logs concerned.

pub mod apache_kafka;
pub mod bench;
pub mod broker;
pub mod client;
pub mod committed;
pub mod device;
pub mod flood;
pub mod http;
pub mod kafka_tools;
pub mod limits;
pub mod link;
pub mod metrics;
pub mod mirror_maker;
pub mod narrow;
pub mod noisy;
pub mod plugin;
pub mod ports;
pub mod power_cut;
pub mod proc;
pub mod process;
pub mod proxy;
pub mod report;
pub mod scale;
pub mod sedge;
pub mod segments;
pub mod small_disk;
pub mod soak;
pub mod temp_dir;
pub mod tls;
pub mod tools;
pub mod wall_clock;
pub mod wire;

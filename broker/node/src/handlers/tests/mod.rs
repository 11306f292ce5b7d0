//! Tests the handlers through the table, without a process.

mod client;
mod cluster;
mod configs;
mod consumer_groups;
mod groups;
mod needs;
mod partitioned;
mod quotas;
mod records;
mod table;
mod telemetry;
mod tokens;
mod topics;

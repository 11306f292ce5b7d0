//! Bytes that no good client sends, and directories and settings that a broker must refuse. After each
//! the broker still serves, and its memory is bounded.
//!
//! `SEDGE_TEST_BROKER=kafka` runs what concerns the protocol against Apache Kafka, whose answers they are.

#![allow(
    clippy::print_stdout,
    reason = "a test that the machine does not permit says so"
)]

mod refused_start;
mod support;
mod wrong_batches;
mod wrong_disk;
mod wrong_frames;

//! Tests bytes that no correct client sends, and directories and settings that a broker must
//! refuse. After each, the broker still serves clients, and its memory is bounded.
//!
//! `SEDGE_TEST_BROKER=kafka` runs the protocol tests against Apache Kafka, which defines the
//! expected answers.

#[path = "bad_input/idle_connections.rs"]
mod idle_connections;
#[path = "bad_input/refused_start.rs"]
mod refused_start;
#[path = "bad_input/support.rs"]
mod support;
#[path = "bad_input/versions.rs"]
mod versions;
#[path = "bad_input/wrong_batches.rs"]
mod wrong_batches;
#[path = "bad_input/wrong_disk.rs"]
mod wrong_disk;
#[path = "bad_input/wrong_frames.rs"]
mod wrong_frames;

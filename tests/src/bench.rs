//! Shared by the benchmarks: a load generator that costs little, and figures with their spread.
//!
//! The load runs on the same machine as the broker, so it sends requests that were encoded once and
//! reads only the necessary parts of the replies.

mod figures;
mod load;
mod peers;
mod updates;

pub mod acls;
mod beside_cleaner;
pub mod catch_up;
pub mod compaction;
pub mod connections;
pub mod fetch_filter;
pub mod group_memory;
pub mod groups;
pub mod memory;
pub mod metadata;
pub mod mirror;
pub mod mirror_maker;
pub mod mirror_memory;
pub mod mirror_narrow;
pub mod plugins;
pub mod quotas;
pub mod rebalance;
pub mod retention;
pub mod sasl;
pub mod scale;
pub mod start;
pub mod tails;
pub mod throughput;
pub mod tls;
pub mod transactions;
pub mod validation;
pub mod write_amplification;

pub use figures::Spread;
pub use load::{Load, Outcome, Secured};
pub use peers::Peer;

use std::process::Command;

use crate::broker::is_kafka;
use crate::process::Process;
use crate::{limits, tools};

/// Returns the commit, the machine and the measured broker, for the head of every table.
pub fn heading() -> String {
    let mut git = Command::new("git");
    git.current_dir(tools::root())
        .args(["describe", "--always", "--dirty", "--exclude=*"]);
    let commit = Process::run("git", &mut git, b"", limits::COMMAND).stdout;
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find(|line| line.starts_with("model name"));
    let model = model
        .and_then(|line| line.split(':').nth(1))
        .unwrap_or("unknown")
        .trim();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let broker = if is_kafka() {
        "a second Apache Kafka".into()
    } else {
        tools::sedge()
    };
    format!(
        "commit {}, {cores} cores of {model}, {}",
        commit.trim(),
        broker.display()
    )
}

//! `bench memory`: measures resident memory, idle, with a hundred partitions.

use std::fmt::Write as _;
use std::time::Duration;

use crate::bench::Peer;
use crate::proc;
use crate::temp_dir::TempDir;
use crate::wire::{self, Connection};

const PARTITIONS: i32 = 100;
/// Interval between two readings, until two readings agree.
const SETTLE: Duration = Duration::from_secs(2);
const LOOKS_MAX: usize = 30;
const AGREE_KIB: u64 = 64;

/// Creates the partitions, writes a record to each, restarts, and waits until the figure is steady.
pub fn run(with_kafka: bool) -> String {
    let directory = TempDir::new("bench-memory");
    let mut text = String::new();
    let mut peers = vec![Peer::sedge(directory.path(), "sync")];
    if with_kafka {
        peers.push(Peer::kafka(directory.path()));
    }
    for mut peer in peers {
        let pid = peer.pid();
        let empty = settled(pid);
        {
            let mut connection = Connection::open(&peer.bootstrap());
            wire::create_topic(&mut connection, "idle", PARTITIONS, &[]);
            for partition in 0..PARTITIONS {
                wire::wait_leader(&mut connection, "idle", partition);
            }
        }
        let used = settled(pid);
        writeln!(
            text,
            "{}: {:.1} MiB resident empty, {:.1} MiB with {PARTITIONS} partitions of a record each",
            peer.name(),
            empty as f64 / 1024.0,
            used as f64 / 1024.0
        )
        .expect("a String takes everything");
    }
    text
}

/// Returns the resident memory in KiB once it is steady.
pub(super) fn settled(pid: u32) -> u64 {
    let mut last = proc::resident_kib(pid);
    for _ in 0..LOOKS_MAX {
        std::thread::sleep(SETTLE);
        let now = proc::resident_kib(pid);
        if now.abs_diff(last) < AGREE_KIB {
            return now;
        }
        last = now;
    }
    last
}

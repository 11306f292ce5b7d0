//! A hot swap under load: the longest request while versions of a filter are deployed in turn, and
//! without a swap. A refused request ends the benchmark.

use std::thread;
use std::time::Duration;

use super::{Plan, Table, paced};
use crate::bench::{Peer, Spread};
use crate::plugin;
use crate::temp_dir::TempDir;
use crate::wire::{self, Connection};

/// Deployments of a round.
const SWAPS: usize = 5;

pub(super) fn run(plan: &Plan, directory: &TempDir, table: &mut Table) {
    let peer = Peer::sedge(&directory.path().join("swap"), "interval");
    let at = peer.bootstrap();
    let versions = ["drop-out-of-range", "test-guests/peek"];
    let versions = versions.map(|name| plugin::build(name, directory.path()));
    plugin::deploy(&at, "swapped", &versions[0]);
    let mut connection = Connection::open(&at);
    wire::create_topic(&mut connection, "t", 1, &[("sedge.filter", "swapped")]);
    plugin::wait_taken(&mut connection, "t", b"warm");
    let (mut still, mut swapped) = (Spread::default(), Spread::default());
    for _ in 0..plan.rounds {
        let time = Duration::from_secs(plan.seconds);
        let mut alone = paced::beside(&at, "t", || thread::sleep(time));
        still.add(alone.latency_ms(100.0));
        let mut beside = paced::beside(&at, "t", || {
            for version in versions.iter().cycle().skip(1).take(SWAPS) {
                plugin::deploy(&at, "swapped", version);
                thread::sleep(time / SWAPS as u32);
            }
        });
        swapped.add(beside.latency_ms(100.0));
    }
    table.row("ms, longest request without a swap", &still, 1, "-");
    table.row("ms, longest request with five swaps", &swapped, 1, "50");
}

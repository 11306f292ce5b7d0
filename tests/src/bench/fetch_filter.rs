//! `bench fetch-filter`: what a filter that keeps every record costs a fetch, beside no filter.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::bench::throughput::with_cpu;
use crate::bench::{Load, Peer, Spread};
use crate::temp_dir::TempDir;
use crate::wire::{self, Connection, error};
use crate::{limits, plugin};

/// Bytes to produce, and to fetch, in each cell; and the number of rounds.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub bytes: u64,
    pub rounds: usize,
}

/// Bytes of a batch and of a record.
const CELLS: [(usize, usize); 3] = [
    (16 << 10, 1 << 10),
    (64 << 10, 1 << 10),
    (512 << 10, 1 << 10),
];

/// Measures every cell and returns the table.
pub fn run(plan: Plan, progress: &dyn Fn(&str)) -> String {
    let directory = TempDir::new("bench-fetch-filter");
    let mut peer = Peer::sedge(directory.path(), "interval");
    let component = plugin::build("test-guests/peek", directory.path());
    plugin::deploy(&peer.bootstrap(), "peek", &component);
    let mut table = String::from("batch/record | no filter CPU s/GB | filter CPU s/GB | times\n");
    for (batch_bytes, record_bytes) in CELLS {
        let load = Load {
            bootstrap: peer.bootstrap(),
            topic: format!("t-{batch_bytes}"),
            partitions: 1,
            in_flight: 5,
            batch_bytes,
            record_bytes,
            tls: None,
        };
        load.create(&[]);
        let produced = load.produce(Duration::MAX, plan.bytes).bytes;
        rustix::fs::sync();
        load.fetch(1);
        let (mut plain, mut filtered) = (Spread::default(), Spread::default());
        for _ in 0..plan.rounds {
            for (filter, spread) in [("", &mut plain), ("peek", &mut filtered)] {
                let mut at = Connection::open(&load.bootstrap);
                wire::alter_topic(&mut at, &load.topic, ("sedge.filter.fetch", filter));
                wait_served(&mut at, &load.topic);
                let (fetched, cpu) = with_cpu(peer.pid(), || load.fetch(1));
                assert!(
                    fetched.bytes >= produced,
                    "{} of {produced} bytes are fetched with the filter {filter:?}",
                    fetched.bytes
                );
                spread.add(cpu / (fetched.bytes as f64 / 1e9));
            }
        }
        let row = format!(
            "{}K/{record_bytes} | {} | {} | {:.2}\n",
            batch_bytes >> 10,
            plain.show(2),
            filtered.show(2),
            filtered.median() / plain.median()
        );
        progress(&row);
        write!(table, "{row}").expect("a String takes everything");
        load.delete();
    }
    table
}

/// Waits until the filter is compiled.
fn wait_served(at: &mut Connection, topic: &str) {
    let deadline = Instant::now() + limits::CONDITION;
    while wire::fetch(at, topic, 0, 0).error != error::NONE {
        assert!(Instant::now() < deadline, "the filter is compiled");
    }
}

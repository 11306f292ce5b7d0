//! The whole way of a produce, with filters and without: the broker's processor time for each
//! record. The runs take turns, so that a busy machine is busy for all of them.

use std::time::Duration;

use super::{Plan, Table};
use crate::bench::throughput::with_cpu;
use crate::bench::{Load, Peer, Spread};
use crate::temp_dir::TempDir;
use crate::wire::{Batch, Connection};
use crate::{http, plugin};

const RECORDS: usize = 100;
const RECORD_BYTES: usize = 1 << 10;
/// Bytes after which the processor time of a run is a hundred times what the kernel counts in.
const BYTES_MAX: u64 = 4_000_000_000;

pub(super) fn run(plan: &Plan, directory: &TempDir, table: &mut Table) {
    let mut peer = Peer::sedge(directory.path(), "interval");
    for name in ["peek", "tally"] {
        let component = plugin::build(&format!("test-guests/{name}"), directory.path());
        plugin::deploy(&peer.bootstrap(), name, &component);
    }
    let records: Vec<_> = (0..RECORDS)
        .map(|n| {
            let key = format!("sensor-{n:04}").into_bytes();
            (key, Some(vec![n as u8; RECORD_BYTES]))
        })
        .collect();
    let batch = Batch::keyed(&records).encode();
    let mut nanos = [Spread::default(), Spread::default(), Spread::default()];
    let mut written = Spread::default();
    for _ in 0..plan.rounds {
        for (index, filter) in ["", "peek", "tally"].into_iter().enumerate() {
            let load = Load {
                bootstrap: peer.bootstrap(),
                topic: format!("produced-{index}"),
                partitions: 1,
                in_flight: 5,
                batch_bytes: batch.len(),
                record_bytes: RECORD_BYTES,
                tls: None,
            };
            load.create(&[("sedge.filter", filter)]);
            let mut at = Connection::open(&load.bootstrap);
            plugin::wait_taken(&mut at, &load.topic, b"warm");
            let time = Duration::from_secs(plan.seconds);
            let (produced, cpu) =
                with_cpu(peer.pid(), || load.produce_encoded(&batch, time, BYTES_MAX));
            let count = produced.requests * RECORDS as u64;
            nanos[index].add(cpu * 1e9 / count as f64);
            load.delete();
            rustix::fs::sync();
        }
    }
    let of = |family: &str| http::metric(peer.console(), &format!("{family}{{plugin=\"tally\"}}"));
    written.add(
        of("sedge_plugin_state_written_bytes_total") / of("sedge_plugin_state_changed_bytes_total"),
    );
    let [plain, peek, tally] = nanos;
    let added = |with: &Spread, to: &Spread| {
        let mut added = Spread::default();
        added.add(with.median() - to.median());
        added
    };
    table.row("ns a record, no filter", &plain, 0, "-");
    table.row("ns a record, 16 bytes are read", &peek, 0, "-");
    table.row("ns a record, a get and a put", &tally, 0, "-");
    table.row(
        "ns added by reading 16 bytes",
        &added(&peek, &plain),
        0,
        "120",
    );
    table.row(
        "ns added by a get and a put",
        &added(&tally, &peek),
        0,
        "300",
    );
    table.row("bytes written for a byte of state", &written, 2, "1.3");
}

//! `bench kafka`: compares produce and fetch with Apache Kafka, in one run, at the same durability.

use std::fmt::Write as _;
use std::time::Duration;

use crate::bench::{Load, Outcome, Peer, Secured, Spread};
use crate::proc;
use crate::temp_dir::TempDir;

/// The duration, and the number of rounds.
#[derive(Clone, Debug)]
pub struct Plan {
    pub rounds: usize,
    pub seconds: u64,
    pub warm_bytes: u64,
    /// Bytes after which a cell ends early.
    pub cell_bytes: u64,
    /// Bytes to fetch, in several passes if fewer were written: processor time is reported in
    /// hundredths of a second.
    pub fetch_bytes: u64,
    /// Partitions, each with a connection.
    pub partitions: i32,
    /// Only cells whose name contains this.
    pub cells: String,
    pub with_kafka: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            rounds: 3,
            seconds: 3,
            warm_bytes: 3_000_000_000,
            cell_bytes: 768 << 20,
            fetch_bytes: 1 << 30,
            partitions: PARTITIONS,
            cells: String::new(),
            with_kafka: true,
        }
    }
}

pub(super) const PARTITIONS: i32 = 4;
pub(super) const IN_FLIGHT: usize = 5;
const CELLS: [(usize, usize); 4] = [
    (16 << 10, 100),
    (16 << 10, 1 << 10),
    (64 << 10, 100),
    (64 << 10, 1 << 10),
];
const DURABILITIES: [&str; 2] = ["interval", "sync"];

pub(super) const HEAD: &str = "durability batch/record | broker | produce MB/s | CPU s/GB | p99 ms | \
                              p99.9 | worst | fetch MB/s | CPU s/GB\n";

/// All measurements of one broker in one cell.
#[derive(Debug, Default)]
pub(super) struct Column {
    produce_mb: Spread,
    produce_cpu: Spread,
    /// Latencies in milliseconds.
    produce_p99: Spread,
    produce_p999: Spread,
    produce_worst: Spread,
    fetch_mb: Spread,
    fetch_cpu: Spread,
}

/// Runs every cell and returns the table.
pub fn run(plan: &Plan, progress: &dyn Fn(&str)) -> String {
    let directory = TempDir::new("bench");
    let kafka = plan.with_kafka.then(|| Peer::kafka(directory.path()));
    let sedge = Peer::sedge(directory.path(), "interval");
    let mut peers: Vec<Peer> = kafka.into_iter().chain([sedge]).collect();
    for peer in &mut peers {
        progress(&format!(
            "warming {} with {} MB",
            peer.name(),
            plan.warm_bytes / 1_000_000
        ));
        warm(peer, None, plan.warm_bytes);
    }
    let mut table = String::from(HEAD);
    for durability in DURABILITIES {
        for (batch_bytes, record_bytes) in CELLS {
            let cell = format!("{durability} {}K/{record_bytes}", batch_bytes >> 10);
            if !cell.contains(&plan.cells) {
                continue;
            }
            let mut columns: Vec<Column> = peers.iter().map(|_| Column::default()).collect();
            for round in 0..plan.rounds {
                for (peer, column) in peers.iter_mut().zip(&mut columns) {
                    let load = Load {
                        bootstrap: peer.bootstrap(),
                        topic: format!("{durability}-{batch_bytes}-{record_bytes}-{round}"),
                        partitions: plan.partitions,
                        in_flight: IN_FLIGHT,
                        batch_bytes,
                        record_bytes,
                        tls: None,
                    };
                    measure(peer, &load, durability, plan, column);
                }
            }
            let rows = rows(&cell, &peers.iter().collect::<Vec<_>>(), &columns);
            progress(&rows);
            table.push_str(&rows);
        }
    }
    table
}

pub(super) fn warm(peer: &mut Peer, tls: Option<Secured>, bytes: u64) {
    let mut load = Load {
        bootstrap: peer.bootstrap(),
        topic: "warm".into(),
        partitions: PARTITIONS,
        in_flight: IN_FLIGHT,
        batch_bytes: 16 << 10,
        record_bytes: 1 << 10,
        tls,
    };
    // In pieces, each consumed and deleted, so that fetch is warm too and the disk does not fill
    // up.
    let mut left = bytes;
    let mut piece = 0;
    while left > 0 {
        load.topic = format!("warm-{piece}");
        load.create(&[]);
        left = left.saturating_sub(load.produce(Duration::MAX, left.min(500_000_000)).bytes);
        load.fetch(1);
        load.delete();
        piece += 1;
    }
    rustix::fs::sync();
}

pub(super) fn measure(
    peer: &mut Peer,
    load: &Load,
    durability: &str,
    plan: &Plan,
    column: &mut Column,
) {
    let pid = peer.pid();
    let configs: &[(&str, &str)] = if durability == "sync" {
        &[("flush.messages", "1")]
    } else {
        &[]
    };
    load.create(configs);
    let (mut produced, cpu) = with_cpu(pid, || {
        load.produce(Duration::from_secs(plan.seconds), plan.cell_bytes)
    });
    column.produce_mb.add(produced.mb_per_second());
    column.produce_cpu.add(cpu / (produced.bytes as f64 / 1e9));
    column.produce_p99.add(produced.latency_ms(99.0));
    column.produce_p999.add(produced.latency_ms(99.9));
    column.produce_worst.add(produced.latency_ms(100.0));
    // The fetch must not pay for writes that the produce left pending.
    rustix::fs::sync();
    let passes = plan.fetch_bytes.div_ceil(produced.bytes);
    let (fetched, cpu) = with_cpu(pid, || load.fetch(passes));
    assert!(
        fetched.bytes >= passes * produced.bytes,
        "all that was produced is fetched"
    );
    column.fetch_mb.add(fetched.mb_per_second());
    column.fetch_cpu.add(cpu / (fetched.bytes as f64 / 1e9));
    load.delete();
    // The next cell must not pay for pages of this one.
    rustix::fs::sync();
}

pub(super) fn with_cpu(pid: u32, run: impl FnOnce() -> Outcome) -> (Outcome, f64) {
    let before = proc::cpu(pid);
    let outcome = run();
    (outcome, proc::cpu(pid).saturating_sub(before).as_secs_f64())
}

/// The rows of a cell; with two brokers, Apache Kafka is the first.
pub(super) fn rows(cell: &str, peers: &[&Peer], columns: &[Column]) -> String {
    let mut text = String::new();
    for (peer, c) in peers.iter().zip(columns) {
        writeln!(
            text,
            "{cell} | {} | {} | {} | {} | {} | {} | {} | {}",
            peer.name(),
            c.produce_mb.show(0),
            c.produce_cpu.show(2),
            c.produce_p99.show(1),
            c.produce_p999.show(1),
            c.produce_worst.show(1),
            c.fetch_mb.show(0),
            c.fetch_cpu.show(2)
        )
        .expect("a String takes everything");
    }
    let [kafka, sedge] = columns else {
        return text;
    };
    let ratio = |a: &Spread, b: &Spread| a.median() / b.median();
    writeln!(
        text,
        "{cell} | sedge/kafka | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2}",
        ratio(&sedge.produce_mb, &kafka.produce_mb),
        ratio(&sedge.produce_cpu, &kafka.produce_cpu),
        ratio(&sedge.produce_p99, &kafka.produce_p99),
        ratio(&sedge.produce_p999, &kafka.produce_p999),
        ratio(&sedge.produce_worst, &kafka.produce_worst),
        ratio(&sedge.fetch_mb, &kafka.fetch_mb),
        ratio(&sedge.fetch_cpu, &kafka.fetch_cpu)
    )
    .expect("a String takes everything");
    text
}

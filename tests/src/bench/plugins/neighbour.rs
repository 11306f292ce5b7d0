//! A filter that never ends: how soon it is stopped, and what a topic beside it feels.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Plan, Table, paced};
use crate::bench::{Peer, Spread};
use crate::plugin;
use crate::temp_dir::TempDir;
use crate::wire::{self, Batch, Connection, error};

/// Least deadline that a plugin can have, ms.
const DEADLINE_MS: &str = "5";

pub(super) fn run(plan: &Plan, directory: &TempDir, table: &mut Table) {
    let component = plugin::build("test-guests/misbehave", directory.path());
    let start = |name: &str, settings: &[(&str, &str)]| {
        let peer = Peer::sedge_set(&directory.path().join(name), "interval", settings);
        let at = peer.bootstrap();
        plugin::deploy(&at, "endless", &component);
        let mut connection = Connection::open(&at);
        wire::create_topic(
            &mut connection,
            "endless",
            1,
            &[("sedge.filter", "endless")],
        );
        wire::create_topic(&mut connection, "beside", 1, &[]);
        plugin::wait_taken(&mut connection, "endless", b"keep");
        wire::wait_leader(&mut connection, "beside", 0);
        (peer, at)
    };
    let mut stopped = Spread::default();
    let (_peer, at) = start("stopped", &[("plugin.deadline.ms", DEADLINE_MS)]);
    let mut connection = Connection::open(&at);
    for _ in 0..plan.rounds * 10 {
        stopped.add(endless(&mut connection).as_secs_f64() * 1e3);
    }
    table.row(
        "ms until an endless loop is refused, deadline 5 ms",
        &stopped,
        1,
        "15",
    );

    let (_peer, at) = start("neighbour", &[]);
    let time = Duration::from_secs(plan.seconds);
    let (mut alone, mut beside) = (Spread::default(), Spread::default());
    for _ in 0..plan.rounds {
        let mut quiet = paced::beside(&at, "beside", || thread::sleep(time));
        alone.add(quiet.latency_ms(99.0));
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let (at, is_over) = (&at, &is_over);
            scope.spawn(move || {
                let mut connection = Connection::open(at);
                while !is_over.load(Ordering::Relaxed) {
                    endless(&mut connection);
                }
            });
            let mut loud = paced::beside(at, "beside", || thread::sleep(time));
            is_over.store(true, Ordering::Relaxed);
            beside.add(loud.latency_ms(99.0));
        });
    }
    table.row(
        "ms, p99 of a produce beside no endless loop",
        &alone,
        2,
        "-",
    );
    let bar = format!("{:.2}", alone.median() * 1.05);
    table.row(
        "ms, p99 of a produce beside an endless loop",
        &beside,
        2,
        &bar,
    );
}

/// Produces a record at which the filter loops. Returns the time of its refusal.
fn endless(at: &mut Connection) -> Duration {
    let batch = Batch::of(&[b"loop".to_vec()]).encode();
    let sent = Instant::now();
    let produced = wire::produce(at, "endless", 0, &batch);
    assert_ne!(produced.error, error::NONE, "{produced:?}");
    sent.elapsed()
}

//! Resident memory that bound plugins add to an idle broker.

use super::{Plan, Table};
use crate::bench::memory::settled;
use crate::bench::{Peer, Spread};
use crate::plugin;
use crate::temp_dir::TempDir;
use crate::wire::{self, Connection};

pub(super) fn run(_: &Plan, directory: &TempDir, table: &mut Table) {
    let mut peer = Peer::sedge(&directory.path().join("memory"), "sync");
    let at = peer.bootstrap();
    let mut connection = Connection::open(&at);
    let names = [
        "drop-out-of-range",
        "redact-json",
        "schema-check",
        "test-guests/peek",
    ];
    let components = names.map(|name| plugin::build(name, directory.path()));
    for index in 0..=names.len() {
        let topic = format!("t-{index}");
        wire::create_topic(&mut connection, &topic, 1, &[]);
        wire::wait_leader(&mut connection, &topic, 0);
    }
    let mut before = settled(peer.pid());
    for (index, (name, component)) in names.iter().zip(&components).enumerate() {
        let deployed = format!("plugin-{index}");
        plugin::deploy(&at, &deployed, component);
        let topic = format!("t-{index}");
        wire::alter_topic(&mut connection, &topic, ("sedge.filter", &deployed));
        if *name == "redact-json" {
            let key = format!("sedge.plugin.{deployed}.paths");
            wire::alter_topic(&mut connection, &topic, (&key, "email"));
        }
        if *name == "schema-check" {
            let key = format!("sedge.plugin.{deployed}.schema");
            wire::alter_topic(&mut connection, &topic, (&key, "{}"));
        }
        plugin::wait_taken(&mut connection, &topic, b"{}");
        let now = settled(peer.pid());
        let mut added = Spread::default();
        added.add(now.saturating_sub(before) as f64 / 1024.0);
        let (what, bar) = if index == 0 {
            ("with what runs all of them", "-")
        } else {
            ("a further plugin", "0.5")
        };
        table.row(&format!("MiB added by {name}, {what}"), &added, 2, bar);
        before = now;
    }
}

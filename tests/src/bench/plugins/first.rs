//! From `sedge plugin new` to a bound filter that drops its first record: a project of each
//! language, built from nothing but what the toolchain has downloaded.

use std::process::Command;
use std::time::Instant;

use super::{Plan, Table};
use crate::bench::{Peer, Spread};
use crate::process::Process;
use crate::temp_dir::TempDir;
use crate::wire::{self, Connection};
use crate::{limits, plugin, tools};

pub(super) fn run(plan: &Plan, directory: &TempDir, table: &mut Table) {
    let peer = Peer::sedge(&directory.path().join("first"), "interval");
    for lang in ["rust", "c", "js"] {
        let mut seconds = Spread::default();
        for round in 0..plan.rounds {
            let name = format!("first-{lang}-{round}");
            let began = Instant::now();
            let sedge = |arguments: &[&str]| {
                let mut command = Command::new(tools::sedge());
                command.arg("plugin").args(arguments);
                command.current_dir(directory.path());
                let done = Process::run("sedge plugin", &mut command, b"", limits::BUILD);
                tools::must(done, &format!("sedge plugin {}", arguments.join(" ")))
            };
            sedge(&["new", &name, "--lang", lang]);
            sedge(&["build", &name]);
            let component = directory.path().join(format!("{name}.wasm"));
            plugin::deploy(&peer.bootstrap(), &name, &component);
            let mut at = Connection::open(&peer.bootstrap());
            wire::create_topic(&mut at, &name, 1, &[("sedge.filter", &name)]);
            plugin::wait_taken(&mut at, &name, b"debug");
            seconds.add(began.elapsed().as_secs_f64());
            let left = wire::fetch(&mut at, &name, 0, 0).high_watermark;
            assert_eq!(left, 0, "{name} dropped the record");
        }
        let what = format!("s from plugin new to the first dropped record, {lang}");
        table.row(&what, &seconds, 1, "60");
    }
}

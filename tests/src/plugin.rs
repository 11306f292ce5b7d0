//! Builds, deploys and deletes plugins by the broker's own command line.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::process::Process;
use crate::wire::{self, Batch, Connection, error};
use crate::{limits, tools};

/// Builds `plugins/NAME` and returns the component.
pub fn build(name: &str, into: &Path) -> PathBuf {
    let file = name.rsplit('/').next().expect("rsplit gives one");
    let component = into.join(format!("{file}.wasm"));
    let mut build = Command::new(tools::sedge());
    build
        .args(["plugin", "build"])
        .arg(tools::root().join("plugins").join(name));
    build.arg("--output").arg(&component);
    tools::must(
        Process::run("sedge plugin build", &mut build, b"", limits::BUILD),
        "a build",
    );
    component
}

/// Deploys a component under `name`.
pub fn deploy(bootstrap: &str, name: &str, component: &Path) {
    let mut deploy = Command::new(tools::sedge());
    deploy.args(["plugin", "deploy", name]).arg(component);
    deploy.args(["--bootstrap-server", bootstrap]);
    tools::must(
        Process::run("sedge plugin deploy", &mut deploy, b"", limits::COMMAND),
        "a deploy",
    );
}

/// Deletes a plugin.
pub fn delete(bootstrap: &str, name: &str) {
    let mut delete = Command::new(tools::sedge());
    delete.args(["plugin", "delete", name]);
    delete.args(["--bootstrap-server", bootstrap]);
    tools::must(
        Process::run("sedge plugin delete", &mut delete, b"", limits::COMMAND),
        "taking a plugin away",
    );
}

/// Waits until the filter of `topic` is active. The reading that is sent is out of range, so that
/// it leaves no trace.
pub fn wait_filtered(connection: &mut Connection, topic: &str) {
    wait_taken(connection, topic, br#"{"sensor":"s0","celsius":999}"#);
}

/// Waits until `topic` accepts a record: its batches are refused until a deployed filter is
/// compiled.
pub fn wait_taken(connection: &mut Connection, topic: &str, value: &[u8]) {
    let reading = Batch::of(&[value.to_vec()]).encode();
    let deadline = Instant::now() + limits::CONDITION;
    loop {
        let produced = wire::produce(connection, topic, 0, &reading);
        match produced.error {
            error::NONE => return,
            error::NOT_ENOUGH_REPLICAS => {}
            _ => panic!("a reading for {topic}: {produced:?}"),
        }
        assert!(
            Instant::now() < deadline,
            "{topic} has no filter: {produced:?}"
        );
        std::thread::sleep(limits::POLL);
    }
}

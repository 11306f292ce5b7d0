//! `cargo xtask demo` and `cargo xtask bench`: build what they need, then hand over.

use std::process::Command;

use crate::{
    build::{self, Compiler, HOST_TRIPLE},
    error::Result,
    process,
    setup::{self, Purpose},
    target_file::Target,
    workspace::Workspace,
};

/// The plugin that the demo deploys, a folder of `plugins/`.
const EXAMPLE_PLUGIN: &str = "drop-out-of-range";

/// Builds the broker and the example plugin, and runs `sedge demo` with `arguments`.
pub fn demo(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    setup::run(workspace, Purpose::Demo)?;
    build::run(
        workspace,
        &Target::read(workspace, HOST_TRIPLE)?,
        Compiler::In,
    )?;
    let component = workspace
        .target
        .join("plugins")
        .join(format!("{EXAMPLE_PLUGIN}.wasm"));
    let source = workspace.root.join("plugins").join(EXAMPLE_PLUGIN);
    process::run(
        Command::new(workspace.broker())
            .args(["plugin", "build"])
            .arg(source)
            .arg("--output")
            .arg(&component),
    )?;
    Err(process::become_one(
        Command::new(workspace.broker())
            .arg("demo")
            .arg("--plugin")
            .arg(&component)
            .args(arguments),
    ))
}

/// Runs a benchmark of the tests crate against the release broker.
pub fn bench(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    setup::run(workspace, Purpose::Test)?;
    build::run(
        workspace,
        &Target::read(workspace, HOST_TRIPLE)?,
        Compiler::In,
    )?;
    let run = [
        "run",
        "--release",
        "--quiet",
        "--package",
        "sedge-tests",
        "--bin",
        "bench",
        "--",
    ];
    process::run(
        workspace
            .cargo(&run)
            .args(arguments)
            .env("SEDGE_BIN", workspace.broker())
            .env("SEDGE_TOOLS", &workspace.tools),
    )
}

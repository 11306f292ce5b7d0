//! `cargo xtask demo` and `cargo xtask bench`: build what the demo and the benchmarks need, then
//! run them.

use std::{process::Command, thread};

use crate::{
    build::{self, Compiler, HOST_TRIPLE},
    error::Result,
    process,
    setup::{self, Purpose, Std},
    stages::Stages,
    target_file::Target,
    workspace::Workspace,
};

/// The plugin that the demo deploys, a folder of `plugins/`.
const EXAMPLE_PLUGIN: &str = "drop-out-of-range";

/// Builds the broker and the example plugin, and runs `sedge demo` with `arguments`.
pub fn demo(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    println!(
        "The first start builds the broker, which takes some minutes on two cores; the next start \
         takes seconds."
    );
    let mut stages = Stages::default();
    let nothing = |(): &()| String::new();
    let setup = || setup::run(workspace, Purpose::Demo);
    stages.run("check the tools (1 of 3)", setup, nothing)?;
    let build = || {
        thread::scope(|scope| {
            scope.spawn(|| build_plugin_ahead(workspace));
            build::for_demo(workspace)
        })
    };
    let broker = stages.run("build the broker (2 of 3)", build, |_| String::new())?;
    let component = workspace
        .target
        .join("plugins")
        .join(format!("{EXAMPLE_PLUGIN}.wasm"));
    let source = workspace.root.join("plugins").join(EXAMPLE_PLUGIN);
    let plugin = || {
        process::run(
            Command::new(&broker)
                .args(["plugin", "build"])
                .arg(source)
                .arg("--output")
                .arg(&component),
        )
    };
    stages.run("build the example plugin (3 of 3)", plugin, nothing)?;
    println!("\n{stages}\n");
    Err(process::become_one(
        Command::new(&broker)
            .arg("demo")
            .arg("--plugin")
            .arg(&component)
            .args(arguments),
    ))
}

/// Compiles the example plugin's dependencies during the build of the broker, which does not always
/// keep two cores busy. `sedge plugin build` finds them; if this fails, that command reports why.
fn build_plugin_ahead(workspace: &Workspace) {
    let triple = "wasm32-unknown-unknown";
    if setup::find_std(triple) == Some(Std::Rustup) {
        let arguments = ["build", "--release", "--lib", "--target", triple];
        let folder = workspace.root.join("plugins").join(EXAMPLE_PLUGIN);
        process::succeeds(workspace.cargo(&arguments).current_dir(folder));
    }
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

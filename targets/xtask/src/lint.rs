//! Clippy on all code, with warnings as errors.

use crate::{
    error::Result,
    process,
    setup::{self, Std},
    workspace::Workspace,
};

const GUESTS: &str = "wasm32-unknown-unknown";

/// Lints the workspace, and the plugins if rustup has the target that they are built for.
pub fn run(workspace: &Workspace) -> Result<()> {
    let all = ["clippy", "--workspace", "--all-targets", "--locked"];
    process::run(workspace.cargo(&all).args(["--", "-D", "warnings"]))?;
    if setup::find_std(GUESTS) != Some(Std::Rustup) {
        println!("plugins: not linted, because rustup's target {GUESTS} is missing");
        return Ok(());
    }
    let plugins = ["clippy", "--manifest-path", "plugins/Cargo.toml"];
    let mut command = workspace.cargo(&plugins);
    command.args(["--workspace", "--locked", "--target", GUESTS]);
    process::run(command.args(["--", "-D", "warnings"]))
}

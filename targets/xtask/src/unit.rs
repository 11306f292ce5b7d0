//! The unit tests: of the workspace without the acceptance tests, and of the plugins.

use crate::{
    error::Result,
    tally::{self, Tally},
    workspace::Workspace,
};

/// Runs them.
pub fn run(workspace: &Workspace) -> Result<Tally> {
    let all = [
        "test",
        "--workspace",
        "--exclude",
        "sedge-tests",
        "--no-fail-fast",
    ];
    let plugins = [
        "test",
        "--manifest-path",
        "plugins/Cargo.toml",
        "--workspace",
        "--no-fail-fast",
    ];
    // Guests of the tests are for WebAssembly alone.
    let guests = ["judge", "misbehave", "misplace", "remember", "reroute"];
    let guests = guests.iter().flat_map(|guest| ["--exclude", guest]);
    let mut total = tally::run(&mut workspace.cargo(&all))?;
    total += tally::run(workspace.cargo(&plugins).args(guests))?;
    Ok(total)
}

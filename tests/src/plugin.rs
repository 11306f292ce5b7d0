//! Plugins, by the broker's own command line.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::Process;
use crate::{limits, tools};

/// Builds `plugins/NAME` and returns the component.
pub fn build(name: &str, into: &Path) -> PathBuf {
    let component = into.join(format!("{name}.wasm"));
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

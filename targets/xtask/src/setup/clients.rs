//! Installs the Kafka clients of the conformance tests, by each language's own package manager.

use std::{fs, process::Command};

use super::{
    apt,
    stamp::{self, Stamp},
    venv,
};
use crate::{
    error::{Error, Result},
    process,
    workspace::Workspace,
};

/// Installs kcat, strace and the Python and Node clients, and builds the Go ones, as listed in
/// `tests/clients/`.
pub fn ensure(workspace: &Workspace) -> Result<()> {
    apt::ensure_programs(&[("kcat", "kcat"), ("strace", "strace")])?;
    python(workspace)?;
    node(workspace)?;
    go(workspace)
}

fn python(workspace: &Workspace) -> Result<()> {
    let requirements = workspace.root.join("tests/clients/python/requirements.txt");
    let directory = workspace.tools.join("venv");
    let stamp = Stamp::new(requirements.clone(), &directory);
    if stamp.is_fresh()? {
        return Ok(());
    }
    println!("  downloading the Python clients");
    venv::create(
        &directory,
        &["--requirement", &requirements.to_string_lossy()],
    )?;
    stamp.write()
}

fn node(workspace: &Workspace) -> Result<()> {
    let manifests = workspace.root.join("tests/clients/node");
    let directory = workspace.tools.join("node");
    let stamp = Stamp::new(manifests.join("package-lock.json"), &directory);
    if stamp.is_fresh()? {
        return Ok(());
    }
    apt::ensure_programs(&[("node", "nodejs"), ("npm", "npm")])?;
    println!("  downloading the Node clients");
    stamp::empty_directory(&directory)?;
    for file in ["package.json", "package-lock.json"] {
        let from = manifests.join(file);
        fs::copy(&from, directory.join(file)).map_err(Error::file(from))?;
    }
    process::run(
        Command::new("npm")
            .args(["ci", "--silent", "--no-audit", "--no-fund"])
            .current_dir(&directory),
    )?;
    stamp.write()
}

/// Builds the Go clients; Go's own cache decides what has to be done.
fn go(workspace: &Workspace) -> Result<()> {
    apt::ensure_programs(&[("go", "golang-go")])?;
    let programs = workspace.tools.join("go");
    fs::create_dir_all(&programs).map_err(Error::file(&programs))?;
    process::run(
        Command::new("go")
            .args(["build", "-mod=readonly", "-o"])
            .arg(format!("{}/", programs.display()))
            .arg("./...")
            .current_dir(workspace.root.join("tests/clients/go")),
    )
}

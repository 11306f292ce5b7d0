//! Installs Debian's packages, or says what to do without Debian or without the right to install.

use std::{
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
};

use crate::{
    error::{Error, Result},
    process,
    workspace::on_path,
};

/// Installs missing programs, given as (program, Debian package that has it).
pub fn ensure_programs(programs: &[(&str, &str)]) -> Result<()> {
    let lacking = programs
        .iter()
        .filter(|(program, _)| on_path(program).is_none());
    install(&lacking.map(|(_, package)| *package).collect::<Vec<_>>())
}

/// Installs missing files, given as (file, Debian package that has it).
pub fn ensure_files(files: &[(&str, &str)]) -> Result<()> {
    let lacking = files.iter().filter(|(file, _)| !Path::new(file).exists());
    install(&lacking.map(|(_, package)| *package).collect::<Vec<_>>())
}

/// Installs `packages`, all or none.
pub fn install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    let cannot = |why: &str| Error::Missing {
        what: list.clone(),
        remedy: format!("{why}; install by hand, on Debian: sudo apt-get install {list}"),
    };
    if on_path("apt-get").is_none() {
        return Err(cannot("there is no apt-get here"));
    }
    let root = as_root().ok_or_else(|| cannot("this is not root, and sudo asks for a password"))?;
    update(root)?;
    println!("  installing {list}");
    let options = ["install", "-y", "-qq", "--no-install-recommends"];
    process::run(apt_get(root).args(options).args(packages)).map_err(|_| cannot("apt-get failed"))
}

/// The way to become root: none needed, or sudo.
#[derive(Clone, Copy)]
enum Root {
    Already,
    Sudo,
}

fn as_root() -> Option<Root> {
    if rustix::process::geteuid().is_root() {
        Some(Root::Already)
    } else {
        process::succeeds(Command::new("sudo").args(["-n", "true"])).then_some(Root::Sudo)
    }
}

/// Fetches the lists of packages, once per run.
fn update(root: Root) -> Result<()> {
    static UPDATED: AtomicBool = AtomicBool::new(false);
    if UPDATED.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    process::run(apt_get(root).args(["update", "-qq"]))
}

fn apt_get(root: Root) -> Command {
    let mut command = match root {
        Root::Already => Command::new("apt-get"),
        Root::Sudo => {
            let mut sudo = Command::new("sudo");
            sudo.args(["-n", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
            sudo
        }
    };
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

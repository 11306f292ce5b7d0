//! Checks the dependencies of crates, by their manifests and by cargo.

use std::fs;

use super::Findings;
use crate::{
    error::{Error, Result},
    process,
    workspace::Workspace,
};

/// Crates that are `no_std`, so that using a clock, a thread or a file does not compile.
const NO_STD: [&str; 2] = ["broker/core/src/lib.rs", "broker/link/src/lib.rs"];
/// For each of our crates, the crates of ours that it may depend on.
const ARROWS: [(&str, &[&str]); 5] = [
    ("protocol", &[]),
    ("core", &["sedge-protocol"]),
    ("storage", &["sedge-protocol"]),
    ("plugin", &[]),
    ("link", &[]),
];
/// Crates that the broker must not link: an allocator costs 8 MiB when idle, and another runtime or
/// TLS library would duplicate existing ones.
const FORBIDDEN_CRATES: [&str; 5] = [
    "async-std",
    "mimalloc",
    "native-tls",
    "openssl",
    "jemallocator",
];

pub fn check_no_std(workspace: &Workspace, findings: &mut Findings) -> Result<()> {
    for file in NO_STD {
        let path = workspace.root.join(file);
        let text = fs::read_to_string(&path).map_err(Error::file(path))?;
        if !text.lines().any(|line| line.trim() == "#![no_std]") {
            findings.errors.push(format!("{file}: lacks #![no_std]"));
        }
    }
    Ok(())
}

/// Checks that the crates' manifests keep to the map of who may import whom.
pub fn check_arrows(workspace: &Workspace, findings: &mut Findings) -> Result<()> {
    for (name, allowed) in ARROWS {
        let path = workspace.root.join("broker").join(name).join("Cargo.toml");
        let text = fs::read_to_string(&path).map_err(Error::file(&path))?;
        let manifest: toml::Table = toml::from_str(&text).map_err(|error| Error::Content {
            path,
            wrong: error.to_string(),
        })?;
        let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table);
        for crate_name in dependencies.into_iter().flat_map(toml::Table::keys) {
            let ours = crate_name == "sedge" || crate_name.starts_with("sedge-");
            if ours && !allowed.contains(&crate_name.as_str()) {
                findings
                    .errors
                    .push(format!("broker/{name} must not depend on {crate_name}"));
            }
        }
    }
    Ok(())
}

/// Checks what the broker links with all features: nothing forbidden, and of tokio at most the
/// channels that hyper uses.
pub fn check_linked(workspace: &Workspace, findings: &mut Findings) -> Result<()> {
    let format = "{p}|{f}";
    let arguments = [
        "tree",
        "--locked",
        "--package",
        "sedge",
        "--all-features",
        "--edges",
        "normal",
    ];
    let tree = process::output(
        workspace
            .cargo(&arguments)
            .args(["--prefix", "none", "--format", format]),
    )?;
    for line in tree.lines() {
        let (package, features) = line.split_once('|').unwrap_or((line, ""));
        let name = package.split(' ').next().unwrap_or_default();
        if FORBIDDEN_CRATES.contains(&name) {
            findings
                .errors
                .push(format!("the broker must not link {name}"));
        }
        let runtime = |feature: &str| feature == "rt" || feature == "net" || feature == "full";
        if name == "tokio" && features.split(',').any(runtime) {
            findings
                .errors
                .push("the broker must not link tokio's runtime".to_owned());
        }
    }
    findings.errors.dedup();
    Ok(())
}

//! The packages that the workspace is built of, by `cargo metadata` and `Cargo.lock`.

use std::{collections::BTreeMap, fs};

use serde::Deserialize;

use crate::{
    error::{Error, Result},
    process,
    workspace::Workspace,
};

/// crates.io, as cargo names it.
pub const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// A package's name and version.
pub type Id = (String, String);

/// One package.
#[derive(Debug, Deserialize)]
pub struct Package {
    pub name: String,
    pub version: String,
    /// An SPDX expression.
    pub license: Option<String>,
    pub repository: Option<String>,
    /// Absent for one of the workspace.
    pub source: Option<String>,
    id: String,
}

impl Package {
    pub fn id(&self) -> Id {
        (self.name.clone(), self.version.clone())
    }

    pub fn is_ours(&self) -> bool {
        self.source.is_none()
    }
}

/// All packages, with what each needs.
#[derive(Debug)]
pub struct Packages {
    pub all: Vec<Package>,
    /// For each package, those that its code uses.
    pub needs: BTreeMap<Id, Vec<Id>>,
    /// SHA-256 of what was downloaded.
    pub checksums: BTreeMap<Id, String>,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Debug, Deserialize)]
struct DependencyKind {
    /// Absent for a dependency of the code itself, not of its tests or its build script.
    kind: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Debug, Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

impl Packages {
    pub fn read(workspace: &Workspace) -> Result<Self> {
        let arguments = ["metadata", "--locked", "--format-version", "1"];
        let text = process::output(&mut workspace.cargo(&arguments))?;
        let path = workspace.root.join("Cargo.lock");
        let lock = fs::read_to_string(&path).map_err(Error::file(&path))?;
        Self::parse(&text, &lock).map_err(|wrong| Error::Content { path, wrong })
    }

    pub fn parse(metadata: &str, lock: &str) -> std::result::Result<Self, String> {
        let read: Metadata = serde_json::from_str(metadata).map_err(|error| error.to_string())?;
        let lock: Lock = toml::from_str(lock).map_err(|error| error.to_string())?;
        let by_id: BTreeMap<&str, Id> = read
            .packages
            .iter()
            .map(|package| (package.id.as_str(), package.id()))
            .collect();
        let name = |id: &str| by_id.get(id).cloned();
        let needs = read.resolve.nodes.iter().filter_map(|node| {
            let of_code = |of: &&Dependency| of.dep_kinds.iter().any(|kind| kind.kind.is_none());
            let needed = node.deps.iter().filter(of_code);
            let needed = needed.filter_map(|of| name(&of.pkg)).collect();
            Some((name(&node.id)?, needed))
        });
        let needs = needs.collect();
        let checksums = lock.package.into_iter();
        let checksums = checksums
            .filter_map(|locked| Some(((locked.name, locked.version), locked.checksum?)))
            .collect();
        Ok(Self {
            all: read.packages,
            needs,
            checksums,
        })
    }

    /// Returns the packages whose code is in the broker built for `target`, the broker itself
    /// first. Macros run while it is built, and are not.
    pub fn in_broker(workspace: &Workspace, target: &str, features: &[&str]) -> Result<Vec<Id>> {
        let arguments = [
            "tree",
            "--locked",
            "--package",
            "sedge",
            "--edges",
            "normal,no-proc-macro",
            "--prefix",
            "none",
            "--no-dedupe",
            "--target",
            target,
        ];
        let tree = process::output(workspace.cargo(&arguments).args(features))?;
        let mut ids = Vec::new();
        for line in tree.lines() {
            let mut words = line.split(' ');
            let (Some(name), Some(version)) = (words.next(), words.next()) else {
                continue;
            };
            let id = (name.to_owned(), version.trim_start_matches('v').to_owned());
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        Ok(ids)
    }
}

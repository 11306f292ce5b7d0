//! `boards/debian.toml`: Debian's packages of which images are made, each with its hash.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;

use crate::{
    error::{Error, Result},
    process,
    setup::foreign::{self, Package},
    workspace::Workspace,
};

/// The packages by the names that boards call them.
#[derive(Debug)]
pub struct Pins {
    path: PathBuf,
    pins: BTreeMap<String, Pin>,
}

/// One package in one version.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// Debian's name.
    pub package: String,
    /// Debian's name for the architecture.
    pub arch: String,
    pub version: String,
    /// The component of the archive that has it.
    #[serde(default = "main_component")]
    pub component: String,
    /// Of the `.deb`, in lower-case hexadecimal digits.
    pub sha256: String,
}

fn main_component() -> String {
    "main".to_owned()
}

impl Pins {
    /// Reads `boards/debian.toml`.
    pub fn read(workspace: &Workspace) -> Result<Self> {
        let path = workspace.root.join("boards/debian.toml");
        let text = fs::read_to_string(&path).map_err(Error::file(&path))?;
        let pins = toml::from_str(&text);
        let wrong = |wrong| Error::Content {
            path: path.clone(),
            wrong,
        };
        let pins: BTreeMap<String, Pin> = pins.map_err(|error| wrong(error.to_string()))?;
        for (name, pin) in &pins {
            let digits = pin.sha256.bytes().filter(u8::is_ascii_hexdigit).count();
            if digits != 64 || pin.sha256.len() != 64 {
                return Err(wrong(format!(
                    "{name}: sha256 is not 64 hexadecimal digits"
                )));
            }
        }
        Ok(Self { path, pins })
    }

    /// Returns the package that boards call `name`.
    pub fn pin(&self, name: &str) -> Result<&Pin> {
        self.pins.get(name).ok_or_else(|| Error::Content {
            path: self.path.clone(),
            wrong: format!("lacks [{name}], which a board names"),
        })
    }
}

impl Pin {
    /// Returns the directory with the files of the package. Downloads the package if it is not
    /// there yet, and checks its hash.
    pub fn unpacked(&self, workspace: &Workspace) -> Result<PathBuf> {
        let directory = workspace.tools.join("debian");
        let name = format!("{}_{}_{}", self.package, self.version, self.arch);
        let unpacked = directory.join(&name);
        let stamp = directory.join(format!("{name}.sha256"));
        if fs::read_to_string(&stamp).is_ok_and(|hash| hash == self.sha256) {
            return Ok(unpacked);
        }
        println!(
            "  fetching Debian's {} {} for {}",
            self.package, self.version, self.arch
        );
        let package = Package {
            name: &self.package,
            arch: &self.arch,
            version: &self.version,
            component: &self.component,
        };
        let apt = directory.join(format!("apt-{}", self.arch));
        let deb = foreign::download(&apt, &package).map_err(|error| Error::Missing {
            what: name,
            remedy: format!(
                "{error}\n  if Debian has a newer version by now, write its version and its \
                 SHA-256 into boards/debian.toml (`apt-cache show {}` has both)",
                self.package
            ),
        })?;
        self.check(&deb)?;
        foreign::unpack(&deb, &unpacked)?;
        fs::remove_file(&deb).map_err(Error::file(&deb))?;
        fs::write(&stamp, &self.sha256).map_err(Error::file(&stamp))?;
        Ok(unpacked)
    }

    fn check(&self, deb: &Path) -> Result<()> {
        let listed = process::output(Command::new("sha256sum").arg(deb))?;
        let hash = listed.split_whitespace().next().unwrap_or_default();
        if hash == self.sha256 {
            return Ok(());
        }
        Err(Error::Content {
            path: deb.to_owned(),
            wrong: format!(
                "its SHA-256 is {hash}, and boards/debian.toml has {}",
                self.sha256
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_with_another_hash_is_refused() {
        let pin = Pin {
            package: "hello".into(),
            arch: "all".into(),
            version: "1".into(),
            component: "main".into(),
            sha256: "0".repeat(64),
        };
        let deb = std::env::temp_dir().join(format!("hello-{}.deb", std::process::id()));
        fs::write(&deb, "not what was pinned").unwrap();
        let error = pin.check(&deb).unwrap_err().to_string();
        fs::remove_file(&deb).unwrap();
        assert!(error.contains("its SHA-256 is bf4b800e"), "{error}");
    }
}

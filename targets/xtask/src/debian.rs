//! `boards/debian.toml`: Debian's packages of which images are made, each with its hash.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde::Deserialize;

use crate::{
    error::{Error, Result},
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

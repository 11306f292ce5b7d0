//! Builds a guest's source into a component, for `sedge plugin build` and for tests.
//!
//! The language's own tools make a core module ([`rust`], [`c`]) or the whole component
//! ([`script`]: JavaScript and Python). [`module`] turns a core module of any language into a
//! component.

mod c;
mod error;
mod module;
mod rust;
mod script;

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

pub use error::BuildError;
pub use module::componentize;
pub use rust::{Toolchain, build, find_toolchain};

/// A language that `sedge plugin build` knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    Rust,
    C,
    JavaScript,
    Python,
}

impl Language {
    /// Returns the language of the sources in `directory`.
    ///
    /// # Errors
    /// [`BuildError::NoSource`].
    pub fn of(directory: &Path) -> Result<Self, BuildError> {
        let has = |name: &str| directory.join(name).is_file();
        if has("Cargo.toml") {
            Ok(Self::Rust)
        } else if has("package.json") {
            Ok(Self::JavaScript)
        } else if has("requirements.txt") {
            Ok(Self::Python)
        } else if !c::sources(directory)?.is_empty() {
            Ok(Self::C)
        } else {
            Err(BuildError::NoSource {
                directory: directory.to_owned(),
            })
        }
    }
}

/// Builds the component of `source`: a directory with sources, or a core module that another tool
/// made. The output of the language's tools goes to standard error.
///
/// # Errors
/// A tool is missing or fails, or the result is not a plugin.
pub fn make(source: &Path) -> Result<Vec<u8>, BuildError> {
    if source.is_file() {
        return componentize(&read(source)?);
    }
    match Language::of(source)? {
        Language::Rust => build(&find_toolchain()?, source, None),
        Language::C => c::build(source),
        Language::JavaScript => script::javascript(source),
        Language::Python => script::python(source),
    }
}

/// A program that a build needs, and how to get it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tool {
    pub program: &'static str,
    pub remedy: &'static str,
}

impl Tool {
    /// Runs `command`, whose output goes to standard error, until it ends.
    fn run(self, command: &mut Command) -> Result<(), BuildError> {
        let stderr = io::stderr();
        let ran = command.stdin(Stdio::null()).stdout(stderr).status();
        match ran {
            Ok(status) if status.success() => Ok(()),
            Ok(_) => Err(BuildError::Failed {
                program: self.program,
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(BuildError::NoTool { tool: self })
            }
            Err(source) => Err(BuildError::Run {
                program: self.program.into(),
                source,
            }),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, BuildError> {
    fs::read(path).map_err(|source| BuildError::File {
        path: path.to_owned(),
        source,
    })
}

/// Returns the folder for what a build makes, in the folder of the sources.
fn build_folder(directory: &Path) -> Result<PathBuf, BuildError> {
    let folder = directory.join("build");
    fs::create_dir_all(&folder).map_err(|source| BuildError::File {
        path: folder.clone(),
        source,
    })?;
    Ok(folder)
}

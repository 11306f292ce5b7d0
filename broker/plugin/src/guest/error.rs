//! Reasons why a guest was not built.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use super::Tool;

/// Reason why a guest was not built.
#[derive(Debug)]
pub enum BuildError {
    /// No compiler on this machine can make WebAssembly from Rust.
    NoToolchain,
    /// A program is missing.
    NoTool { tool: Tool },
    /// There is no crate in the folder, or no folder.
    NoCrate { directory: PathBuf },
    /// There are no sources of a known language in the folder, or no folder.
    NoSource { directory: PathBuf },
    /// A program could not be run.
    Run { program: String, source: io::Error },
    /// A program failed; its messages are on standard error.
    Failed { program: &'static str },
    /// The crate makes no module: it lacks `crate-type = ["cdylib"]`.
    NoModule { directory: PathBuf },
    /// The crate makes several modules.
    ManyModules { modules: Vec<PathBuf> },
    /// The project's script did not write the component.
    NoComponent { script: &'static str, path: PathBuf },
    /// A file could not be read or written.
    File { path: PathBuf, source: io::Error },
    /// The module exports no interface of a world, or those of several.
    NoWorld { exports: Vec<String> },
    /// The module cannot be turned into a component.
    NotAPlugin { reason: String },
}

impl BuildError {
    /// Returns whether the machine lacks something, and the source may be right.
    #[must_use]
    pub const fn is_of_the_machine(&self) -> bool {
        matches!(
            self,
            Self::NoToolchain
                | Self::NoTool { .. }
                | Self::NoCrate { .. }
                | Self::NoSource { .. }
                | Self::Run { .. }
        )
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |path: &Path| path.display().to_string();
        match self {
            Self::NoToolchain => f.write_str(
                "there is no compiler for WebAssembly; run `rustup target add \
                 wasm32-unknown-unknown`, or on Debian `apt-get install rustc-web rust-web-src \
                 lld`",
            ),
            Self::NoTool { tool } => {
                write!(f, "{} is missing; {}", tool.program, tool.remedy)
            }
            Self::NoCrate { directory } => write!(
                f,
                "there is no {}; name the directory of a plugin's crate",
                shown(&directory.join("Cargo.toml"))
            ),
            Self::NoSource { directory } => write!(
                f,
                "{} has none of Cargo.toml (Rust), package.json (JavaScript), requirements.txt \
                 (Python) and *.c; `sedge plugin new` makes a project",
                shown(directory)
            ),
            Self::Run { program, source } => write!(f, "cannot run {program}: {source}"),
            Self::Failed { program } => write!(f, "{program} failed; its messages are above"),
            Self::NoModule { directory } => write!(
                f,
                "{} builds no module; its Cargo.toml needs `[lib] crate-type = [\"cdylib\"]`",
                shown(directory)
            ),
            Self::ManyModules { modules } => {
                write!(f, "the build made more than one module: {modules:?}")
            }
            Self::NoComponent { script, path } => {
                write!(f, "{script} did not write {}", shown(path))
            }
            Self::File { path, source } => write!(f, "{}: {source}", shown(path)),
            Self::NoWorld { exports } => write!(
                f,
                "the module must export the functions of one world of wit/, such as \
                 `sedge:plugin/filter@0.1.0#filter-batch`; it exports {exports:?}"
            ),
            Self::NotAPlugin { reason } => write!(f, "the module is not a plugin: {reason}"),
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Run { source, .. } | Self::File { source, .. } => Some(source),
            _ => None,
        }
    }
}

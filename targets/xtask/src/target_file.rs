//! `targets/TRIPLE.toml`: how the broker is built for a machine, and its budget there.

use std::fs;

use serde::Deserialize;

use crate::{
    error::{Error, Result},
    workspace::Workspace,
};

/// One file of `targets/`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Rust's name for the target, which is also the file's.
    pub triple: String,
    /// The source of a C compiler, a linker and, if rustup lacks it, a standard library.
    pub how: How,
    /// Debian's name for the architecture.
    pub deb_arch: String,
    /// The user-mode emulator that runs its binaries on other machines.
    pub qemu_user: Option<String>,
    /// Whether the C library is linked statically.
    #[serde(default)]
    pub static_crt: bool,
    /// Whether the plugin compiler is built in by default.
    #[serde(default)]
    pub compiler: bool,
    /// Features of the broker besides the compiler.
    #[serde(default)]
    pub features: Vec<String>,
    pub budget: Budget,
}

/// The source of a C compiler, a linker and a standard library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// This machine's own.
    Native,
    /// Debian's cross compiler; Debian's prebuilt standard library if rustup has none.
    Debian,
    /// Zig as C compiler, C library and linker; the standard library from source if rustup has
    /// none.
    Zig,
}

/// The budget that `xtask sizes` and the memory test check the binary against.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::struct_field_names,
    reason = "bounds and units go last, as everywhere here"
)]
pub struct Budget {
    /// Size of the stripped binary without the plugin compiler.
    pub binary_max_mib: f64,
    /// Size of the stripped binary with the plugin compiler; absent if it is never built in.
    pub binary_with_jit_max_mib: Option<f64>,
    /// Resident memory when idle, with 100 partitions.
    pub rss_idle_max_mib: f64,
}

impl Target {
    /// Reads `targets/TRIPLE.toml`.
    pub fn read(workspace: &Workspace, triple: &str) -> Result<Self> {
        let path = workspace
            .root
            .join("targets")
            .join(format!("{triple}.toml"));
        let Ok(text) = fs::read_to_string(&path) else {
            let known = Self::known(workspace);
            return Err(Error::Unknown {
                kind: "target",
                name: triple.to_owned(),
                known,
            });
        };
        let wrong = |wrong| Error::Content {
            path: path.clone(),
            wrong,
        };
        let target: Self = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if target.triple == triple {
            Ok(target)
        } else {
            Err(wrong(format!(
                "its triple is {}, not the file's name",
                target.triple
            )))
        }
    }

    /// Returns the triples that have a file.
    pub fn known(workspace: &Workspace) -> Vec<String> {
        let mut triples: Vec<String> = fs::read_dir(workspace.root.join("targets"))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                entry
                    .file_name()
                    .to_str()?
                    .strip_suffix(".toml")
                    .map(str::to_owned)
            })
            .collect();
        triples.sort();
        triples
    }

    /// Returns the triple as in the names of environment variables, such as
    /// `x86_64_unknown_linux_gnu`.
    pub fn underscored(&self) -> String {
        self.triple.replace('-', "_")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_file_reads() {
        let workspace = Workspace::find();
        let triples = Target::known(&workspace);
        assert!(triples.len() >= 5, "only {triples:?}");
        for triple in triples {
            Target::read(&workspace, &triple).unwrap_or_else(|error| panic!("{error}"));
        }
    }

    #[test]
    fn an_unknown_target_names_the_known() {
        let error = Target::read(&Workspace::find(), "z80-unknown-cpm").unwrap_err();
        assert!(
            error.to_string().contains("aarch64-unknown-linux-musl"),
            "{error}"
        );
    }
}

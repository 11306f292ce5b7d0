//! Paths: the repository, cargo's target directory, the downloaded tools.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// Paths of this checkout. All of them are absolute.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// The top of the repository.
    pub root: PathBuf,
    /// Cargo's target directory (`CARGO_TARGET_DIR`, else `target`).
    pub target: PathBuf,
    /// What setup downloads (`SEDGE_TOOLS`, else `target/tools`).
    pub tools: PathBuf,
    /// This program, as it was started: a build may replace its file.
    pub xtask: PathBuf,
}

impl Workspace {
    /// Finds the checkout that this xtask was built from.
    pub fn find() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .nth(2)
            .expect("xtask lies two levels below the top of the repository")
            .to_path_buf();
        let from_env = |name| env::var_os(name).map(|path| root.join(PathBuf::from(path)));
        Self {
            target: from_env("CARGO_TARGET_DIR").unwrap_or_else(|| root.join("target")),
            tools: from_env("SEDGE_TOOLS").unwrap_or_else(|| root.join("target/tools")),
            xtask: env::current_exe().unwrap_or_else(|_| root.join("target/debug/xtask")),
            root,
        }
    }

    /// Returns `cargo ARGS` at the top of the repository, with the toolchain that runs this xtask.
    pub fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(arguments).current_dir(&self.root);
        // Set by `cargo run` for xtask itself; a nested cargo must not see them.
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("CARGO_PKG_") {
                command.env_remove(name);
            }
        }
        command
            .env_remove("CARGO_MANIFEST_DIR")
            .env_remove("CARGO_MANIFEST_PATH");
        command
    }

    /// Returns the broker's release binary for the machine that xtask runs on.
    pub fn broker(&self) -> PathBuf {
        self.target.join("release/sedge")
    }
}

/// Returns the program `name` on `PATH`, if there is one.
pub fn on_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

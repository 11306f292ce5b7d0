//! A Python environment under the tools directory.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::{apt, stamp};
use crate::{error::Result, process};

/// Creates `directory` as a new environment and installs `arguments` into it by pip.
pub fn create(directory: &Path, arguments: &[&str]) -> Result<()> {
    if !process::succeeds(Command::new("python3").args(["-c", "import ensurepip"])) {
        apt::install(&["python3", "python3-venv"])?;
    }
    stamp::empty_directory(directory)?;
    process::run(Command::new("python3").args(["-m", "venv"]).arg(directory))?;
    let quiet = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ];
    process::run(Command::new(python(directory)).args(quiet).args(arguments))
}

/// Returns the environment's interpreter.
pub fn python(directory: &Path) -> PathBuf {
    directory.join("bin/python")
}

//! Stamps of downloads, which are repeated only when the file that lists them changes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::error::{Error, Result};

/// A copy of `manifest` in the installation directory records the content that was installed.
#[derive(Debug)]
pub struct Stamp {
    manifest: PathBuf,
    copy: PathBuf,
}

impl Stamp {
    pub fn new(manifest: PathBuf, directory: &Path) -> Self {
        Self {
            copy: directory.join("installed-for"),
            manifest,
        }
    }

    /// Returns whether the current content of `manifest` was installed.
    pub fn is_fresh(&self) -> Result<bool> {
        let wanted = fs::read(&self.manifest).map_err(Error::file(&self.manifest))?;
        Ok(fs::read(&self.copy).is_ok_and(|installed| installed == wanted))
    }

    /// Records the installation. Call it when everything has been installed.
    pub fn write(&self) -> Result<()> {
        fs::copy(&self.manifest, &self.copy)
            .map(drop)
            .map_err(Error::file(&self.copy))
    }
}

/// Removes `directory` with its contents and creates it again.
pub fn empty_directory(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory).map_err(Error::file(directory))?;
    }
    fs::create_dir_all(directory).map_err(Error::file(directory))
}

//! Downloads are made once for each content of the file that lists them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::error::{Error, Result};

/// A copy of `manifest`, kept in the directory it was installed to, says for what content that was.
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

    /// Whether what `manifest` says now was installed.
    pub fn is_fresh(&self) -> Result<bool> {
        let wanted = fs::read(&self.manifest).map_err(Error::file(&self.manifest))?;
        Ok(fs::read(&self.copy).is_ok_and(|installed| installed == wanted))
    }

    /// To be called when it has been installed.
    pub fn write(&self) -> Result<()> {
        fs::copy(&self.manifest, &self.copy)
            .map(drop)
            .map_err(Error::file(&self.copy))
    }
}

/// Removes `directory` with all in it and makes it anew.
pub fn empty_directory(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory).map_err(Error::file(directory))?;
    }
    fs::create_dir_all(directory).map_err(Error::file(directory))
}

//! Machine code under the data directory, one file for each component, sealed by the installation.
//!
//! A file that is missing, damaged, forged or made by another version counts as absent: a build
//! with the compiler makes it again, a build without reports what to do. [`seal`](crate::seal) says
//! what is trusted and why.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    artifact::Artifact,
    compile::compile_in_child,
    component::{ComponentHash, inspect},
    config::host_target,
    engine::Engine,
    error::Error,
    key::{SealKey, Sealer},
    limits::Limits,
    plugin::Plugin,
};

/// The cache of one installation.
#[derive(Debug)]
pub struct CodeCache {
    directory: PathBuf,
    installation: SealKey,
    operator: Option<SealKey>,
}

impl CodeCache {
    /// Opens the cache in `directory` (`DATA/plugin-cache`). Creates the directory and the
    /// installation's key if they do not exist. `operator` is the key in `plugin.signing.key`.
    ///
    /// # Errors
    /// The directory or the key cannot be created or read.
    pub fn open(directory: &Path, operator: Option<SealKey>) -> Result<Self, Error> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|source| Error::File {
                path: directory.to_owned(),
                source,
            })?;
        let installation = SealKey::of_installation(&directory.join("key"))?;
        Ok(Self {
            directory: directory.to_owned(),
            installation,
            operator,
        })
    }

    /// Makes a plugin from deployed content: a component, or an artifact that is sealed with the
    /// operator's key.
    ///
    /// `compiler` is the command that runs [`compile_for_parent`](crate::compile_for_parent), in
    /// builds that have a compiler. Blocks while it runs: some 0.2 s for a Rust filter, half a
    /// minute for Python.
    ///
    /// # Errors
    /// The content is not a plugin, there is no machine code and none can be made, or the artifact
    /// is not trusted.
    pub fn load(
        &self,
        engine: &Engine,
        name: &str,
        deployed: &[u8],
        limits: Limits,
        compiler: Option<Command>,
    ) -> Result<Plugin, Error> {
        let component = if Artifact::is_one(deployed) {
            let artifact = Artifact::read(deployed).map_err(Error::Artifact)?;
            if let Some(operator) = &self.operator
                && operator.has_sealed(&artifact)
            {
                self.import(deployed, &limits)?;
            }
            artifact.component
        } else {
            deployed
        };
        let (_, hash) = inspect(component, limits.component_bytes_max)?;
        match self.cached(engine, name, hash, limits) {
            Ok(Some(plugin)) => return Ok(plugin),
            Ok(None) => {}
            Err(error) => {
                log::info!(
                    target: "plugin",
                    "cached machine code of plugin {name} cannot be used: {error}"
                );
            }
        }
        match compiler {
            Some(compiler) => {
                let answer = compile_in_child(compiler, component)?;
                let artifact = Artifact::read(&answer).map_err(Error::Artifact)?;
                if artifact.component_hash != hash {
                    return Err(Error::Artifact(crate::error::ArtifactError::Hash));
                }
                self.keep(&artifact)?;
                self.cached(engine, name, hash, limits)?
                    .ok_or_else(|| Error::NoMachineCode {
                        component: hash.to_string(),
                    })
            }
            None if Artifact::is_one(deployed) => Err(Error::Untrusted),
            None => Err(Error::NoMachineCode {
                component: hash.to_string(),
            }),
        }
    }

    /// Accepts an artifact on the operator's request: `sedge plugin import` does this on the
    /// machine itself. The caller vouches for the artifact's origin.
    ///
    /// # Errors
    /// The artifact is damaged, not a plugin, or for another kind of machine.
    pub fn import(&self, artifact: &[u8], limits: &Limits) -> Result<ComponentHash, Error> {
        let artifact = Artifact::read(artifact).map_err(Error::Artifact)?;
        let (_, hash) = inspect(artifact.component, limits.component_bytes_max)?;
        self.keep(&artifact)?;
        Ok(hash)
    }

    /// Deletes the code of components that are no longer deployed.
    ///
    /// # Errors
    /// The directory cannot be read, or a file cannot be deleted.
    pub fn retain(&self, deployed: &[ComponentHash]) -> Result<(), Error> {
        let error = |source| Error::File {
            path: self.directory.clone(),
            source,
        };
        let names: Vec<_> = deployed.iter().map(|hash| file_name(*hash)).collect();
        for entry in fs::read_dir(&self.directory).map_err(error)? {
            let path = entry.map_err(error)?.path();
            let is_code = path
                .extension()
                .is_some_and(|extension| extension == "cwasm");
            if is_code && !names.iter().any(|name| path.ends_with(name)) {
                fs::remove_file(&path).map_err(error)?;
            }
        }
        Ok(())
    }

    /// Loads cached code; returns `None` if there is no file.
    fn cached(
        &self,
        engine: &Engine,
        name: &str,
        hash: ComponentHash,
        limits: Limits,
    ) -> Result<Option<Plugin>, Error> {
        let path = self.directory.join(file_name(hash));
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::File { path, source }),
        };
        let artifact = Artifact::read(&bytes).map_err(Error::Artifact)?;
        // The seal covers the hash: code for another component is not accepted after renaming its
        // file.
        let code = self.installation.trust(&artifact).ok_or(Error::Untrusted)?;
        if artifact.component_hash != hash {
            return Err(Error::Untrusted);
        }
        Plugin::load(engine, name, &code, limits).map(Some)
    }

    /// Seals the code with the installation's key and stores it.
    fn keep(&self, artifact: &Artifact<'_>) -> Result<(), Error> {
        if artifact.target != host_target() {
            let is = artifact.target.to_owned();
            return Err(Error::OtherTarget {
                is,
                wanted: host_target(),
            });
        }
        debug_assert_eq!(self.installation.sealer(), Sealer::Installation);
        let sealed = Artifact::write(
            artifact.target,
            artifact.component_hash,
            b"",
            artifact.code,
            Some(&self.installation),
        );
        let path = self.directory.join(file_name(artifact.component_hash));
        write_whole(&path, &sealed).map_err(|source| Error::File { path, source })
    }
}

fn file_name(hash: ComponentHash) -> String {
    format!("{hash}.cwasm")
}

/// Writes a file atomically and durably: a device without a compiler cannot make it again.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension(format!("new-{}", std::process::id()));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    path.parent()
        .map_or(Ok(()), |directory| fs::File::open(directory)?.sync_all())
}

//! `sedge plugin compile` and `import`: machine code as files.

#[cfg(feature = "jit")]
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use sedge_plugin::error::ArtifactError;
use sedge_plugin::{Artifact, CodeCache, Limits};
use serde_json::json;

use crate::process::failure::{Exit, Failure};
use crate::process::output::{Output, Table};

/// Compile a component to machine code, for a device whose sedge has no plugin compiler.
#[cfg(feature = "jit")]
#[derive(Debug, Args)]
pub struct Compile {
    /// Component that `plugin build` made
    component: PathBuf,
    /// Target triple of the device [default: this machine]
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,
    /// File to write [default: the component's name with .splugin]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// File with the key that the device has as plugin.signing.key; the result can then be
    /// deployed like any plugin
    #[arg(long, value_name = "FILE")]
    signing_key: Option<PathBuf>,
}

/// Import machine code that `compile` made; run this on the device.
#[derive(Debug, Args)]
pub struct Import {
    /// File that `plugin compile` made. It is machine code: import it only if you trust its source
    file: PathBuf,
    /// Data directory of the device's broker
    #[arg(long, value_name = "DIR", default_value = "sedge-data")]
    data: PathBuf,
}

#[cfg(feature = "jit")]
impl Compile {
    /// Compiles the component.
    ///
    /// # Errors
    /// The component is not a plugin, or the target is unknown.
    pub fn run(&self) -> Result<(), Failure> {
        let component = read(&self.component)?;
        let key = self
            .signing_key
            .as_deref()
            .map(sedge_plugin::SealKey::of_operator)
            .transpose();
        let failed = |error| plugin_failure(&self.component, &error);
        let key = key.map_err(failed)?;
        let limits = Limits::default();
        let made =
            sedge_plugin::compile_ahead(&component, self.target.as_deref(), &limits, key.as_ref());
        let output = self.output.clone();
        let output = output.unwrap_or_else(|| self.component.with_extension("splugin"));
        let made = made.map_err(failed)?;
        write(&output, &made)?;
        let mut table = Table::new(&["file", "bytes"]);
        table.row([json!(output.display().to_string()), json!(made.len())]);
        table.print(Output::Text)
    }
}

/// Runs in a broker's child process: reads a component from standard input and writes machine code
/// to standard output.
///
/// # Errors
/// The component is not a plugin.
#[cfg(feature = "jit")]
pub fn compile_for_parent() -> Result<(), Failure> {
    // The parent has already checked the size against its own limit.
    let limits = Limits {
        component_bytes_max: 1 << 30,
        ..Limits::default()
    };
    sedge_plugin::compile_for_parent(io::stdin().lock(), io::stdout().lock(), &limits)
        .map_err(|error| Failure::new(Exit::Data, error.to_string()))
}

impl Import {
    /// Imports the machine code.
    ///
    /// # Errors
    /// The file is not machine code for this machine, or the data directory cannot be written.
    pub fn run(&self) -> Result<(), Failure> {
        if !self.data.is_dir() {
            let what = format!("there is no data directory {}", self.data.display());
            return Err(Failure::new(Exit::Unavailable, what)
                .advise("name it with --data; the first start of a broker creates it"));
        }
        let artifact = read(&self.file)?;
        let failed = |error| plugin_failure(&self.file, &error);
        let cache = CodeCache::open(&self.data.join("plugin-cache"), None).map_err(failed)?;
        let hash = cache
            .import(&artifact, &Limits::default())
            .map_err(failed)?;
        let mut table = Table::new(&["file", "sha256"]);
        table.row([
            json!(self.file.display().to_string()),
            json!(hash.to_string()),
        ]);
        table.print(Output::Text)
    }
}

/// Reads a whole file.
pub fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::io(&format!("read {}", path.display()), &error))
}

/// Returns the component of a file's content, which is one or carries one beside machine code.
pub fn component(content: &[u8]) -> Result<&[u8], ArtifactError> {
    if Artifact::is_one(content) {
        Ok(Artifact::read(content)?.component)
    } else {
        Ok(content)
    }
}

/// Writes a file, and its folder.
#[cfg(feature = "jit")]
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    made.and_then(|()| std::fs::write(path, bytes))
        .map_err(|error| {
            Failure::new(
                Exit::CannotCreate,
                format!("cannot write {}: {error}", path.display()),
            )
        })
}

pub fn plugin_failure(path: &Path, error: &sedge_plugin::Error) -> Failure {
    Failure::new(Exit::Data, format!("{}: {error}", path.display()))
}

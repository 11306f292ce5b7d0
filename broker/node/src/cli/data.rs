//! Flags of commands that work on a data directory and not on a broker.

use std::path::PathBuf;

use clap::Args;
use sedge_storage::Error;

use crate::config::{self, Config, Flags};
use crate::process::failure::{Exit, Failure};

/// Which data directory.
#[derive(Debug, Args)]
pub struct DataFlags {
    /// Configuration file of the broker [default: $SEDGE_CONFIG, /etc/sedge/sedge.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data directory of the broker [key: log.dirs]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
}

impl DataFlags {
    /// Returns the directory that a broker with these flags would use.
    ///
    /// # Errors
    /// The configuration is invalid.
    pub fn directory(&self) -> Result<PathBuf, Failure> {
        self.config().map(|config| config.data)
    }

    /// Returns the configuration of that broker.
    ///
    /// # Errors
    /// The configuration is invalid.
    pub fn config(&self) -> Result<Config, Failure> {
        let named = self.data.clone();
        let values = named.map(|data| ("log.dirs".to_owned(), data));
        let flags = Flags {
            file: self.config.clone(),
            values: values.into_iter().collect(),
        };
        match config::load(&flags) {
            Ok(config) => Ok(config),
            Err(error) => Err(Failure::new(
                Exit::Config,
                format!("the configuration is not valid\n{error}"),
            )),
        }
    }
}

/// Converts a failure of the store into one of the command line.
pub fn store_failure(error: &Error) -> Failure {
    let exit = match error {
        Error::NoData { .. } => Exit::Unavailable,
        Error::Locked { .. } => Exit::Temporary,
        Error::NewerFormat { .. }
        | Error::OtherOwner { .. }
        | Error::BadMeta { .. }
        | Error::NoBackup { .. }
        | Error::UnfinishedBackup { .. }
        | Error::IncompleteBackup { .. } => Exit::Data,
        Error::Full | Error::ReadOnly => Exit::CannotCreate,
        _ => Exit::Io,
    };
    Failure::new(exit, error.to_string())
}

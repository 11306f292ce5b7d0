//! Flags that several commands share.

use std::path::PathBuf;

use clap::Args;

use crate::config::{self, Config, Flags};
use crate::process::failure::{Exit, Failure};

/// Configuration flags of the command line.
#[derive(Debug, Clone, Args)]
pub struct ConfigFlags {
    /// Configuration file, TOML or NAME.properties [default: $SEDGE_CONFIG,
    /// /etc/sedge/sedge.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data directory [key: log.dirs]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Address to listen on [key: listeners]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Address of the console and of /metrics, or off [key: sedge.console]
    #[arg(long, value_name = "[https://]HOST:PORT|off")]
    console: Option<String>,
    /// Set a configuration key; can be given more than once
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
}

impl ConfigFlags {
    /// Reads the configuration with these flags.
    ///
    /// # Errors
    /// All problems of the configuration.
    pub fn load(&self) -> Result<Config, Failure> {
        let named = [
            ("log.dirs", &self.data),
            ("listeners", &self.listen),
            ("sedge.console", &self.console),
        ];
        let mut values = self.set.clone();
        for (key, value) in named {
            values.extend(value.clone().map(|value| (key.to_owned(), value)));
        }
        config::load(&Flags {
            file: self.config.clone(),
            values,
        })
        .map_err(|error| {
            Failure::new(
                Exit::Config,
                format!("the configuration is not valid\n{error}"),
            )
            .advise("`sedge config check` checks the configuration without starting the broker")
        })
    }
}

/// Parses `KEY=VALUE`.
pub fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("write KEY=VALUE, like log.retention.ms=86400000".to_owned()),
    }
}

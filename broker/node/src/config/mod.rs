//! The configuration of the process: one file (TOML, or the form of Kafka's `server.properties`),
//! the environment, and flags.
//!
//! Keys have the names of Kafka's `server.properties` if Kafka has the key, and sedge's own
//! otherwise ([`keys`]). `SEDGE_*` variables override a file, and flags override both. Every value
//! keeps its source ([`Setting`]), so that `sedge config dump` and `DescribeConfigs` can name it.
//! What values refer to (`${file:…}`) is read at the end ([`references`]).
//!
//! **Invariant:** a [`Config`] that exists has passed every check; the broker repeats none of them.
//! **Invariant:** an unknown key in a file or a flag is an error that names the nearest known one.

mod address_limits;
pub mod connection_limits;
pub mod console;
pub mod creation_rates;
mod declared;
mod delegation_tokens;
pub mod environment;
pub mod error;
pub mod file;
pub mod gateway;
mod groups;
pub mod keys;
pub mod limits;
mod lines;
pub mod link;
mod link_values;
mod links;
pub mod listeners;
mod names;
pub mod nearest;
mod packing;
pub mod properties;
mod public_keys;
mod references;
mod rename;
pub mod sasl;
pub mod selection;
pub mod settings;
mod spending;
#[cfg(test)]
mod table;
mod text_file;
pub mod typed;
pub mod values;

use std::path::{Path, PathBuf};

pub use address_limits::AddressLimits;
pub use console::{ConsoleConfig, ConsoleTokens};
pub use delegation_tokens::DelegationTokens;
pub use error::{ConfigError, Problem};
pub use gateway::{GatewayConfig, Parity, Place, SerialConfig};
pub use groups::GroupSelection;
pub use link::{Direction, LinkConfig, Mode, OnTopicRecreated};
pub use links::at_run_time;
pub use listeners::ListenerConfig;
pub use public_keys::{PublicKey, print_public_key};
pub use selection::{Patterns, Selection};
pub use settings::{Setting, Settings, Source, Value};
pub use typed::{Config, Disk, Durability, Plugin, Profile, Scrub, SocketBuffers, Storage};
pub use values::HostPort;

/// The configuration file that is read if no flag and no variable names one.
pub const SYSTEM_FILE: &str = "/etc/sedge/sedge.toml";

/// The configuration given on the command line.
#[derive(Debug, Default, Clone)]
pub struct Flags {
    /// `--config FILE`.
    pub file: Option<PathBuf>,
    /// `--set KEY=VALUE` and the flags that stand for a key, in the given order.
    pub values: Vec<(String, String)>,
}

/// Reads file, environment and flags, and checks all of it.
///
/// # Errors
/// Every problem found, not only the first.
pub fn load(flags: &Flags) -> Result<Config, ConfigError> {
    load_from(flags, Path::new(SYSTEM_FILE), std::env::vars_os())
}

fn load_from(
    flags: &Flags,
    system_file: &Path,
    variables: impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
) -> Result<Config, ConfigError> {
    let mut settings = Settings::default();
    let mut problems = Vec::new();
    let environment = environment::read(variables);

    let named = flags
        .file
        .clone()
        .or_else(|| environment.config_file.clone());
    let path = named.or_else(|| system_file.exists().then(|| system_file.to_path_buf()));
    if let Some(path) = path {
        file::read(&path, &mut settings, &mut problems);
        settings.file = Some(path);
    }
    environment::apply(environment, &mut settings);
    for (key, value) in &flags.values {
        settings.put(key, value, Source::Flag);
    }
    references::resolve(&mut settings, &mut problems);
    names::check(&mut settings, &mut problems);
    let config = typed::build(settings, &mut problems);
    if problems.is_empty() {
        Ok(config)
    } else {
        Err(ConfigError { problems })
    }
}

#[cfg(test)]
mod tests;

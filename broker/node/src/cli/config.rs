//! `sedge config check` and `sedge config dump`.

use clap::{Args, Subcommand};

use super::Failure;
use super::output::{line, note};
use super::serve::ConfigFlags;
use crate::config::Config;
use crate::config::keys;

/// Check or show the configuration.
#[derive(Debug, Args)]
pub struct ConfigCommand {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Say whether the configuration is valid, and what is wrong with it
    Check(ConfigFlags),
    /// Print what is set, with the source of each value, as TOML
    Dump {
        #[command(flatten)]
        flags: ConfigFlags,
        /// Print every key, also those at their defaults
        #[arg(long)]
        effective: bool,
    },
}

impl ConfigCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// The configuration is not valid.
    pub fn run(&self) -> Result<(), Failure> {
        match &self.verb {
            Verb::Check(flags) => {
                let config = flags.load()?;
                for warning in &config.settings.warnings {
                    note(format_args!("warning: {warning}"));
                }
                line(format_args!("the configuration is valid"))
            }
            Verb::Dump { flags, effective } => {
                let config = flags.load()?;
                dump(&config, *effective)
            }
        }
    }
}

fn dump(config: &Config, effective: bool) -> Result<(), Failure> {
    if effective {
        for key in keys::all() {
            let setting = config.effective(key);
            line(format_args!("# {}. [{}]", key.doc, setting.source))?;
            line(format_args!("{}", entry(key.name, &setting.value)))?;
        }
    }
    for (key, setting) in config.settings.iter() {
        if effective && keys::find(key).is_some_and(|key| key.has_effect) {
            continue;
        }
        let value = if keys::is_secret(key) {
            "(hidden)"
        } else {
            &setting.value
        };
        line(format_args!("{} # {}", entry(key, value), setting.source))?;
    }
    Ok(())
}

/// A line of TOML.
fn entry(key: &str, value: &str) -> String {
    let value = toml::Value::from(value);
    // What is not set is not said, so that the output can be read back.
    let comment = if value.as_str() == Some("") { "# " } else { "" };
    format!("{comment}\"{key}\" = {value}")
}

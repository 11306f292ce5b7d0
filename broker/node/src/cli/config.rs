//! `sedge config check` and `sedge config dump`.

use clap::{Args, Subcommand};
use sedge_core::config::{ConfigKey, ConfigType};

use super::flags::ConfigFlags;
use crate::config::{Config, SYSTEM_FILE, keys};
use crate::process::failure::Failure;
use crate::process::output::{line, note};

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
                line(format_args!(
                    "the configuration is valid; {}",
                    read_from(&config)
                ))
            }
            Verb::Dump { flags, effective } => {
                let config = flags.load()?;
                dump(&config, *effective)
            }
        }
    }
}

/// Names the file that was read.
fn read_from(config: &Config) -> String {
    match &config.settings.file {
        Some(path) => format!("{} was read", path.display()),
        None => format!(
            "no file was read: neither --config nor SEDGE_CONFIG names one, and there is no \
             {SYSTEM_FILE}"
        ),
    }
}

fn dump(config: &Config, effective: bool) -> Result<(), Failure> {
    if effective {
        for key in keys::all() {
            let setting = config.effective(key);
            line(format_args!("# {}. [{}]", key.doc, setting.source))?;
            line(format_args!(
                "{}",
                entry(key.name, Some(key), &setting.value.to_string())
            ))?;
        }
    }
    for (key, setting) in config.settings.iter() {
        if effective && keys::find(key).is_some_and(|key| key.has_effect) {
            continue;
        }
        let line_of = entry(key, keys::find(key), &setting.value.to_string());
        line(format_args!("{line_of} # {}", setting.source))?;
    }
    Ok(())
}

/// Returns a line of TOML. A key that is not set becomes a comment, so that the output can be read
/// back.
fn entry(name: &str, key: Option<&ConfigKey>, value: &str) -> String {
    let text = || toml::Value::from(value);
    let plain = value.trim();
    let value = match key.map(|key| key.kind) {
        _ if value.is_empty() => return format!("# \"{name}\" = \"\""),
        Some(ConfigType::Double) if plain.parse() == Ok(f64::MAX) => {
            return format!("# \"{name}\" = \"\" # no limit");
        }
        Some(ConfigType::Int | ConfigType::Long) => plain
            .parse::<i64>()
            .map_or_else(|_| text(), toml::Value::from),
        Some(ConfigType::Double) => plain
            .parse::<f64>()
            .map_or_else(|_| text(), toml::Value::from),
        Some(ConfigType::Boolean) => plain
            .parse::<bool>()
            .map_or_else(|_| text(), toml::Value::from),
        _ => text(),
    };
    format!("\"{name}\" = {value}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_written_as_its_type() {
        let check = |name: &str, value: &str, expected: &str| {
            assert_eq!(entry(name, keys::find(name), value), expected);
        };
        check("flush.ms", "1000", "\"flush.ms\" = 1000");
        check(
            "log.cleaner.min.cleanable.ratio",
            "0.5",
            "\"log.cleaner.min.cleanable.ratio\" = 0.5",
        );
        check(
            "log.cleaner.enable",
            "true",
            "\"log.cleaner.enable\" = true",
        );
        check("listeners", "a:1,b:2", "\"listeners\" = \"a:1,b:2\"");
        check("cluster.id", "", "# \"cluster.id\" = \"\"");
        check(
            "sedge.plugin.range.max",
            "60",
            "\"sedge.plugin.range.max\" = \"60\"",
        );
        let unlimited = "log.cleaner.io.max.bytes.per.second";
        let default = keys::find(unlimited).and_then(|key| key.default).unwrap();
        check(
            unlimited,
            default,
            &format!("# \"{unlimited}\" = \"\" # no limit"),
        );
    }
}

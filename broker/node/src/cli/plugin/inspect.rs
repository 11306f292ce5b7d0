//! `sedge plugin inspect`: what a plugin is, and why a broker would refuse it.

use std::path::PathBuf;

use clap::Args;
use sedge_plugin::{Artifact, ComponentHash, Error, Limits, Outline, Sealer};
use sedge_protocol::plugin_records;
use serde_json::{Map, Value, json};

use super::{code, deployed};
use crate::cli::connect::Connect;
use crate::client::Client;
use crate::client::topics::Resource;
use crate::process::failure::{Exit, Failure};
use crate::process::output::{self, Output};

/// Show what a plugin is: its world, imports, exports, size, hash and limits.
#[derive(Debug, Args)]
#[command(after_help = "If a broker would refuse the plugin, the exit code is 65.")]
pub struct Inspect {
    /// A file that `plugin build` or `plugin compile` made, or the name of a deployed plugin
    #[arg(value_name = "FILE|NAME")]
    plugin: PathBuf,
    #[command(flatten)]
    connect: Connect,
}

impl Inspect {
    /// Prints the plugin's properties.
    ///
    /// # Errors
    /// There is no such plugin, or a broker would refuse the plugin.
    pub fn run(&self) -> Result<(), Failure> {
        let (content, limits) = if self.plugin.exists() {
            (code::read(&self.plugin)?, Limits::default())
        } else {
            self.deployed()?
        };
        let mut shown = Map::new();
        shown.insert("plugin".into(), json!(self.plugin.display().to_string()));
        let refused = show(&content, &limits, &mut shown);
        let reason = refused.as_ref().err().map(ToString::to_string);
        shown.insert("refused".into(), json!(reason));
        print(shown, self.connect.output)?;
        refused.map_err(|error| {
            let what = format!("{}: a broker refuses this plugin", self.plugin.display());
            Failure::new(Exit::Data, what).advise(error.to_string())
        })
    }

    /// Returns a deployed plugin, and the limits of its broker.
    fn deployed(&self) -> Result<(Vec<u8>, Limits), Failure> {
        let missing = || {
            let what = format!(
                "there is no file {0} and no deployed plugin {0}",
                self.plugin.display()
            );
            Failure::new(Exit::Unavailable, what)
                .advise("`sedge plugin list` lists the deployed plugins")
        };
        let name = self.plugin.to_str().unwrap_or_default();
        plugin_records::check_name(name).map_err(|_| missing())?;
        self.connect.run(async |client| {
            let content = deployed::content(&client, name).await?;
            Ok((content.ok_or_else(missing)?, limits_of(&client).await?))
        })
    }
}

/// Returns the limits that the broker has for plugins.
async fn limits_of(client: &Client) -> Result<Limits, Failure> {
    let brokers = client.describe(&[]).await?.brokers;
    let broker = brokers.keys().next().copied().unwrap_or_default();
    let entries = client
        .describe_configs(Resource::Broker, &broker.to_string())
        .await?;
    let number = |name: &str, otherwise: usize| {
        let entry = entries.iter().find(|entry| entry.name == name);
        let value = entry.and_then(|entry| entry.value.as_ref()?.parse().ok());
        value.unwrap_or(otherwise)
    };
    let defaults = Limits::default();
    let deadline_ms = number("plugin.deadline.ms", defaults.deadline_ms as usize);
    Ok(Limits {
        memory_bytes_max: number("plugin.memory.bytes", defaults.memory_bytes_max),
        deadline_ms: u32::try_from(deadline_ms).unwrap_or(u32::MAX),
        output_bytes_max: number("plugin.output.bytes", defaults.output_bytes_max),
        component_bytes_max: number("plugin.component.bytes", defaults.component_bytes_max),
    })
}

/// Adds the properties of a plugin, as far as they are known. Returns why a broker refuses the
/// plugin.
fn show(content: &[u8], limits: &Limits, shown: &mut Map<String, Value>) -> Result<(), Error> {
    let mut add = |name: &str, value: Value| {
        shown.insert(name.to_owned(), value);
    };
    add("bytes", json!(content.len()));
    let is_code = Artifact::is_one(content);
    let kind = if is_code { "machine code" } else { "component" };
    let component = if is_code {
        let artifact = Artifact::read(content).map_err(Error::Artifact)?;
        add("target", json!(artifact.target));
        add("sealed_by", json!(sealer(artifact.sealer)));
        add("component_bytes", json!(artifact.component.len()));
        add("sha256", json!(artifact.component_hash.to_string()));
        artifact.component
    } else {
        add("sha256", json!(ComponentHash::of(content).to_string()));
        content
    };
    let outline = Outline::read(component)?;
    add("kind", json!(kind));
    add("imports", json!(outline.imports));
    add("exports", json!(outline.exports));
    add(
        "limits",
        json!({
            "plugin.component.bytes": limits.component_bytes_max,
            "plugin.deadline.ms": limits.deadline_ms,
            "plugin.memory.bytes": limits.memory_bytes_max,
            "plugin.output.bytes": limits.output_bytes_max,
        }),
    );
    add("world", json!(outline.world()?.to_string()));
    sedge_plugin::inspect(component, limits.component_bytes_max).map(|_| ())
}

const fn sealer(sealer: Sealer) -> &'static str {
    match sealer {
        Sealer::Nobody => "nobody",
        Sealer::Operator => "the operator's key",
        Sealer::Installation => "the installation's key",
    }
}

/// The order of the properties for people.
const ORDER: [&str; 11] = [
    "plugin",
    "world",
    "kind",
    "target",
    "sealed_by",
    "imports",
    "exports",
    "bytes",
    "component_bytes",
    "sha256",
    "limits",
];

fn print(shown: Map<String, Value>, format: Output) -> Result<(), Failure> {
    if format == Output::Json {
        return output::json(&Value::Object(shown));
    }
    for name in ORDER {
        let Some(value) = shown.get(name) else {
            continue;
        };
        let label = name.replace('_', " ");
        let lines: Vec<String> = match value {
            Value::Array(values) if values.is_empty() => vec!["none".to_owned()],
            Value::Array(values) => values.iter().map(text).collect(),
            Value::Object(values) => {
                let line = |(name, value): (&String, &Value)| format!("{name}={}", text(value));
                values.iter().map(line).collect()
            }
            value => vec![text(value)],
        };
        for (index, line) in lines.iter().enumerate() {
            let label = if index == 0 { &label } else { "" };
            output::line(format_args!("{label:<16} {line}"))?;
        }
    }
    Ok(())
}

/// A component's names come from its author, and may contain control sequences.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.replace(char::is_control, "?"),
        other => other.to_string(),
    }
}

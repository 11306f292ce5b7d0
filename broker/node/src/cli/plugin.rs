//! `sedge plugin`: lists, deploys and deletes plugins.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use sedge_core::metadata::PLUGINS_TOPIC as TOPIC;
use sedge_plugin::{Artifact, World};
use sedge_protocol::ids::Offset;
use sedge_protocol::plugin_records;
use serde_json::json;

use super::connect::Connect;
use super::plugin_code;
use crate::client::records::{EARLIEST, LATEST};
use crate::client::{Client, plugins};
use crate::process::failure::{Exit, Failure};
use crate::process::output::Table;

/// Build, compile, import, deploy, list and delete plugins.
#[derive(Debug, Args)]
pub struct PluginCommand {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Build a plugin from its source
    #[cfg(feature = "jit")]
    Build(plugin_code::Build),
    /// Compile a component to machine code, for a device whose sedge has no plugin compiler
    #[cfg(feature = "jit")]
    Compile(plugin_code::Compile),
    #[cfg(feature = "jit")]
    #[command(hide = true)]
    CompileForParent,
    /// Import machine code that `plugin compile` made; run this on the device
    Import(plugin_code::Import),
    /// Deploy a component to the broker; topics use it with sedge.filter=NAME
    Deploy {
        /// Name of the plugin
        name: String,
        /// File that `plugin build` or `plugin compile` made
        file: PathBuf,
        #[command(flatten)]
        connect: Connect,
    },
    /// List the deployed plugins
    List {
        #[command(flatten)]
        connect: Connect,
    },
    /// Delete plugins. A topic that is still bound to one refuses produce requests, unless its
    /// sedge.filter.on.error says otherwise
    Delete {
        /// Names of the plugins
        #[arg(required = true)]
        names: Vec<String>,
        #[command(flatten)]
        connect: Connect,
    },
}

impl PluginCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// A file cannot be read, or the broker cannot be reached or refuses.
    pub fn run(&self) -> Result<(), Failure> {
        match &self.verb {
            #[cfg(feature = "jit")]
            Verb::Build(build) => build.run(),
            #[cfg(feature = "jit")]
            Verb::Compile(compile) => compile.run(),
            #[cfg(feature = "jit")]
            Verb::CompileForParent => plugin_code::compile_for_parent(),
            Verb::Import(import) => import.run(),
            Verb::Deploy {
                name,
                file,
                connect,
            } => {
                plugin_records::check_name(name).map_err(|why| Failure::new(Exit::Usage, why))?;
                let content = plugin_code::read(file)?;
                check_content(file, &content)?;
                let table = connect.run(async |client| {
                    let offset = plugins::deploy(&client, name, &content).await?;
                    let mut table = Table::new(&["name", "bytes", "offset"]);
                    table.row([json!(name), json!(content.len()), json!(offset.get())]);
                    Ok(table)
                })?;
                table.print(connect.output)
            }
            Verb::List { connect } => connect.run(list)?.print(connect.output),
            Verb::Delete { names, connect } => {
                let table = connect.run(async |client| delete(&client, names).await)?;
                table.print(connect.output)
            }
        }
    }
}

/// Refuses a plugin here that the broker would refuse later, less visibly.
fn check_content(file: &Path, content: &[u8]) -> Result<(), Failure> {
    let refused = |why: String| {
        Failure::new(Exit::Data, format!("{}: {why}", file.display()))
            .advise("`sedge plugin build` makes a component, `sedge plugin compile` machine code")
    };
    let component = if Artifact::is_one(content) {
        let artifact = Artifact::read(content);
        artifact
            .map_err(|error| refused(error.to_string()))?
            .component
    } else {
        content
    };
    let (world, _) = sedge_plugin::inspect(component, plugin_records::CONTENT_BYTES_MAX)
        .map_err(|error| refused(error.to_string()))?;
    match world {
        World::RecordFilter => Ok(()),
        World::KeyPartitioner | World::QuotaPolicy => Err(refused(format!(
            "this is a {world}, and this version of sedge calls filters only"
        ))),
    }
}

/// A deployed plugin.
struct Deployed {
    bytes: usize,
    timestamp_ms: i64,
    offset: Offset,
}

async fn deployed(client: &Client) -> Result<BTreeMap<String, Deployed>, Failure> {
    let mut deployed = BTreeMap::new();
    let topics = client.describe(&[TOPIC]).await?.topics;
    if topics
        .get(TOPIC)
        .is_none_or(|topic| topic.partitions.is_empty())
    {
        return Ok(deployed);
    }
    let ends = client.list_offsets(&[(TOPIC, 0, LATEST)]).await?;
    let starts = client.list_offsets(&[(TOPIC, 0, EARLIEST)]).await?;
    let of = |offsets: &BTreeMap<_, Option<Offset>>| offsets.values().next().copied().flatten();
    let (Some(mut next), Some(end)) = (of(&starts), of(&ends)) else {
        return Ok(deployed);
    };
    while next < end {
        let bytes_max = plugin_records::BATCH_BYTES_MAX as i32;
        let fetched = client.fetch(TOPIC, 0, next, bytes_max, 0).await?;
        let Some(last) = fetched.batches.last() else {
            break;
        };
        next = last.header.next_offset();
        for batch in &fetched.batches {
            let read = plugin_records::each_change(batch, |change| {
                let name = change.name.to_owned();
                match change.content {
                    Some(content) => deployed.insert(
                        name,
                        Deployed {
                            bytes: content.len(),
                            timestamp_ms: change.timestamp_ms,
                            offset: batch.header.base_offset(),
                        },
                    ),
                    None => deployed.remove(&name),
                };
            });
            read.map_err(|error| {
                let offset = batch.header.base_offset().get();
                Failure::new(Exit::Data, format!("{TOPIC} at offset {offset}: {error}"))
            })?;
        }
    }
    Ok(deployed)
}

async fn list(client: Client) -> Result<Table, Failure> {
    let columns = &["name", "bytes", "offset", "deployed_ms"];
    let mut table = Table::new(columns).with_dates(&["deployed_ms"]);
    for (name, plugin) in deployed(&client).await? {
        table.row([
            json!(name),
            json!(plugin.bytes),
            json!(plugin.offset.get()),
            json!(plugin.timestamp_ms),
        ]);
    }
    Ok(table)
}

async fn delete(client: &Client, names: &[String]) -> Result<Table, Failure> {
    let deployed = deployed(client).await?;
    if let Some(name) = names.iter().find(|name| !deployed.contains_key(*name)) {
        let what = format!("no plugin named {name} is deployed; nothing was deleted");
        return Err(Failure::new(Exit::Unavailable, what)
            .advise("`sedge plugin list` lists the deployed plugins"));
    }
    let mut table = Table::new(&["name", "result"]);
    for name in names {
        plugins::change(client, name, None).await?;
        table.row([json!(name), json!("deleted")]);
    }
    Ok(table)
}

//! `sedge plugin`: lists, deploys and deletes plugins. The other verbs are in the folder.

#[cfg(feature = "jit")]
mod bench;
#[cfg(feature = "jit")]
mod build;
mod code;
mod deployed;
#[cfg(feature = "jit")]
mod dev;
mod inspect;
#[cfg(feature = "jit")]
mod lines;
mod logs;
#[cfg(feature = "jit")]
mod memory;
#[cfg(feature = "jit")]
mod new;
mod sign;
#[cfg(feature = "jit")]
mod test;
#[cfg(feature = "jit")]
mod trial;
mod versions;
#[cfg(feature = "jit")]
mod watched;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use sedge_protocol::plugin_records;
use serde_json::json;

use super::connect::Connect;
use super::signing;
use crate::client::{Client, plugins};
use crate::process::failure::{Exit, Failure};
use crate::process::output::Table;

/// Start, build, test, measure, inspect, compile, import, sign, deploy, list, describe, roll back,
/// pause and delete plugins, and show what they logged.
#[derive(Debug, Args)]
pub struct PluginCommand {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a project for a new plugin
    #[cfg(feature = "jit")]
    New(new::New),
    /// Build a plugin from its source
    #[cfg(feature = "jit")]
    Build(build::Build),
    /// Build, deploy and bind a plugin after each change of its source, and show its verdicts
    #[cfg(feature = "jit")]
    Dev(dev::Dev),
    /// Run a plugin over records, without a broker, and compare its answers
    #[cfg(feature = "jit")]
    Test(test::Test),
    /// Measure what a plugin costs for each record, without a broker
    #[cfg(feature = "jit")]
    Bench(bench::Bench),
    /// Compile a component to machine code, for a device whose sedge has no plugin compiler
    #[cfg(feature = "jit")]
    Compile(code::Compile),
    #[cfg(feature = "jit")]
    #[command(hide = true)]
    CompileForParent,
    /// Show what a plugin is: its world, imports, exports, size, hash and limits
    Inspect(inspect::Inspect),
    /// Import machine code that `plugin compile` made; run this on the device
    Import(code::Import),
    /// Sign a plugin, for brokers that have plugin.trusted.keys
    Sign(sign::Sign),
    /// Deploy a component to the broker, with the signature in FILE.sig if there is one; topics use
    /// a filter with sedge.filter=NAME and a partitioner with sedge.partitioner=NAME, the broker a
    /// quota policy with sedge.quota.policy=NAME
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
    /// Show the versions of a plugin: what is deployed, and what the broker keeps of what was
    Describe(versions::Describe),
    /// Show the last lines that a plugin logged
    Logs(logs::Logs),
    /// Deploy a version again that the broker keeps
    Rollback(versions::Rollback),
    /// Call a plugin no longer: all goes on as if nothing was bound to it
    Pause(versions::Pause),
    /// Call a plugin again that was paused
    Resume(versions::Pause),
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
            Verb::New(new) => new.run(),
            #[cfg(feature = "jit")]
            Verb::Build(build) => build.run(),
            #[cfg(feature = "jit")]
            Verb::Dev(dev) => dev.run(),
            #[cfg(feature = "jit")]
            Verb::Test(test) => test.run(),
            #[cfg(feature = "jit")]
            Verb::Bench(bench) => bench.run(),
            #[cfg(feature = "jit")]
            Verb::Compile(compile) => compile.run(),
            #[cfg(feature = "jit")]
            Verb::CompileForParent => code::compile_for_parent(),
            Verb::Inspect(inspect) => inspect.run(),
            Verb::Import(import) => import.run(),
            Verb::Sign(sign) => sign.run(),
            Verb::Deploy {
                name,
                file,
                connect,
            } => {
                plugin_records::check_name(name).map_err(|why| Failure::new(Exit::Usage, why))?;
                let content = code::read(file)?;
                check_content(file, &content)?;
                let signature = signing::signature(file, "sedge plugin sign")?;
                let signature = signature.as_deref();
                let table = connect.run(async |client| {
                    let offset = plugins::deploy_signed(&client, name, &content, signature).await?;
                    let mut table = Table::new(&["name", "bytes", "offset"]);
                    table.row([json!(name), json!(content.len()), json!(offset.get())]);
                    Ok(table)
                })?;
                table.print(connect.output)
            }
            Verb::List { connect } => connect.run(list)?.print(connect.output),
            Verb::Describe(describe) => describe.run(),
            Verb::Logs(logs) => logs.run(),
            Verb::Rollback(rollback) => rollback.run(),
            Verb::Pause(pause) => pause.run(true),
            Verb::Resume(pause) => pause.run(false),
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
    let component = code::component(content).map_err(|error| refused(error.to_string()))?;
    sedge_plugin::inspect(component, plugin_records::CONTENT_BYTES_MAX)
        .map(|_| ())
        .map_err(|error| refused(error.to_string()))
}

async fn list(client: Client) -> Result<Table, Failure> {
    let columns = &["name", "bytes", "offset", "deployed_ms"];
    let mut table = Table::new(columns).with_dates(&["deployed_ms"]);
    for (name, plugin) in deployed::all(&client).await? {
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
    let deployed = deployed::all(client).await?;
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

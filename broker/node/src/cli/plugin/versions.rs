//! `sedge plugin describe`, `rollback`, `pause` and `resume`: what is deployed, what was, and the
//! way back.

use clap::Args;
use sedge_plugin::{ComponentHash, World};
use sedge_protocol::plugin_records;
use serde_json::json;

use super::code;
use super::deployed::{self, Versions};
use crate::cli::connect::Connect;
use crate::client::{Client, plugins};
use crate::process::failure::{Exit, Failure};
use crate::process::output::Table;

/// The arguments of `sedge plugin describe`.
#[derive(Debug, Args)]
pub struct Describe {
    /// Name of the plugin
    name: String,
    #[command(flatten)]
    connect: Connect,
}

impl Describe {
    /// # Errors
    /// The broker cannot be reached, or there is no such plugin.
    pub fn run(&self) -> Result<(), Failure> {
        let found = self
            .connect
            .run(async |client| of(&client, &self.name).await)?;
        let columns = &[
            "version",
            "state",
            "world",
            "bytes",
            "sha256",
            "deployed_ms",
        ];
        let mut table = Table::new(columns).with_dates(&["deployed_ms"]);
        for version in found.all {
            let state = match (version.is_deployed, version.is_rollback) {
                (true, _) if found.is_paused => "paused",
                (true, false) => "deployed",
                (true, true) => "deployed again",
                (false, _) => "kept",
            };
            let (world, hash) = match inspect(&version.content) {
                Ok((world, hash)) => (world.to_string(), Some(hash.to_string())),
                Err(why) => (format!("unknown: {why}"), None),
            };
            table.row([
                json!(version.offset.get()),
                json!(state),
                json!(world),
                json!(version.content.len()),
                json!(hash),
                json!(version.timestamp_ms),
            ]);
        }
        table.print(self.connect.output)
    }
}

/// The arguments of `sedge plugin rollback`.
#[derive(Debug, Args)]
pub struct Rollback {
    /// Name of the plugin
    name: String,
    /// The version to deploy again; not given: the newest that is kept. `plugin describe` shows
    /// them
    #[arg(long)]
    to: Option<i64>,
    #[command(flatten)]
    connect: Connect,
}

impl Rollback {
    /// # Errors
    /// The broker cannot be reached, or has no such version.
    pub fn run(&self) -> Result<(), Failure> {
        let table = self.connect.run(async |client| {
            let versions = of(&client, &self.name).await?.all;
            let kept = versions.iter().filter(|version| !version.is_deployed);
            let chosen = match self.to {
                Some(to) => kept.clone().find(|version| version.offset.get() == to),
                None => kept.clone().next_back(),
            };
            let Some(chosen) = chosen else {
                let all: Vec<_> = kept
                    .map(|version| version.offset.get().to_string())
                    .collect();
                let what = match self.to {
                    Some(to) => format!("version {to} of the plugin {} is not kept", self.name),
                    None => format!("no other version of the plugin {} is kept", self.name),
                };
                let advice = match &all[..] {
                    [] => "deploy the older component again".to_owned(),
                    all => format!("these are kept: {}", all.join(", ")),
                };
                return Err(Failure::new(Exit::Unavailable, what).advise(advice));
            };
            let signature = chosen.signature.as_deref();
            let (name, content) = (&self.name, &chosen.content);
            let offset = plugins::deploy_signed(&client, name, content, signature).await?;
            let mut table = Table::new(&["name", "version", "deployed_as"]);
            table.row([
                json!(self.name),
                json!(chosen.offset.get()),
                json!(offset.get()),
            ]);
            Ok(table)
        })?;
        table.print(self.connect.output)
    }
}

/// The arguments of `sedge plugin pause` and `resume`.
#[derive(Debug, Args)]
pub struct Pause {
    /// Name of the plugin
    name: String,
    #[command(flatten)]
    connect: Connect,
}

impl Pause {
    /// # Errors
    /// The broker cannot be reached, or there is no such plugin.
    pub fn run(&self, is_paused: bool) -> Result<(), Failure> {
        let table = self.connect.run(async |client| {
            of(&client, &self.name).await?;
            plugins::pause(&client, &self.name, is_paused).await?;
            let mut table = Table::new(&["name", "result"]);
            let result = if is_paused { "paused" } else { "resumed" };
            table.row([json!(self.name), json!(result)]);
            Ok(table)
        })?;
        table.print(self.connect.output)
    }
}

/// Returns the versions of a plugin that is deployed.
async fn of(client: &Client, name: &str) -> Result<Versions, Failure> {
    let versions = deployed::versions(client, name).await?;
    if versions.all.iter().any(|version| version.is_deployed) {
        return Ok(versions);
    }
    let what = format!("no plugin named {name} is deployed");
    Err(Failure::new(Exit::Unavailable, what)
        .advise("`sedge plugin list` lists the deployed plugins"))
}

/// Returns the world and the hash of a component, also if it comes with machine code.
fn inspect(content: &[u8]) -> Result<(World, ComponentHash), String> {
    let component = code::component(content).map_err(|error| error.to_string())?;
    let found = sedge_plugin::inspect(component, plugin_records::CONTENT_BYTES_MAX);
    found.map_err(|error| error.to_string())
}

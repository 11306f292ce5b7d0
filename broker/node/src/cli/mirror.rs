//! `sedge mirror`: how far links have come, by the offsets they commit.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use serde_json::json;

use super::Failure;
use super::connect::Connect;
use super::failure::Exit;
use super::group::offsets_table;
use super::output::Table;
use crate::client::Client;

/// A link commits how far it has come as a group of this name, so that Kafka's tools show its lag
/// too.
const GROUP_PREFIX: &str = "sedge-mirror-";

/// List and describe mirror links.
#[derive(Debug, Args)]
pub struct MirrorCommand {
    #[command(flatten)]
    connect: Connect,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the links that have copied something, with their lag in records
    List,
    /// Show how far a link has come in each partition
    Describe { link: String },
}

impl MirrorCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// The broker cannot be reached or refuses.
    pub fn run(&self) -> Result<(), Failure> {
        let table = self.connect.run(async |client| match &self.verb {
            Verb::List => list(&client).await,
            Verb::Describe { link } => describe(&client, link).await,
        })?;
        table.print(self.connect.output)
    }
}

async fn list(client: &Client) -> Result<Table, Failure> {
    let mut table = Table::new(&["link", "topics", "partitions", "lag"]);
    for group in client.list_groups().await? {
        let Some(link) = group.name.strip_prefix(GROUP_PREFIX) else {
            continue;
        };
        let committed = client.committed_offsets(&group.name).await?;
        let topics: BTreeSet<&str> = committed.keys().map(|(topic, _)| topic.as_str()).collect();
        let (_, lag) = offsets_table(client, &committed).await?;
        table.row([
            json!(link),
            json!(topics.len()),
            json!(committed.len()),
            json!(lag),
        ]);
    }
    Ok(table)
}

async fn describe(client: &Client, link: &str) -> Result<Table, Failure> {
    let committed = client
        .committed_offsets(&format!("{GROUP_PREFIX}{link}"))
        .await?;
    if committed.is_empty() {
        let what = format!("no link called {link} has copied anything from this broker");
        return Err(Failure::new(Exit::Unavailable, what).advise(
            "`sedge mirror list` lists those that have; a link is configured as [mirror.NAME]",
        ));
    }
    Ok(offsets_table(client, &committed).await?.0)
}

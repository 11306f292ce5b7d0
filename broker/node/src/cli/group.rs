//! `sedge group`: a thin command; Kafka's own tools can do the same.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde_json::json;

use super::connect::Connect;
use crate::client::Client;
use crate::client::groups::CommittedOffsets;
use crate::client::records::LATEST;
use crate::process::failure::Failure;
use crate::process::output::{self, Output, Table};

/// List and describe consumer groups.
#[derive(Debug, Args)]
pub struct GroupCommand {
    #[command(flatten)]
    connect: Connect,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the groups
    List,
    /// Show a group's members, its committed offsets and its lag
    Describe {
        /// Name of the group
        name: String,
    },
}

impl GroupCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// The broker cannot be reached or refuses.
    pub fn run(&self) -> Result<(), Failure> {
        let output = self.connect.output;
        self.connect.run(async |client| match &self.verb {
            Verb::List => {
                let mut table = Table::new(&["name", "state", "protocol_type"]);
                for group in client.list_groups().await? {
                    table.row([
                        group.name.into(),
                        group.state.into(),
                        group.protocol_type.into(),
                    ]);
                }
                table.print(output)
            }
            Verb::Describe { name } => describe(&client, name, output).await,
        })
    }
}

async fn describe(client: &Client, name: &str, output: Output) -> Result<(), Failure> {
    let group = client.describe_group(name).await?;
    let committed = client.committed_offsets(name).await?;
    let offsets = offsets_table(client, &committed).await?.0;
    let mut members = Table::new(&["member", "client_id", "host", "instance_id"]);
    for member in group.members {
        members.row([
            member.id.into(),
            member.client_id.into(),
            member.host.into(),
            json!(member.instance_id),
        ]);
    }
    match output {
        Output::Json => output::json(&json!({
            "name": group.name,
            "state": group.state,
            "protocol_type": group.protocol_type,
            "protocol": group.protocol,
            "members": members.json(),
            "offsets": offsets.json(),
        })),
        Output::Text => {
            output::line(format_args!("group {}: {}", group.name, group.state))?;
            members.print(output)?;
            output::line(format_args!(""))?;
            offsets.print(output)
        }
    }
}

/// Returns committed offsets next to the ends of their partitions, and the total lag.
pub async fn offsets_table(
    client: &Client,
    committed: &CommittedOffsets,
) -> Result<(Table, i64), Failure> {
    let mut table = Table::new(&["topic", "partition", "committed", "log_end", "lag"]);
    let ends = log_ends(client, committed).await?;
    let mut total = 0;
    for (key, offset) in committed {
        let (topic, partition) = key;
        let end = ends.get(key).copied();
        let lag = end.map(|end| (end - offset.offset.get()).max(0));
        total += lag.unwrap_or(0);
        table.row([
            json!(topic),
            json!(partition),
            json!(offset.offset.get()),
            json!(end),
            json!(lag),
        ]);
    }
    Ok((table, total))
}

/// Returns the ends of the partitions that still exist: a deleted topic's committed offsets outlive
/// it.
pub async fn log_ends(
    client: &Client,
    committed: &CommittedOffsets,
) -> Result<BTreeMap<(String, i32), i64>, Failure> {
    let mut names: Vec<&str> = committed.keys().map(|(topic, _)| topic.as_str()).collect();
    names.dedup();
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let topics = client.describe(&names).await?.topics;
    let exists = |topic: &str, partition: i32| {
        topics
            .get(topic)
            .is_some_and(|topic| topic.partitions.contains_key(&partition))
    };
    let wanted: Vec<_> = committed
        .keys()
        .filter(|(topic, partition)| exists(topic, *partition))
        .map(|(topic, partition)| (topic.as_str(), *partition, LATEST))
        .collect();
    let ends = client.list_offsets(&wanted).await?;
    Ok(ends
        .into_iter()
        .filter_map(|(key, end)| Some((key, end?.get())))
        .collect())
}

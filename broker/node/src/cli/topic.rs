//! `sedge topic`: a thin command; Kafka's own tools can do the same.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::connect::Connect;
use super::flags::key_value;
use crate::client::records::{EARLIEST, LATEST};
use crate::client::topics::{NewTopic, Outcomes, Resource};
use crate::client::{self, Client, TopicMetadata};
use crate::plugins::FILTER_STATE_KEY;
use crate::process::failure::{Exit, Failure};
use crate::process::output::{self, Output, Table};

/// List, describe, create, change and delete topics.
#[derive(Debug, Args)]
pub struct TopicCommand {
    #[command(flatten)]
    connect: Connect,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the topics
    List {
        /// Include the broker's internal topics
        #[arg(long)]
        internal: bool,
    },
    /// Show a topic's partitions and its configuration
    Describe {
        /// Name of the topic
        name: String,
    },
    /// Create a topic
    Create {
        /// Name of the topic
        name: String,
        /// Number of partitions [default: the broker's num.partitions]
        #[arg(long, value_parser = clap::value_parser!(i32).range(1..))]
        partitions: Option<i32>,
        /// Set a configuration key, like retention.ms=3600000 or sedge.filter=NAME; can be given
        /// more than once
        #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
        config: Vec<(String, String)>,
    },
    /// Change a topic's configuration
    Alter {
        /// Name of the topic
        name: String,
        /// Set a configuration key; can be given more than once
        #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
        set: Vec<(String, String)>,
        /// Reset a configuration key to its default; can be given more than once
        #[arg(long, value_name = "KEY")]
        unset: Vec<String>,
    },
    /// Delete topics and all their records
    Delete {
        /// Names of the topics
        #[arg(required = true)]
        names: Vec<String>,
    },
}

impl TopicCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// The broker cannot be reached or refuses.
    pub fn run(&self) -> Result<(), Failure> {
        let output = self.connect.output;
        self.connect.run(async |client| match &self.verb {
            Verb::List { internal } => list(&client, *internal).await?.print(output),
            Verb::Describe { name } => describe(&client, name, output).await,
            Verb::Create {
                name,
                partitions,
                config,
            } => {
                let topic = NewTopic {
                    name: name.clone(),
                    partitions: *partitions,
                    replication_factor: None,
                    configs: config.iter().cloned().collect(),
                };
                report(client.create_topics(&[topic]).await?, "created", output)
            }
            Verb::Alter { name, set, unset } => {
                let set = set
                    .iter()
                    .map(|(key, value)| (key.as_str(), Some(value.as_str())));
                let unset = unset.iter().map(|key| (key.as_str(), None));
                let changes: Vec<_> = set.chain(unset).collect();
                if changes.is_empty() {
                    let what = "nothing to change: give --set KEY=VALUE or --unset KEY";
                    return Err(Failure::new(Exit::Usage, what));
                }
                client
                    .alter_configs(Resource::Topic, name, &changes)
                    .await?;
                report(vec![(name.clone(), Ok(()))], "changed", output)
            }
            Verb::Delete { names } => report(client.delete_topics(names).await?, "deleted", output),
        })
    }
}

async fn list(client: &Client, internal: bool) -> Result<Table, Failure> {
    let mut table = Table::new(&["name", "partitions", "internal"]);
    for (name, topic) in client.describe_all().await?.topics {
        if internal || !topic.internal {
            table.row([
                name.into(),
                topic.partitions.len().into(),
                topic.internal.into(),
            ]);
        }
    }
    Ok(table)
}

async fn describe(client: &Client, name: &str, output: Output) -> Result<(), Failure> {
    let topic = topic_named(client, name).await?;
    let wanted: Vec<_> = topic
        .partitions
        .keys()
        .flat_map(|index| [(name, *index, EARLIEST), (name, *index, LATEST)])
        .collect();
    let starts: Vec<_> = wanted.iter().filter(|w| w.2 == EARLIEST).copied().collect();
    let ends: Vec<_> = wanted.iter().filter(|w| w.2 == LATEST).copied().collect();
    let (starts, ends) = (
        client.list_offsets(&starts).await?,
        client.list_offsets(&ends).await?,
    );
    let mut table = Table::new(&[
        "partition",
        "leader",
        "leader_epoch",
        "log_start",
        "log_end",
        "records",
    ]);
    for (index, partition) in &topic.partitions {
        let key = (name.to_owned(), *index);
        let offset = |offsets: &std::collections::BTreeMap<_, Option<_>>| {
            offsets
                .get(&key)
                .copied()
                .flatten()
                .map(sedge_protocol::ids::Offset::get)
        };
        let (start, end) = (offset(&starts), offset(&ends));
        let records = start.zip(end).map(|(start, end)| end - start);
        table.row([
            json!(index),
            json!(partition.leader),
            json!(partition.leader_epoch),
            json!(start),
            json!(end),
            json!(records),
        ]);
    }
    let configs = client.describe_configs(Resource::Topic, name).await?;
    let state = configs
        .iter()
        .find(|entry| entry.name == FILTER_STATE_KEY)
        .and_then(|entry| entry.value.clone());
    let set: Vec<_> = configs.into_iter().filter(|entry| entry.is_set).collect();
    match output {
        Output::Json => {
            let configs = set
                .into_iter()
                .map(|entry| (entry.name, Value::from(entry.value)));
            output::json(&json!({
                "name": name,
                "id": topic.id.to_string(),
                "internal": topic.internal,
                "configs": Value::Object(configs.collect()),
                "filter_state": state,
                "partitions": table.json(),
            }))
        }
        Output::Text => {
            output::line(format_args!("topic {name}, id {}", topic.id))?;
            for entry in set {
                let value = entry.value.unwrap_or_else(|| "(hidden)".to_owned());
                output::line(format_args!("  {} = {value}", entry.name))?;
            }
            if let Some(state) = state {
                output::line(format_args!("filters: {state}"))?;
            }
            table.print(output)
        }
    }
}

/// Returns the topic, or the reason why it cannot be shown.
pub async fn topic_named(client: &Client, name: &str) -> Result<TopicMetadata, Failure> {
    let mut topics = client.describe(&[name]).await?.topics;
    let topic = topics.remove(name).ok_or_else(|| {
        Failure::new(Exit::Unavailable, format!("there is no topic named {name}"))
    })?;
    match topic.error.code() {
        0 => Ok(topic),
        _ => Err(
            Failure::new(Exit::Unavailable, format!("topic {name}: {}", topic.error))
                .advise("`sedge topic list` lists the topics"),
        ),
    }
}

/// Prints the result for each name; the first failure makes the command fail.
fn report(outcomes: Outcomes, done: &str, output: Output) -> Result<(), Failure> {
    let only_one = outcomes.len() == 1;
    let mut failure = None;
    let mut table = Table::new(&["name", "result"]);
    for (name, outcome) in outcomes {
        match outcome {
            Ok(()) => table.row([name.into(), done.into()]),
            Err(error) => {
                table.row([name.clone().into(), describe_error(&error).into()]);
                let described = describe_error(&error);
                let mut failed = Failure::from(error);
                failed.what = format!("{name}: {described}");
                failure.get_or_insert(failed);
            }
        }
    }
    match failure {
        Some(failure) if output == Output::Text && only_one => Err(failure),
        Some(failure) => table.print(output).and(Err(failure)),
        None => table.print(output),
    }
}

fn describe_error(error: &client::Error) -> String {
    match error {
        client::Error::Broker {
            code,
            message: None,
            ..
        } => code.to_string(),
        client::Error::Broker {
            message: Some(message),
            ..
        } => message.clone(),
        other => other.to_string(),
    }
}

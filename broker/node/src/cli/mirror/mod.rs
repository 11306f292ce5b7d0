//! `sedge mirror`: makes links, shows their progress by the offsets that they commit and what holds
//! them up, and moves their cursors past it.

mod edit;
mod plan;
mod translate;

use std::collections::{BTreeMap, BTreeSet};

use clap::{Args, Subcommand};
use sedge_core::mirror::GROUP_PREFIX;
use sedge_protocol::ErrorCode;
use sedge_protocol::ids::Offset;
use serde_json::{Value, json};

use super::connect::Connect;
use super::group::{log_ends, offsets_table};
use crate::client::groups::CommittedOffset;
use crate::client::records::{EARLIEST, LATEST};
use crate::client::topics::{ConfigEntry, Resource};
use crate::client::{Client, Error};
use crate::handlers::configs::link_state;
use crate::mirror::{Origin, group_of};
use crate::process::failure::{Exit, Failure};
use crate::process::output::{self, Output, Table};
use crate::process::secret::HIDDEN;

/// Create, list, describe, change, pause and delete mirror links, and move their cursors.
#[derive(Debug, Args)]
pub struct MirrorCommand {
    #[command(flatten)]
    connect: Connect,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show what a link does, or would do with these keys, by asking its upstream; changes nothing
    Plan {
        /// Name of the link, which need not exist
        link: String,
        #[command(flatten)]
        keys: edit::Keys,
    },
    /// Create a link, which starts at once; a restart and a backup keep it
    Create {
        /// Name of the link
        link: String,
        #[command(flatten)]
        keys: edit::Keys,
    },
    /// Change keys of a link that was made by `sedge mirror create`
    Alter {
        /// Name of the link
        link: String,
        #[command(flatten)]
        keys: edit::Keys,
        /// Reset a key to its default; can be given more than once
        #[arg(long, value_name = "KEY")]
        unset: Vec<String>,
    },
    /// Stop a link until it is resumed, also over restarts of the broker
    Pause {
        /// Name of the link
        link: String,
    },
    /// Let a paused link go on where it was
    Resume {
        /// Name of the link
        link: String,
    },
    /// Delete a link that was made by `sedge mirror create`
    Delete {
        /// Name of the link
        link: String,
        /// Forget the link's cursors: a new link of this name begins at the start of the topics
        #[arg(long)]
        forget: bool,
    },
    /// List the links, with their lag in records
    List,
    /// Show a link's state, the cursor and lag of each partition, and what is held and why
    Describe {
        /// Name of the link
        link: String,
    },
    /// Translate an offset of a topic here to the one upstream, or back
    Translate(translate::Translation),
    /// Move a link's cursor: records that it passes over are not copied, and are counted
    Skip {
        /// Name of the link
        link: String,
        /// Partition, like sensors:0
        #[arg(value_name = "TOPIC:PARTITION", value_parser = partition)]
        partition: (String, i32),
        /// Next offset to copy
        #[arg(long, value_name = "OFFSET")]
        to: i64,
    },
}

impl MirrorCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// The broker cannot be reached or refuses.
    pub fn run(&self) -> Result<(), Failure> {
        let output = self.connect.output;
        self.connect.run(async |client| match &self.verb {
            Verb::Create { link, keys } => edit::create(&client, link, keys).await?.print(output),
            Verb::Alter { link, keys, unset } => {
                let altered = edit::alter(&client, link, keys, unset).await?;
                altered.print(output)
            }
            Verb::Plan { link, keys } => plan::plan(&client, link, keys, output).await,
            Verb::Pause { link } => edit::pause(&client, link, true).await?.print(output),
            Verb::Resume { link } => edit::pause(&client, link, false).await?.print(output),
            Verb::Delete { link, forget } => {
                edit::delete(&client, link, *forget).await?.print(output)
            }
            Verb::List => list(&client).await?.print(output),
            Verb::Describe { link } => describe(&client, link, output).await,
            Verb::Translate(of) => translate::translate(&client, of).await?.print(output),
            Verb::Skip {
                link,
                partition,
                to,
            } => skip(&client, link, partition, *to).await?.print(output),
        })
    }
}

fn partition(text: &str) -> Result<(String, i32), String> {
    let parsed = text.rsplit_once(':').and_then(|(topic, index)| {
        let index = index.parse().ok()?;
        Some((topic.to_owned(), index))
    });
    parsed.ok_or_else(|| "write TOPIC:PARTITION, like sensors:0".to_owned())
}

/// The broker's report about a link that it runs.
#[derive(Debug, Default)]
struct State {
    name: String,
    mode: Option<String>,
    why: Option<String>,
    held: u64,
    /// Reasons why partitions are held, by `TOPIC-INDEX`.
    partitions: BTreeMap<String, String>,
    /// Reasons why topics were not begun, by topic.
    not_begun: BTreeMap<String, String>,
    /// Reasons why topics are not kept in step, by topic.
    notes: BTreeMap<String, String>,
    progress: Value,
    topics: BTreeMap<String, Value>,
    last_error: Value,
    budget: Value,
}

/// Returns the state of a link; `None` if the broker runs no such link.
async fn state(client: &Client, link: &str) -> Result<Option<State>, Failure> {
    let group = group_of(link);
    let entries = match client.describe_configs(Resource::Group, &group).await {
        Ok(entries) => entries,
        // The broker does not report link states.
        Err(Error::Broker {
            code: ErrorCode::InvalidRequest,
            ..
        }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut state = State::default();
    for entry in entries {
        let value = entry.value.unwrap_or_default();
        if let Some(partition) = entry.name.strip_prefix(link_state::HELD_PREFIX) {
            state.partitions.insert(partition.to_owned(), value);
        } else if let Some(topic) = entry.name.strip_prefix(link_state::NOT_BEGUN_PREFIX) {
            state.not_begun.insert(topic.to_owned(), value);
        } else if let Some(topic) = entry.name.strip_prefix(link_state::NOTE_PREFIX) {
            state.notes.insert(topic.to_owned(), value);
        } else if let Some(topic) = entry.name.strip_prefix(link_state::TOPIC_PREFIX) {
            state.topics.insert(topic.to_owned(), from_json(&value));
        } else {
            match entry.name.as_str() {
                link_state::STATE => state.name = value,
                link_state::MODE => state.mode = Some(value),
                link_state::WHY => state.why = Some(value),
                link_state::PROGRESS => state.progress = from_json(&value),
                link_state::ERROR => state.last_error = from_json(&value),
                link_state::BUDGET => state.budget = from_json(&value),
                link_state::HELD => state.held = value.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
    Ok(Some(state).filter(|state| !state.name.is_empty()))
}

async fn list(client: &Client) -> Result<Table, Failure> {
    let mut table = Table::new(&["link", "state", "held", "topics", "partitions", "lag"]);
    let committed = client.list_groups().await?.into_iter();
    let mut groups: BTreeSet<String> = committed.map(|group| group.name).collect();
    groups.extend(client.configured_groups().await?);
    for group in groups {
        let Some(link) = group.strip_prefix(GROUP_PREFIX) else {
            continue;
        };
        let committed = client.committed_offsets(&group).await?;
        let topics: BTreeSet<&str> = committed.keys().map(|(topic, _)| topic.as_str()).collect();
        let (_, lag) = offsets_table(client, &committed).await?;
        let state = state(client, link).await?;
        table.row([
            json!(link),
            json!(state.as_ref().map(|state| state.name.as_str())),
            json!(state.as_ref().map(|state| state.held)),
            json!(topics.len()),
            json!(committed.len()),
            json!(lag),
        ]);
    }
    Ok(table)
}

async fn describe(client: &Client, link: &str, output: Output) -> Result<(), Failure> {
    let committed = client.committed_offsets(&group_of(link)).await?;
    let state = state(client, link).await?;
    let keys = edit::own_keys(client, link).await?;
    if committed.is_empty() && state.is_none() && keys.is_empty() {
        return Err(unknown(link));
    }
    let is_run = state.is_some();
    let mut state = state.unwrap_or_default();
    let ends = log_ends(client, &committed).await?;
    let mut table = Table::new(&["topic", "partition", "committed", "log_end", "lag", "state"]);
    for (key, saved) in &committed {
        let (topic, index) = key;
        let end = ends.get(key).copied();
        let lag = end.map(|end| (end - saved.offset.get()).max(0));
        let held = state.partitions.remove(&format!("{topic}-{index}"));
        let is_again = Origin::read(&saved.metadata).is_created_again;
        let what = match (held, lag) {
            (Some(why), _) => format!("held {why}"),
            (None, None) => "the topic is deleted".to_owned(),
            (None, Some(_)) if is_again => {
                "created again: its records go behind those of the earlier topic upstream"
                    .to_owned()
            }
            (None, Some(0)) => "copied".to_owned(),
            (None, Some(_)) => "to be copied".to_owned(),
        };
        table.row([
            json!(topic),
            json!(index),
            json!(saved.offset.get()),
            json!(end),
            json!(lag),
            json!(what),
        ]);
    }
    // Partitions that are held and have never been committed.
    for (partition, why) in &state.partitions {
        let (topic, index) = partition.rsplit_once('-').unwrap_or((partition, ""));
        let index: Option<i32> = index.parse().ok();
        let none = json!(null);
        let held = json!(format!("held {why}"));
        table.row([
            json!(topic),
            json!(index),
            none.clone(),
            none.clone(),
            none,
            held,
        ]);
    }
    for (topic, why) in &state.not_begun {
        let none = || json!(null);
        let what = json!(format!("not started: {why}"));
        table.row([json!(topic), none(), none(), none(), none(), what]);
    }
    let name = if is_run {
        state.name.as_str()
    } else {
        "not run by this broker"
    };
    match output {
        Output::Json => output::json(&json!({
            "link": link,
            "state": is_run.then_some(name),
            "mode": state.mode,
            "why": state.why,
            "held": state.held,
            "progress": state.progress,
            "last_error": state.last_error,
            "notes": state.notes,
            "budget": state.budget,
            "topics": state.topics,
            "configs": Value::Object(configs(&keys).collect()),
            "partitions": table.json(),
        })),
        Output::Text => {
            let why = state.why.map(|why| format!(", {why}"));
            let held = (state.held > 0).then(|| format!("; {} held", state.held));
            let mode = state.mode.map(|mode| format!(", {mode}"));
            output::line(format_args!(
                "link {link}: {name}{}{}{}",
                mode.unwrap_or_default(),
                why.unwrap_or_default(),
                held.unwrap_or_default()
            ))?;
            tell_progress(&state.progress)?;
            tell_error(&state.last_error)?;
            for (topic, note) in &state.notes {
                output::line(format_args!("{topic}: {note}"))?;
            }
            tell_budget(&state.budget)?;
            for entry in keys {
                let value = entry.value.unwrap_or_else(|| HIDDEN.to_owned());
                output::line(format_args!("  {} = {value}", entry.name))?;
            }
            table.print(output)
        }
    }
}

fn from_json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

fn tell_progress(of: &Value) -> Result<(), Failure> {
    let number = |key: &str| of[key].as_f64();
    let Some(records) = number("lag_records") else {
        return Ok(());
    };
    let left = match number("catches_up_in_s") {
        Some(0.0) => String::new(),
        Some(left) => format!(", caught up in {left:.0} s"),
        None => ", and the lag does not shrink".to_owned(),
    };
    output::line(format_args!(
        "lag: {records} records, {} bytes, {:.1} s; {} records/s{left}",
        number("lag_bytes").unwrap_or(0.0),
        number("lag_ms").unwrap_or(0.0) / 1e3,
        number("records_per_s").unwrap_or(0.0),
    ))
}

fn tell_error(of: &Value) -> Result<(), Failure> {
    let Some(why) = of["why"].as_str() else {
        return Ok(());
    };
    match of["next_try_in_ms"].as_f64() {
        Some(ms) => output::line(format_args!(
            "last error: {why}; tried again in {:.1} s",
            ms / 1e3
        )),
        None => output::line(format_args!("last error, which is over: {why}")),
    }
}

fn tell_budget(of: &Value) -> Result<(), Failure> {
    if of.is_null() {
        return Ok(());
    }
    let left = |key: &str, period: &str| {
        let left = of[key].as_u64();
        left.map(|left| format!("; {left} bytes left {period}"))
    };
    let waits = match (of["waits_for"].as_str(), of["opens_in_ms"].as_f64()) {
        (Some(limit), Some(ms)) => format!("waits for {limit}, for {:.0} s", (ms / 1e3).ceil()),
        _ => "lets the link send".to_owned(),
    };
    let day = left("day_left_bytes", "today").unwrap_or_default();
    let month = left("month_left_bytes", "this month").unwrap_or_default();
    let late = of["late_records"].as_u64().unwrap_or_default();
    output::line(format_args!(
        "budget: {waits}{day}{month}; {late} late records left out"
    ))
}

/// Returns the keys of a link; secrets without a value.
fn configs(keys: &[ConfigEntry]) -> impl Iterator<Item = (String, Value)> {
    keys.iter()
        .map(|entry| (entry.name.clone(), Value::from(entry.value.clone())))
}

/// Moves the committed offset; the link follows it.
async fn skip(
    client: &Client,
    link: &str,
    (topic, index): &(String, i32),
    to: i64,
) -> Result<Table, Failure> {
    let group = group_of(link);
    let committed = client.committed_offsets(&group).await?;
    if state(client, link).await?.is_none() && committed.is_empty() {
        return Err(unknown(link));
    }
    let topics = client.describe(&[topic]).await?.topics;
    let known = topics
        .get(topic)
        .filter(|known| known.partitions.contains_key(index))
        .ok_or_else(|| {
            let what = format!("there is no partition {index} of topic {topic} here");
            Failure::new(Exit::Unavailable, what).advise("`sedge topic list` lists the topics")
        })?;
    let key = (topic.clone(), *index);
    let bounds = [EARLIEST, LATEST].map(|which| [(topic.as_str(), *index, which)]);
    let [start, end] = [
        client.list_offsets(&bounds[0]).await?,
        client.list_offsets(&bounds[1]).await?,
    ]
    .map(|found| found.get(&key).copied().flatten().map_or(0, Offset::get));
    if !(start..=end).contains(&to) {
        let what = format!(
            "offset {to} is outside the log of {topic}-{index}, which starts at {start} and ends \
             at {end}"
        );
        return Err(Failure::new(Exit::Usage, what).advise("give --to the next offset to copy"));
    }
    let from = committed
        .get(&key)
        .filter(|saved| Origin::read(&saved.metadata).is_of(known.id))
        .map(|saved| saved.offset.get());
    let origin = Origin {
        topic: Some(known.id.to_string()),
        ..Origin::default()
    };
    let cursor = CommittedOffset {
        offset: Offset(to),
        leader_epoch: None,
        metadata: origin.write(),
    };
    client
        .commit_offsets(&group, &[(key, cursor)].into())
        .await?;
    let mut table = Table::new(&["link", "topic", "partition", "from", "to"]);
    table.row([
        json!(link),
        json!(topic),
        json!(index),
        json!(from),
        json!(to),
    ]);
    Ok(table)
}

fn unknown(link: &str) -> Failure {
    let what = format!(
        "this broker runs no link named {link}, and no link of that name has copied anything"
    );
    Failure::new(Exit::Unavailable, what).advise(
        "`sedge mirror list` lists the links; `sedge mirror create` makes one, or [mirror.NAME] in \
         the configuration file",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_a_topic_and_a_number() {
        let check = |text: &str, expected: Option<(&str, i32)>| {
            let parsed = partition(text).ok();
            let parsed = parsed
                .as_ref()
                .map(|(topic, index)| (topic.as_str(), *index));
            assert_eq!(parsed, expected, "{text}");
        };
        check("sensors:0", Some(("sensors", 0)));
        check("sensors.temperature:12", Some(("sensors.temperature", 12)));
        check("sensors", None);
        check("sensors:x", None);
    }
}

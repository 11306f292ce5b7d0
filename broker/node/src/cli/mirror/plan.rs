//! Shows what a link would do.

use serde_json::{Value, json};

use super::edit::{Keys, own_keys};
use super::{group_of, unknown};
use crate::client::topics::Resource;
use crate::client::{Client, Error};
use crate::handlers::configs::link_state;
use crate::process::failure::{Exit, Failure};
use crate::process::output::{self, Output, Table};

/// Asks the broker for the plan of a link, with keys that it has or is to have, and prints it.
pub async fn plan(client: &Client, link: &str, keys: &Keys, output: Output) -> Result<(), Failure> {
    let keys = keys.read(link)?;
    if keys.is_empty() && own_keys(client, link).await?.is_empty() {
        return Err(unknown(link));
    }
    let mut changes = vec![(link_state::PLAN, Some("true"))];
    changes.extend(
        keys.iter()
            .map(|(key, value)| (key.as_str(), Some(value.as_str()))),
    );
    let group = group_of(link);
    let asked = client.alter_or_validate(Resource::Group, &group, &changes, true);
    let plan = match asked.await {
        Err(Error::Broker {
            message: Some(message),
            ..
        }) => return Err(Failure::new(Exit::Usage, message)),
        plan => plan?,
    };
    let plan: Value = plan
        .and_then(|plan| serde_json::from_str(&plan).ok())
        .ok_or_else(|| Failure::new(Exit::Unavailable, "the broker is too old to plan a link"))?;
    match output {
        Output::Json => output::json(&plan)?,
        Output::Text => print(link, &plan)?,
    }
    match plan["error"].as_str() {
        Some(why) => Err(Failure::new(
            Exit::Unavailable,
            format!("the upstream of {link} cannot be used: {why}"),
        )),
        None => Ok(()),
    }
}

fn print(link: &str, plan: &Value) -> Result<(), Failure> {
    let is_pull = plan["direction"] == "pull";
    if let Some(cluster) = plan["upstream"].as_str() {
        let way = if is_pull { "from" } else { "to" };
        output::line(format_args!("link {link}, {way} cluster {cluster}"))?;
    }
    let mut table = Table::new(&[
        "topic",
        "upstream",
        "action",
        "partitions",
        "from",
        "records",
        "bytes",
        "notes",
    ]);
    for topic in plan["topics"].as_array().into_iter().flatten() {
        let texts = |key: &str| {
            let all = topic[key].as_array().into_iter().flatten();
            let all = all.map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned));
            all.collect::<Vec<String>>()
        };
        table.row([
            topic["topic"].clone(),
            topic["upstream"].clone(),
            topic["action"].clone(),
            topic["partitions"].clone(),
            json!(texts("from").join(",")),
            topic["records"].clone(),
            topic["bytes"].clone(),
            json!(texts("notes").join("; ")),
        ]);
    }
    table.print(Output::Text)?;
    if let Some(more) = plan["more"].as_u64().filter(|more| *more > 0) {
        output::line(format_args!("and {more} more topics"))?;
    }
    for pattern in plan["unmatched"].as_array().into_iter().flatten() {
        let pattern = pattern.as_str().unwrap_or_default();
        let side = if is_pull { "upstream" } else { "here" };
        output::line(format_args!("no topic {side} matches {pattern}"))?;
    }
    Ok(())
}

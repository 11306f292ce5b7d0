//! Creates, changes, pauses and deletes links.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use async_io::Timer;
use clap::Args;
use serde_json::json;

use super::{group_of, state, unknown};
use crate::cli::flags::key_value;
use crate::client::topics::{ConfigEntry, Resource};
use crate::client::{Client, Error};
use crate::config::file;
use crate::handlers::configs::link_state;
use crate::mirror::PAUSED_KEY;
use crate::process::failure::{Exit, Failure};
use crate::process::output::Table;

/// How long a deletion waits for the link to stop, before it removes its cursors.
const STOPPED_WITHIN: Duration = Duration::from_secs(10);
const LOOKED_AT_EVERY: Duration = Duration::from_millis(50);

/// Keys of a link, from flags and a file.
#[derive(Debug, Args)]
pub struct Keys {
    /// Set a key of the link, like bootstrap.servers=hq.example:9092; can be given more than once
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
    /// File with keys of the link, TOML or NAME.properties; for passwords, which others can see on
    /// a command line
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Keys {
    /// Reads the keys. Flags override the file, whose keys may be in a table `[mirror.LINK]`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(&self, link: &str) -> Result<BTreeMap<String, String>, Failure> {
        let mut keys = BTreeMap::new();
        if let Some(path) = &self.file {
            let read = file::read_keys(path)
                .map_err(|problems| Failure::new(Exit::Config, problems.to_string()))?;
            let table = format!("mirror.{link}.");
            keys.extend(read.into_iter().map(|(key, value)| {
                let own = key.strip_prefix(&table).map(str::to_owned);
                (own.unwrap_or(key), value)
            }));
        }
        keys.extend(self.set.iter().cloned());
        Ok(keys)
    }
}

/// Creates a link.
pub async fn create(client: &Client, link: &str, keys: &Keys) -> Result<Table, Failure> {
    let keys = keys.read(link)?;
    if !own_keys(client, link).await?.is_empty() {
        let what = format!("there is a link named {link} already");
        return Err(Failure::new(Exit::Usage, what)
            .advise("`sedge mirror alter` changes a link, `sedge mirror delete` deletes one"));
    }
    let set = keys
        .iter()
        .map(|(key, value)| (key.as_str(), Some(value.as_str())));
    alter_keys(client, link, &set.collect::<Vec<_>>(), "created").await
}

/// Changes keys of a link.
pub async fn alter(
    client: &Client,
    link: &str,
    set: &Keys,
    unset: &[String],
) -> Result<Table, Failure> {
    let keys = set.read(link)?;
    if own_keys(client, link).await?.is_empty() {
        return Err(unknown(link));
    }
    let set = keys
        .iter()
        .map(|(key, value)| (key.as_str(), Some(value.as_str())));
    let unset = unset.iter().map(|key| (key.as_str(), None));
    let changes: Vec<_> = set.chain(unset).collect();
    if changes.is_empty() {
        let what = "nothing to change: give --set KEY=VALUE, --file FILE or --unset KEY";
        return Err(Failure::new(Exit::Usage, what));
    }
    alter_keys(client, link, &changes, "changed").await
}

/// Pauses or resumes a link.
pub async fn pause(client: &Client, link: &str, is_paused: bool) -> Result<Table, Failure> {
    if own_keys(client, link).await?.is_empty() {
        return Err(unknown(link));
    }
    let (value, done) = if is_paused {
        ("true", "paused")
    } else {
        ("false", "resumed")
    };
    alter_keys(client, link, &[(PAUSED_KEY, Some(value))], done).await
}

/// Deletes a link; its cursors only if they are to be forgotten.
pub async fn delete(client: &Client, link: &str, forget: bool) -> Result<Table, Failure> {
    let keys = own_keys(client, link).await?;
    if keys.is_empty() {
        return Err(unknown(link));
    }
    if keys.iter().any(|key| key.read_only) {
        let what = format!("the link {link} is in the broker's configuration file");
        return Err(Failure::new(Exit::Usage, what).advise(format!(
            "remove [mirror.{link}] there and restart the broker, or pause the link with \
             `sedge mirror pause {link}`"
        )));
    }
    let gone: Vec<_> = keys.iter().map(|key| (key.name.as_str(), None)).collect();
    let deleted = alter_keys(client, link, &gone, "deleted").await?;
    if forget {
        let until = Instant::now() + STOPPED_WITHIN;
        while state(client, link).await?.is_some() && Instant::now() < until {
            Timer::after(LOOKED_AT_EVERY).await;
        }
        match client.delete_group(&group_of(link)).await {
            Err(error) if error.code() != Some(sedge_protocol::ErrorCode::GroupIdNotFound) => {
                return Err(error.into());
            }
            _ => {}
        }
    }
    Ok(deleted)
}

async fn alter_keys(
    client: &Client,
    link: &str,
    changes: &[(&str, Option<&str>)],
    done: &str,
) -> Result<Table, Failure> {
    let group = group_of(link);
    match client.alter_configs(Resource::Group, &group, changes).await {
        Ok(()) => {}
        Err(Error::Broker {
            message: Some(message),
            ..
        }) => return Err(Failure::new(Exit::Usage, message)),
        Err(error) => return Err(error.into()),
    }
    let mut table = Table::new(&["link", "result"]);
    table.row([json!(link), json!(done)]);
    Ok(table)
}

/// Returns the keys of a link, without its state.
pub async fn own_keys(client: &Client, link: &str) -> Result<Vec<ConfigEntry>, Failure> {
    let entries = client
        .describe_configs(Resource::Group, &group_of(link))
        .await?;
    let keys = entries.into_iter();
    Ok(keys
        .filter(|entry| !entry.name.starts_with(link_state::PREFIX))
        .collect())
}

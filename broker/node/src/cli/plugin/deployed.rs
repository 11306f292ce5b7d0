//! The deployed plugins, as read from the broker's topic.

use std::collections::BTreeMap;

use sedge_core::metadata::PLUGINS_TOPIC as TOPIC;
use sedge_protocol::ids::Offset;
use sedge_protocol::plugin_records::{self, Change, Subject};

use crate::client::Client;
use crate::client::records::{EARLIEST, LATEST};
use crate::process::failure::{Exit, Failure};

/// A deployed plugin.
pub struct Deployed {
    pub bytes: usize,
    pub timestamp_ms: i64,
    pub offset: Offset,
}

/// Returns the deployed plugins by name.
///
/// # Errors
/// The broker cannot be reached, or its topic cannot be read.
pub async fn all(client: &Client) -> Result<BTreeMap<String, Deployed>, Failure> {
    let mut deployed = BTreeMap::new();
    each_change(client, |offset, change| {
        if change.subject != Subject::Deployed {
            return;
        }
        let name = change.name.to_owned();
        match change.content {
            Some(content) => deployed.insert(
                name,
                Deployed {
                    bytes: content.len(),
                    timestamp_ms: change.timestamp_ms,
                    offset,
                },
            ),
            None => deployed.remove(&name),
        };
    })
    .await?;
    Ok(deployed)
}

/// Returns the content of the plugin that is deployed as `name`, if there is one.
///
/// # Errors
/// The broker cannot be reached, or its topic cannot be read.
pub async fn content(client: &Client, name: &str) -> Result<Option<Vec<u8>>, Failure> {
    let versions = versions(client, name).await?;
    let deployed = versions.all.into_iter().find(|version| version.is_deployed);
    Ok(deployed.map(|version| version.content))
}

/// A version of a plugin: what is deployed, or what the broker keeps of what was.
pub struct Version {
    /// The offset at which it was deployed.
    pub offset: Offset,
    pub is_deployed: bool,
    /// The broker deployed it again by itself, because another version failed.
    pub is_rollback: bool,
    pub content: Vec<u8>,
    pub signature: Option<Vec<u8>>,
    pub timestamp_ms: i64,
}

/// All versions of a plugin, the oldest first.
pub struct Versions {
    pub all: Vec<Version>,
    pub is_paused: bool,
}

/// Returns the versions of a plugin.
///
/// # Errors
/// The broker cannot be reached, or its topic cannot be read.
pub async fn versions(client: &Client, name: &str) -> Result<Versions, Failure> {
    let (mut versions, mut is_paused) = (BTreeMap::new(), false);
    each_change(client, |at, change| {
        if change.name != name {
            return;
        }
        let (offset, is_deployed) = match change.subject {
            Subject::Deployed => (at, true),
            Subject::Version(version) => (version, false),
            Subject::Pause => {
                is_paused = change.content.is_some();
                return;
            }
        };
        if is_deployed {
            versions.retain(|_, version: &mut Version| !version.is_deployed);
        }
        match change.content {
            Some(content) => versions.insert(
                offset,
                Version {
                    offset,
                    is_deployed,
                    is_rollback: change.is_rollback,
                    content: content.to_vec(),
                    signature: change.signature.map(<[u8]>::to_vec),
                    timestamp_ms: change.timestamp_ms,
                },
            ),
            None => versions.remove(&offset),
        };
    })
    .await?;
    let all = versions.into_values().collect();
    Ok(Versions { all, is_paused })
}

/// Calls `each` with all changes of the deployed plugins, in order.
async fn each_change(
    client: &Client,
    mut each: impl FnMut(Offset, Change<'_>),
) -> Result<(), Failure> {
    let topics = client.describe(&[TOPIC]).await?.topics;
    if topics
        .get(TOPIC)
        .is_none_or(|topic| topic.partitions.is_empty())
    {
        return Ok(());
    }
    let ends = client.list_offsets(&[(TOPIC, 0, LATEST)]).await?;
    let starts = client.list_offsets(&[(TOPIC, 0, EARLIEST)]).await?;
    let of = |offsets: &BTreeMap<_, Option<Offset>>| offsets.values().next().copied().flatten();
    let (Some(mut next), Some(end)) = (of(&starts), of(&ends)) else {
        return Ok(());
    };
    while next < end {
        let bytes_max = plugin_records::BATCH_BYTES_MAX as i32;
        let fetched = client.fetch(TOPIC, 0, next, bytes_max, 0).await?;
        let Some(last) = fetched.batches.last() else {
            break;
        };
        next = last.header.next_offset();
        for batch in &fetched.batches {
            let offset = batch.header.base_offset();
            plugin_records::each_change(batch, |change| each(offset, change)).map_err(|error| {
                let what = format!("{TOPIC} at offset {}: {error}", offset.get());
                Failure::new(Exit::Data, what)
            })?;
        }
    }
    Ok(())
}

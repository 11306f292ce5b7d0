//! Deploys and deletes plugins, which means producing to `__sedge_plugins`.

use std::time::{SystemTime, UNIX_EPOCH};

use sedge_core::metadata::PLUGINS_TOPIC as TOPIC;
use sedge_protocol::ids::Offset;
use sedge_protocol::plugin_records::{self, Change, Subject};

use super::cluster::Client;
use super::topics::NewTopic;
use crate::process::failure::{Exit, Failure};

/// Deploys a plugin.
///
/// # Errors
/// The plugin is too large, or the broker refuses it.
pub async fn deploy(client: &Client, name: &str, content: &[u8]) -> Result<Offset, Failure> {
    deploy_signed(client, name, content, None).await
}

/// Deploys a plugin with its signature, if there is one.
///
/// # Errors
/// The plugin is too large, or the broker refuses it.
pub async fn deploy_signed(
    client: &Client,
    name: &str,
    content: &[u8],
    signature: Option<&[u8]>,
) -> Result<Offset, Failure> {
    create_topic(client).await?;
    let change = Change {
        signature,
        ..Change::of(name, Some(content), now_ms())
    };
    write(client, &change).await
}

async fn create_topic(client: &Client) -> Result<(), Failure> {
    let configs = [
        ("cleanup.policy", "compact".to_owned()),
        (
            "max.message.bytes",
            plugin_records::BATCH_BYTES_MAX.to_string(),
        ),
    ];
    let topic = NewTopic {
        name: TOPIC.to_owned(),
        partitions: Some(1),
        replication_factor: None,
        configs: configs
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
    };
    for (_, outcome) in client.create_topics(&[topic]).await? {
        if let Err(error) = outcome
            && error.code() != Some(sedge_protocol::ErrorCode::TopicAlreadyExists)
        {
            return Err(error.into());
        }
    }
    Ok(())
}

/// Writes a change of the deployed plugins.
///
/// # Errors
/// The content is too large, or the broker refuses it.
pub async fn change(
    client: &Client,
    name: &str,
    content: Option<&[u8]>,
) -> Result<Offset, Failure> {
    write(client, &Change::of(name, content, now_ms())).await
}

/// Pauses a plugin, or ends its pause.
///
/// # Errors
/// The broker refuses it.
pub async fn pause(client: &Client, name: &str, is_paused: bool) -> Result<Offset, Failure> {
    let change = Change {
        subject: Subject::Pause,
        ..Change::of(name, is_paused.then_some(&[]), now_ms())
    };
    write(client, &change).await
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_millis() as i64
}

async fn write(client: &Client, change: &Change<'_>) -> Result<Offset, Failure> {
    let (name, content) = (change.name, change.content);
    let (bytes, max) = (
        content.map_or(0, <[u8]>::len),
        plugin_records::CONTENT_BYTES_MAX,
    );
    if bytes > max {
        let what = format!("plugin {name} has {bytes} bytes, more than the {max} that are allowed");
        let advice = "build the plugin for size, and leave out what it does not need";
        return Err(Failure::new(Exit::Data, what).advise(advice));
    }
    let batch = plugin_records::batch_of(change).map_err(|error| {
        Failure::new(
            Exit::Software,
            format!("plugin {name} cannot be sent: {error}"),
        )
    })?;
    Ok(client.produce(TOPIC, 0, &batch).await?)
}

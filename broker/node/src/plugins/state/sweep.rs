//! Removes the state of topics and plugins that are gone.

use std::sync::Arc;

use log::{info, warn};
use sedge_core::log::Write;
use sedge_core::metadata::STATE_TOPIC;
use sedge_plugin::StateTable;
use sedge_protocol::batch::Batch;
use sedge_protocol::state_records::{Owner, batches_of};

use super::lane::Tables;
use super::{Place, States};
use crate::log::Log;
use crate::writer::{AppendPart, Writer};

impl States {
    /// Removes the state of deleted topics, and that of plugins that are not deployed, from the log
    /// and from memory. Does nothing before the state is read. What the disk refuses is left to the
    /// next time.
    pub async fn sweep(&self, log: &Log, writer: &Writer, is_deployed: impl Fn(&str) -> bool) {
        if self.restored.lock().await.is_none() {
            return;
        }
        let lanes: Vec<_> = self
            .lock()
            .iter()
            .map(|(place, lane)| (*place, Arc::clone(&lane.tables)))
            .collect();
        for (place, tables) in lanes {
            let mut tables = tables.lock().await;
            let has_partition = log
                .metadata
                .load()
                .topic_by_id(place.topic)
                .is_some_and(|topic| topic.partition(place.index).is_some());
            let is_gone = |plugin: &str| !has_partition || !is_deployed(plugin);
            let gone = tables.0.keys().filter(|plugin| is_gone(plugin));
            for plugin in gone.cloned().collect::<Vec<_>>() {
                if let Err(why) = remove(log, writer, place, &plugin, &tables).await {
                    warn!(
                        target: "sedge::plugin",
                        "the state of the filter {plugin}, which is no longer used, is not removed \
                         yet: {why}"
                    );
                    return;
                }
                tables.0.remove(&plugin);
                info!(
                    target: "sedge::plugin",
                    "the state of the filter {plugin} for a partition is removed, because the \
                     topic or the plugin is deleted"
                );
            }
            tables.trim();
        }
        // A lane that a batch has found is not alone, and stays.
        self.lock().retain(|_, lane| {
            let is_used = Arc::strong_count(lane) > 1
                || Arc::strong_count(&lane.tables) > 1
                || Arc::strong_count(&lane.unsettled) > 1;
            let is_empty = || lane.tables.try_lock().is_some_and(|of| of.0.is_empty());
            is_used || !is_empty()
        });
    }
}

/// Writes a tombstone for each key of a table.
async fn remove(
    log: &Log,
    writer: &Writer,
    place: Place,
    plugin: &str,
    tables: &Tables,
) -> Result<(), String> {
    let table = tables.0.get(plugin).and_then(|table| table.get());
    let keys = table.into_iter().flat_map(StateTable::iter);
    let owner = Owner {
        topic: place.topic,
        partition: place.index,
        plugin,
    };
    let tombstones = keys.map(|(key, _)| (key, None));
    let now_ms = log.clock.now().wall_ms;
    let batches = batches_of(&owner, tombstones, now_ms).map_err(|error| error.to_string())?;
    let image = log.metadata.load();
    let Some(topic) = image.topic(STATE_TOPIC) else {
        return Ok(());
    };
    let Some(partition) = topic.partition(0) else {
        return Ok(());
    };
    let part = |batch: Batch| AppendPart {
        partition,
        topic: Arc::clone(topic),
        write: Write::Plain,
        batch: Ok(Some(batch)),
        elsewhere: Vec::new(),
        awaits: None,
    };
    let parts: Vec<_> = batches.into_iter().map(part).collect();
    if parts.is_empty() {
        return Ok(());
    }
    let appended = writer.append(parts, Vec::new()).await;
    let appended = appended.map_err(|_| "the broker is shutting down".to_owned())?;
    match appended.into_iter().find_map(Result::err) {
        Some(refused) => Err(refused.message.unwrap_or_else(|| refused.code.to_string())),
        None => Ok(()),
    }
}

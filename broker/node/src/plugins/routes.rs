//! Routes: records that a filter sends to another topic, and batches that it failed on, in the
//! commit of the batch.
//!
//! `sedge.filter.routes` of the bound topic names the targets of routes. A record goes to the
//! partition that the target's partitioner chooses, or Kafka's own; its filters do not run, so that
//! no record goes in a circle.

use std::sync::Arc;

use sedge_core::log::AppendError;
use sedge_core::metadata::Topic;
use sedge_core::partitioner::MURMUR2;
use sedge_protocol::ErrorCode;

use super::Plugins;
use super::failure::too_large;
use super::filter::Diverted;
use crate::log::Log;
use crate::writer::{Elsewhere, Writer};

impl Plugins {
    /// Returns the batches that are written to other topics. `from` is the filter, and the
    /// partition that the records were sent to. Creates a topic that does not exist, if topics are.
    ///
    /// # Errors
    /// NOT_ENOUGH_REPLICAS if a topic does not exist, MESSAGE_TOO_LARGE, or an error of the
    /// target's partitioner.
    pub(super) async fn divert(
        &self,
        (log, writer): (&Log, &Writer),
        (plugin, from, index): (&str, &Topic, i32),
        diverted: Vec<Diverted>,
    ) -> Result<Vec<Elsewhere>, AppendError> {
        let mut elsewhere = Vec::new();
        for diverted in diverted {
            let is_dead_letter = diverted.is_dead_letter;
            let Diverted {
                topic: to, batch, ..
            } = diverted;
            let topic = target(log, writer, &to, is_dead_letter)
                .await
                .map_err(|why| {
                    // A producer that sends again succeeds once the topic is there.
                    let why = format!(
                        "The filter {plugin} of topic {} sends records to topic {to}, but {why}.",
                        from.name
                    );
                    AppendError::new(ErrorCode::NotEnoughReplicas, why)
                })?;
            let bytes_max = topic.config.max_message_bytes();
            if batch.bytes() > bytes_max {
                return Err(too_large(format!(
                    "The filter {plugin} of topic {} routes a batch of {} bytes to topic {to}, \
                     whose max.message.bytes is {bytes_max}.",
                    from.name,
                    batch.bytes()
                )));
            }
            // Records without a key stay in the order in which they came.
            let index = index % topic.partition_count().max(1) as i32;
            let plugin = topic.config.partitioner().unwrap_or(MURMUR2);
            let of = (&topic, plugin);
            let routed = self.split(&log.metadata, of, index, batch).await?;
            let here = topic.partition(index).zip(routed.here);
            let all = here.into_iter().chain(routed.elsewhere);
            elsewhere.extend(all.map(|(partition, batch)| Elsewhere {
                partition,
                topic: Some(Arc::clone(&topic)),
                batch,
            }));
        }
        Ok(elsewhere)
    }
}

/// Returns the topic of this name, which is created if need be.
async fn target(
    log: &Log,
    writer: &Writer,
    name: &str,
    is_dead_letter: bool,
) -> Result<Arc<Topic>, String> {
    let image = log.metadata.load();
    match image.topic(name) {
        Some(topic) if topic.config.is_mirrored() => {
            return Err("a pull link writes that topic (sedge.mirror.source)".to_owned());
        }
        Some(topic) => return Ok(Arc::clone(topic)),
        None => {}
    }
    let defaults = image.defaults();
    if !is_dead_letter && !defaults.auto_creates_topics() {
        return Err("the topic does not exist, and auto.create.topics.enable is false".to_owned());
    }
    let created = writer.create_topic(name, defaults.num_partitions(), Vec::new());
    let created = created.await.map_err(|_| "the broker stops".to_owned())?;
    created.map_err(|error| format!("the topic cannot be created: {}", error.message))?;
    let image = log.metadata.load();
    let topic = image.topic(name).map(Arc::clone);
    topic.ok_or_else(|| "the topic is gone again".to_owned())
}

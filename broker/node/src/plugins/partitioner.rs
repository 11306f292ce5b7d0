//! One partitioner of one topic: a plugin, or Kafka's default one, and splitting a batch by its
//! choices.
//!
//! Records that stay keep the batch's producer and its last sequence. Those that go elsewhere come
//! without a producer, in a batch for each partition. If none stays, an idempotent producer's batch
//! leaves a batch without records, so that the batch is recognised if it is sent again.

use std::collections::BTreeMap;
use std::sync::Arc;

use sedge_core::log::AppendError;
use sedge_core::metadata::Topic;
use sedge_core::partitioner::{MURMUR2, partition_of};
use sedge_plugin::{Error, Limits, Meter, Needs, PartitionerInstance, Plugin};
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::PartitionId;
use sedge_protocol::records::{self, Kept, RecordView, rebuild, rebuild_elsewhere, stand_in};

use super::bound::{Bound, Role};
use super::failure::{Failed, too_large};
use super::filter::views;
use crate::limits::{FILTER_BATCH_BYTES_MAX, PARTITIONS_OF_A_BATCH_MAX};

/// The batches that a batch becomes.
#[derive(Debug, Default)]
pub struct Routed {
    /// What is written to the partition that the batch was sent to.
    pub here: Option<Batch>,
    /// What is written to other partitions of the topic.
    pub elsewhere: Vec<(PartitionId, Batch)>,
}

impl From<Batch> for Routed {
    fn from(batch: Batch) -> Self {
        Self {
            here: Some(batch),
            elsewhere: Vec::new(),
        }
    }
}

/// The role of a partitioner.
#[derive(Debug)]
pub enum Partitioner {}

impl Role for Partitioner {
    const NAME: &'static str = "partitioner";

    type Instance = PartitionerInstance;

    fn is_bound(topic: &Topic, plugin: &str) -> bool {
        topic.config.partitioner() == Some(plugin)
    }

    fn instantiate(
        plugin: Plugin,
        settings: &[(String, String)],
        _meter: Arc<dyn Meter>,
    ) -> Result<PartitionerInstance, Error> {
        plugin.into_partitioner()?.instantiate(settings)
    }

    fn reads(instance: &PartitionerInstance) -> (Needs, &Limits) {
        (instance.needs(), instance.factory().limits())
    }
}

impl Bound<Partitioner> {
    /// Splits a batch, and applies the topic's policy if the partitioner fails. Blocks at most for
    /// the plugin's deadline, and for as long again if its instance must be created.
    ///
    /// # Errors
    /// The batch is refused.
    pub fn route(
        &mut self,
        topic: &Topic,
        index: i32,
        batch: Batch,
    ) -> Result<Routed, AppendError> {
        let failed = match self.split(topic, index, &batch) {
            Ok(Some(routed)) => return Ok(routed),
            Ok(None) => return Ok(batch.into()),
            Err(failed) => failed,
        };
        self.settle(failed, topic.config.on_partitioner_error(), topic)?;
        Ok(batch.into())
    }

    /// Returns `None` if all records stay.
    fn split(
        &mut self,
        topic: &Topic,
        index: i32,
        batch: &Batch,
    ) -> Result<Option<Routed>, Failed> {
        if self.is_skipped() {
            return Ok(None);
        }
        let header = &batch.header;
        let body = records::decompress(header, &batch.body, FILTER_BATCH_BYTES_MAX)
            .map_err(|error| Failed::unreadable(&error))?;
        let views = views(header, &body)?;
        let chosen = self.choose(topic, index, &views)?;
        let mut groups: BTreeMap<i32, Vec<Kept<'_>>> = BTreeMap::new();
        for (view, chosen) in views.iter().zip(chosen) {
            groups.entry(chosen).or_default().push(Kept {
                timestamp_delta: view.timestamp_delta,
                key: view.key,
                value: view.value,
                headers: view.headers,
            });
        }
        let here = groups.remove(&index);
        let stay = here.as_ref().map_or(0, Vec::len);
        self.counters.kept.add(stay as u64);
        self.counters.moved.add((views.len() - stay) as u64);
        if groups.is_empty() {
            return Ok(None);
        }
        if groups.len() > PARTITIONS_OF_A_BATCH_MAX {
            return Err(Failed::Rejected(too_large(format!(
                "The partitioner {} spreads the batch over {} partitions, more than \
                 {PARTITIONS_OF_A_BATCH_MAX}.",
                self.plugin,
                groups.len()
            ))));
        }
        let built = |error: sedge_protocol::Error| Failed::Plugin(error.to_string());
        let here = match here {
            Some(kept) => rebuild(header, kept).map_err(built)?,
            None if header.producer_id().is_some() => Some(stand_in(header).map_err(built)?),
            None => None,
        };
        let elsewhere = groups.into_iter().map(|(index, kept)| {
            let id = topic.partition(index).ok_or_else(|| outside(index))?;
            let batch = rebuild_elsewhere(header, kept).map_err(built)?;
            Ok((id, batch))
        });
        let elsewhere = elsewhere.collect::<Result<Vec<_>, Failed>>()?;
        let routed = Routed { here, elsewhere };
        self.check_bytes(topic, &routed)?;
        Ok(Some(routed))
    }

    /// Returns the partition of each record.
    fn choose(
        &mut self,
        topic: &Topic,
        index: i32,
        views: &[RecordView<'_>],
    ) -> Result<Vec<i32>, Failed> {
        let partitions = topic.partition_count() as u32;
        if self.plugin == MURMUR2 {
            // Kafka's producers choose any partition for a record without a key: this one did.
            let chosen = views.iter().map(|view| {
                view.key
                    .map_or(index, |key| partition_of(key, partitions) as i32)
            });
            return Ok(chosen.collect());
        }
        self.make_ready()?;
        // The choice may depend on what a record is, and not on when it came.
        let chosen = self.call(
            views,
            |_| 0,
            |partitioner, blob| partitioner.partition(&topic.name, partitions, blob),
        )?;
        Ok(chosen.into_iter().map(u32::cast_signed).collect())
    }

    /// Checks what compressing fewer records at once may have made larger.
    fn check_bytes(&self, topic: &Topic, routed: &Routed) -> Result<(), Failed> {
        let bytes_max = topic.config.max_message_bytes();
        let here = routed.here.iter().map(Batch::bytes);
        let elsewhere = routed.elsewhere.iter().map(|(_, batch)| batch.bytes());
        let mut sum = 0;
        for bytes in here.chain(elsewhere) {
            sum += bytes;
            if bytes > bytes_max || sum > bytes_max.saturating_mul(2) {
                return Err(Failed::Rejected(too_large(format!(
                    "The partitioner {} made the batch larger than max.message.bytes.",
                    self.plugin
                ))));
            }
        }
        Ok(())
    }
}

fn outside(index: i32) -> Failed {
    Failed::Plugin(format!("it chose partition {index}, which does not exist"))
}

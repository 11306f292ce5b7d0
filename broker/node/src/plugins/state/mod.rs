//! The state of filters: what they remember for each partition of their topics.
//!
//! `__sedge_plugin_state` is the truth. A filter changes its tables in memory, and the changes are
//! written in the very commit that has what is left of the batch ([`Held::seal`]); if that commit
//! does not come, they are undone. The first batch of a stateful filter after a start reads the
//! topic, so the tables are those of the last commit, also after a crash.
//!
//! A partition has one lane, which a batch holds from before its first filter until the writer has
//! applied it ([`held`]). So batches change the state one after the other, in the order of the log,
//! and the next one runs while the writer writes and flushes. A batch that an idempotent producer
//! sends again is recognised before a filter sees it ([`unsettled`]).
//!
//! State ends with its topic and with its plugin ([`States::sweep`]); unbinding keeps it, and a new
//! version of the plugin takes it over.
//!
//! **Invariant:** the tables are those that a replay of the topic gives: nothing else writes to the
//! topic, and a table changes for good only when the writer has applied its records. If these are
//! not written then, the process ends.
//! **Invariant:** a batch holds at most one lane, and the writer, which waits for no batch, lets go
//! of it: no two batches wait for each other.

mod held;
mod lane;
mod restore;
mod sweep;
#[cfg(test)]
mod tests;
mod unsettled;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sedge_core::log::{AppendError, SequenceRange};
use sedge_core::metadata::{STATE_TOPIC, Topic};
use sedge_plugin::StateBudget;
use sedge_protocol::ErrorCode;
use sedge_protocol::ids::PartitionId;
use sedge_protocol::kafka::KafkaUuid;

use super::bindings::WaitingBytes;
use super::failure::too_slow;
use crate::config::typed::Plugin as Limits;
use crate::log::Log;
use crate::metrics::Metrics;
use crate::writer::Writer;
pub use held::{Held, Verdict};
use lane::Lane;

/// The state of all filters.
#[derive(Debug)]
pub struct States {
    budget: Arc<StateBudget>,
    lanes: Mutex<HashMap<Place, Arc<Lane>>>,
    /// The topic's partition, once it is read.
    restored: async_lock::Mutex<Option<PartitionId>>,
    metrics: Arc<Metrics>,
}

/// A partition of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place {
    topic: KafkaUuid,
    index: i32,
}

/// A batch that is about to enter a lane.
#[derive(Clone, Copy, Debug)]
pub struct Entering<'a> {
    pub topic: &'a Arc<Topic>,
    pub index: i32,
    pub partition: PartitionId,
    pub bytes: usize,
    pub sequence: Option<SequenceRange>,
}

impl States {
    pub fn new(limits: &Limits, metrics: Arc<Metrics>) -> Self {
        let budget = StateBudget::new(
            limits.state_partition_bytes_max as usize,
            limits.state_bytes_max as usize,
        );
        Self {
            budget: Arc::new(budget),
            lanes: Mutex::default(),
            restored: async_lock::Mutex::default(),
            metrics,
        }
    }

    /// Waits for the lane of the batch's partition, and asks whether the partition has the batch
    /// already. `waiting` are the bytes of all waiting batches, with their limit and that for one
    /// lane.
    ///
    /// # Errors
    /// NOT_ENOUGH_REPLICAS if too many bytes wait, KAFKA_STORAGE_ERROR if the log cannot be read or
    /// written, or the error of the producer's sequence.
    pub async fn enter(
        &self,
        (log, writer): (&Arc<Log>, &Writer),
        (waiting, waiting_bytes_max, lane_bytes_max): (&WaitingBytes, usize, usize),
        batch: &Entering<'_>,
    ) -> Result<(Held, Verdict), AppendError> {
        let state_partition = self.ready(log, writer).await?;
        let place = Place {
            topic: batch.topic.id,
            index: batch.index,
        };
        let lane = self.lane(place);
        let joined = (
            lane.waiting.join(batch.bytes, lane_bytes_max),
            waiting.join(batch.bytes, waiting_bytes_max),
        );
        let (Some(_), Some(_)) = &joined else {
            return Err(too_slow("stateful filter", batch.topic, lane_bytes_max));
        };
        let tables = lane.tables.lock_arc().await;
        drop(joined);
        let held = (tables, &lane.unsettled);
        let held = Held::new(held, place, state_partition, batch.sequence, self);
        let Some(sequence) = batch.sequence else {
            return Ok((held, Verdict::Next));
        };
        if lane.unsettled.place(&sequence).await == unsettled::Place::Next {
            return Ok((held, Verdict::Next));
        }
        let (store, partition) = (Arc::clone(&log.store), batch.partition);
        blocking::unblock(move || {
            let verdict = held::judge(&*store, partition, &sequence)?;
            Ok((held, verdict))
        })
        .await
    }

    /// Creates and reads `__sedge_plugin_state`, if that was not done yet.
    async fn ready(&self, log: &Arc<Log>, writer: &Writer) -> Result<PartitionId, AppendError> {
        let mut restored = self.restored.lock().await;
        if let Some(partition) = *restored {
            return Ok(partition);
        }
        let partition = match partition(log) {
            Some(partition) => partition,
            None => create(log, writer).await?,
        };
        let (metrics, from) = (Arc::clone(&self.metrics), Arc::clone(log));
        let budget = Arc::clone(&self.budget);
        let read = blocking::unblock(move || restore::read(&from, partition, &budget, &metrics));
        let lanes = read.await.map_err(|failure| storage_error(&failure))?;
        *self.lock() = lanes;
        *restored = Some(partition);
        Ok(partition)
    }

    fn lane(&self, place: Place) -> Arc<Lane> {
        Arc::clone(self.lock().entry(place).or_default())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Place, Arc<Lane>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the topic's partition, if the topic exists.
fn partition(log: &Log) -> Option<PartitionId> {
    log.metadata.load().topic(STATE_TOPIC)?.partition(0)
}

async fn create(log: &Log, writer: &Writer) -> Result<PartitionId, AppendError> {
    let configs = vec![("cleanup.policy".to_owned(), "compact".to_owned())];
    let created = writer.create_topic(STATE_TOPIC, 1, configs).await;
    let created = created.map_err(|_| AppendError::from(ErrorCode::NotLeaderOrFollower))?;
    created.map_err(|error| AppendError::new(error.code, error.message))?;
    partition(log).ok_or_else(|| ErrorCode::KafkaStorageError.into())
}

fn storage_error(error: &dyn std::fmt::Display) -> AppendError {
    let why = format!("The state of filters cannot be read: {error}.");
    AppendError::new(ErrorCode::KafkaStorageError, why)
}

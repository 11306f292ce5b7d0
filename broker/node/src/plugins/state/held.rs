//! A lane that a batch holds until the writer has answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_lock::MutexGuardArc;
use sedge_core::log::{AppendError, Producers, SequenceRange, SequenceVerdict};
use sedge_plugin::StateBudget;
use sedge_protocol::ErrorCode;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::PartitionId;
use sedge_protocol::state_records::{Owner, batches_of};
use sedge_storage::LogStore;

use super::lane::{Table, Tables};
use super::{Place, States, storage_error};
use crate::log::views;
use crate::metrics::Metrics;
use crate::writer::{Awaits, Elsewhere};

/// Whether a partition has a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Next,
    /// The batch was written already: no filter may see it again.
    Repeat,
}

/// The tables of a partition, held for one batch. Dropped, it lets go of the lane: with the batch's
/// changes if these were [written](Awaits::written), otherwise without them.
#[derive(Debug)]
pub struct Held {
    tables: MutexGuardArc<Tables>,
    place: Place,
    state_partition: PartitionId,
    budget: Arc<StateBudget>,
    metrics: Arc<Metrics>,
    /// Bytes of changes and of their batches, by plugin.
    sealed: Vec<(String, u64, u64)>,
    is_written: AtomicBool,
}

impl Held {
    pub(super) fn new(
        tables: MutexGuardArc<Tables>,
        place: Place,
        state_partition: PartitionId,
        of: &States,
    ) -> Self {
        Self {
            tables,
            place,
            state_partition,
            budget: Arc::clone(&of.budget),
            metrics: Arc::clone(&of.metrics),
            sealed: Vec::new(),
            is_written: AtomicBool::new(false),
        }
    }

    /// Returns the table of a plugin.
    pub fn table(&mut self, plugin: &str) -> &mut Table {
        self.tables.of(plugin, &self.budget, &self.metrics)
    }

    /// Returns the batches that write the changes, with the partition that they go to.
    ///
    /// # Errors
    /// A batch cannot be built.
    pub fn seal(&mut self, now_ms: i64) -> Result<Vec<Elsewhere>, AppendError> {
        let mut sealed = Vec::new();
        for (plugin, table) in &self.tables.0 {
            let Some(table) = table.get() else {
                continue;
            };
            let owner = Owner {
                topic: self.place.topic,
                partition: self.place.index,
                plugin,
            };
            let mut changed = 0;
            let changes = table.changes().inspect(|(key, value)| {
                changed += (key.len() + value.map_or(0, <[u8]>::len)) as u64;
            });
            let batches = batches_of(&owner, changes, now_ms).map_err(|error| {
                let why = format!("The state of the filter {plugin} cannot be written: {error}.");
                AppendError::new(ErrorCode::UnknownServerError, why)
            })?;
            if batches.is_empty() {
                continue;
            }
            let written: usize = batches.iter().map(Batch::bytes).sum();
            self.sealed.push((plugin.clone(), changed, written as u64));
            let to = |batch| Elsewhere::from((self.state_partition, batch));
            sealed.extend(batches.into_iter().map(to));
        }
        Ok(sealed)
    }
}

impl Awaits for Held {
    fn written(&self) {
        self.is_written.store(true, Ordering::Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let is_written = *self.is_written.get_mut();
        for table in self.tables.0.values_mut() {
            table.end(is_written);
        }
        if is_written {
            for (plugin, changed, written) in &self.sealed {
                let state = &self.metrics.plugin(plugin).state;
                state.changed_bytes.add(*changed);
                state.written_bytes.add(*written);
            }
        }
    }
}

/// Judges a batch by its producer's sequence, as the writer will: the view of producers has what
/// the writer has answered, and no batch of the partition is on its way to the writer. Where the
/// writer is stricter, because it knows a producer for sure, it refuses the batch later.
///
/// # Errors
/// OUT_OF_ORDER_SEQUENCE_NUMBER, INVALID_PRODUCER_EPOCH, KAFKA_STORAGE_ERROR.
pub(super) fn judge(
    store: &dyn LogStore,
    partition: PartitionId,
    sequence: &SequenceRange,
) -> Result<Verdict, AppendError> {
    let producer = sequence.producer_id;
    let entry = views::producer(store, partition, producer);
    let Some(entry) = entry.map_err(|error| storage_error(&error))? else {
        return Ok(Verdict::Next);
    };
    let mut known = Producers::default();
    known.restore(producer, entry);
    Ok(match known.check(sequence)? {
        SequenceVerdict::Next => Verdict::Next,
        SequenceVerdict::Duplicate(_) => Verdict::Repeat,
    })
}

//! A lane that a batch holds until the writer has applied it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_lock::MutexGuardArc;
use sedge_core::log::{AppendError, Producers, SequenceRange, SequenceVerdict};
use sedge_plugin::StateBudget;
use sedge_protocol::ErrorCode;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::PartitionId;
use sedge_protocol::state_records::{Owner, batches_of};
use sedge_storage::LogStore;

use super::lane::{Table, Tables};
use super::unsettled::Unsettled;
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

/// The tables of a partition, held for one batch. Dropped, it lets go of the lane, without the
/// changes of the batch.
#[derive(Debug)]
pub struct Held {
    tables: MutexGuardArc<Tables>,
    place: Place,
    state_partition: PartitionId,
    budget: Arc<StateBudget>,
    metrics: Arc<Metrics>,
    /// The batch's, and those of the batches before it that are not settled.
    sequence: Option<SequenceRange>,
    unsettled: Arc<Unsettled>,
    /// Bytes of changes and of their batches, by plugin.
    sealed: Vec<(String, u64, u64)>,
    is_applied: bool,
}

/// A batch that the writer has, with the lane until it is applied.
#[derive(Debug)]
struct Queued {
    held: Mutex<Option<Held>>,
    sequence: Option<SequenceRange>,
    unsettled: Arc<Unsettled>,
}

impl Held {
    pub(super) fn new(
        (tables, unsettled): (MutexGuardArc<Tables>, &Arc<Unsettled>),
        place: Place,
        state_partition: PartitionId,
        sequence: Option<SequenceRange>,
        of: &States,
    ) -> Self {
        Self {
            tables,
            place,
            state_partition,
            budget: Arc::clone(&of.budget),
            metrics: Arc::clone(&of.metrics),
            sequence,
            unsettled: Arc::clone(unsettled),
            sealed: Vec::new(),
            is_applied: false,
        }
    }

    /// Returns what lets go of the lane once the writer has applied the batch: with the batch's
    /// changes, or without them if the batch is refused.
    pub fn into_awaits(self) -> Arc<dyn Awaits> {
        Arc::new(Queued {
            sequence: self.sequence,
            unsettled: Arc::clone(&self.unsettled),
            held: Mutex::new(Some(self)),
        })
    }

    /// Lets go of the lane, with the changes of the batch.
    fn apply(mut self) {
        self.is_applied = true;
        if let Some(sequence) = self.sequence {
            self.unsettled.add(sequence);
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

impl Drop for Held {
    fn drop(&mut self) {
        for table in self.tables.0.values_mut() {
            table.end(self.is_applied);
        }
        if self.is_applied {
            for (plugin, changed, written) in &self.sealed {
                let state = &self.metrics.plugin(plugin).state;
                state.changed_bytes.add(*changed);
                state.written_bytes.add(*written);
            }
        }
    }
}

impl Queued {
    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Awaits for Queued {
    fn applied(&self) {
        if let Some(held) = self.held().take() {
            held.apply();
        }
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        let is_applied = self.held().is_none();
        if let Some(sequence) = self.sequence.filter(|_| is_applied) {
            self.unsettled.settle(&sequence);
        }
    }
}

/// Judges a batch by its producer's sequence, as the writer will: the view of producers has what
/// is settled, and no batch of the producer is on its way there. Where the writer is stricter,
/// because it knows a producer for sure, it refuses the batch later.
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

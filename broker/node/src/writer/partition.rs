//! The writer's own state of the partitions that it has touched.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use sedge_core::log::producers::{self, ProducerEntry, Producers};
use sedge_core::log::{AppendError, PartitionLog, Planned, SequenceRange};
use sedge_core::machine::Now;
use sedge_protocol::ErrorCode;
use sedge_protocol::batch::BatchHeader;
use sedge_protocol::ids::{LeaderEpoch, Offset, PartitionId, ProducerId};
use sedge_storage::{Error, LogStore, View, ViewUpdate};

use crate::broker::Broker;
use crate::log::partitions::Partition;

/// A partition that was written to, or may be.
#[derive(Debug)]
pub struct ActivePartition {
    pub log: PartitionLog,
    pub published: Arc<Partition>,
    /// Of the last batch; the first batch of a later one is where that epoch starts.
    leader_epoch: Option<LeaderEpoch>,
}

/// The partitions touched since the start.
#[derive(Debug, Default)]
pub struct ActivePartitions(HashMap<PartitionId, ActivePartition>);

impl ActivePartitions {
    /// The partition's state, read from the store on the first touch.
    ///
    /// # Errors
    /// The store cannot read it.
    pub fn get(&mut self, broker: &Broker, id: PartitionId) -> Result<&mut ActivePartition, Error> {
        match self.0.entry(id) {
            Entry::Occupied(found) => Ok(found.into_mut()),
            Entry::Vacant(place) => Ok(place.insert(ActivePartition::load(broker, id)?)),
        }
    }

    /// The partition's state, where it was touched.
    pub fn find(&mut self, id: PartitionId) -> Option<&mut ActivePartition> {
        self.0.get_mut(&id)
    }

    /// The state of one that was [got](Self::get) in the same round.
    pub fn known(&mut self, id: PartitionId) -> &mut ActivePartition {
        self.find(id).expect("it was touched before")
    }

    pub fn remove(&mut self, id: PartitionId) {
        self.0.remove(&id);
    }

    /// Forgets a producer, unless it has written since `until_ms`; the change of the view where it
    /// did.
    ///
    /// # Errors
    /// The store cannot read the view.
    pub fn expire_producer(
        &mut self,
        store: &dyn LogStore,
        id: PartitionId,
        producer: ProducerId,
        until_ms: i64,
    ) -> Result<Option<ViewUpdate>, Error> {
        let key = producers::view_key(id, producer);
        let is_silent = if let Some(active) = self.0.get_mut(&id) {
            active.log.producers.expire(producer, until_ms)
        } else {
            let saved = store.view_get(View::Producers, &key)?;
            let entry = saved.and_then(|value| ProducerEntry::decode(&value));
            entry.is_some_and(|entry| entry.last_ms() <= until_ms)
        };
        Ok(is_silent.then_some(ViewUpdate {
            view: View::Producers,
            key,
            value: None,
        }))
    }
}

impl ActivePartition {
    fn load(broker: &Broker, id: PartitionId) -> Result<Self, Error> {
        let store = &*broker.store;
        let bounds = store.bounds(id)?;
        let mut known = Producers::default();
        store.view_scan(
            View::Producers,
            &id.get().to_be_bytes(),
            &mut |key, value| {
                let entry = producers::producer_of_key(key).zip(ProducerEntry::decode(value));
                if let Some((producer, entry)) = entry {
                    known.restore(producer, entry);
                }
            },
        )?;
        Ok(Self {
            log: PartitionLog::new(bounds.log_start, bounds.next_offset, known),
            published: broker.partitions.get(store, id)?,
            leader_epoch: bounds.leader_epoch,
        })
    }

    /// What to do with a batch that a client sent with `sequence`.
    ///
    /// # Errors
    /// Its sequence does not fit.
    pub fn plan(&self, sequence: Option<&SequenceRange>) -> Result<Planned, AppendError> {
        self.log.plan_append(sequence)
    }

    /// Takes what was planned. `header` is that of the batch in the log, patched; `None` where a
    /// filter left nothing.
    pub fn apply(
        &mut self,
        id: PartitionId,
        sequence: Option<&SequenceRange>,
        header: Option<&BatchHeader>,
        (now, append_ms): (Now, i64),
        updates: &mut Vec<ViewUpdate>,
    ) {
        let base_offset = self.log.next_offset();
        if let Some(header) = header {
            updates.extend(epoch_update(id, header, self.leader_epoch));
            self.leader_epoch = Some(header.leader_epoch());
            self.log.apply_append(header.next_offset());
        }
        if let Some(range) = sequence {
            let timestamp = header.map_or(now.wall_ms, BatchHeader::max_timestamp);
            let known = &mut self.log.producers;
            let forgotten = known.apply(range, base_offset, timestamp, append_ms);
            let value = known.get(range.producer_id).map(ProducerEntry::encode);
            updates.push(producer_update(id, range, value));
            updates.extend(forgotten.map(|producer| ViewUpdate {
                view: View::Producers,
                key: producers::view_key(id, producer),
                value: None,
            }));
        }
    }
}

/// The view's entry of a producer.
pub fn producer_update(
    id: PartitionId,
    range: &SequenceRange,
    value: Option<Vec<u8>>,
) -> ViewUpdate {
    ViewUpdate {
        view: View::Producers,
        key: producers::view_key(id, range.producer_id),
        value,
    }
}

/// KIP-101: where an epoch starts. An entry a partition and epoch: partition and epoch in the key,
/// the offset in the value.
pub fn epoch_update(
    id: PartitionId,
    header: &BatchHeader,
    before: Option<LeaderEpoch>,
) -> Option<ViewUpdate> {
    let epoch = header.leader_epoch();
    if before.is_some_and(|before| before >= epoch) {
        return None;
    }
    Some(ViewUpdate {
        view: View::Epochs,
        key: epoch_key(id, epoch),
        value: Some(header.base_offset().get().to_be_bytes().to_vec()),
    })
}

fn epoch_key(id: PartitionId, epoch: LeaderEpoch) -> Vec<u8> {
    let mut key = id.get().to_be_bytes().to_vec();
    key.extend_from_slice(&epoch.get().to_be_bytes());
    key
}

/// The epochs of a partition, oldest first, each with the offset where it starts.
///
/// # Errors
/// The store cannot read the view.
pub fn epochs(store: &dyn LogStore, id: PartitionId) -> Result<Vec<(LeaderEpoch, Offset)>, Error> {
    let mut found = Vec::new();
    store.view_scan(View::Epochs, &id.get().to_be_bytes(), &mut |key, value| {
        let epoch = key.get(4..).and_then(|bytes| bytes.first_chunk::<4>());
        if let (Some(epoch), Some(offset)) = (epoch, value.first_chunk::<8>()) {
            let epoch = LeaderEpoch(i32::from_be_bytes(*epoch));
            found.push((epoch, Offset(i64::from_be_bytes(*offset))));
        }
    })?;
    Ok(found)
}

/// What a client is told when the store cannot be read.
pub fn storage_error(error: &Error) -> AppendError {
    AppendError::new(ErrorCode::KafkaStorageError, error.to_string())
}

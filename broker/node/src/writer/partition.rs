//! The writer's own state of the partitions in use.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use sedge_core::log::producers::ProducerEntry;
use sedge_core::log::{AppendError, PartitionLog, derive};
use sedge_protocol::ErrorCode;
use sedge_protocol::ids::{PartitionId, ProducerId};
use sedge_storage::{Error, LogStore, View, ViewUpdate};

use crate::log::partitions::Partition;
use crate::log::{Log, views};

/// A partition that was written to, or may be.
#[derive(Debug)]
pub struct ActivePartition {
    pub log: PartitionLog,
    pub published: Arc<Partition>,
}

/// The partitions used since the start.
#[derive(Debug, Default)]
pub struct ActivePartitions(HashMap<PartitionId, ActivePartition>);

impl ActivePartitions {
    /// Returns the partition's state, read from the store on first use.
    ///
    /// # Errors
    /// The store cannot read it.
    pub fn get(&mut self, log: &Log, id: PartitionId) -> Result<&mut ActivePartition, Error> {
        match self.0.entry(id) {
            Entry::Occupied(found) => Ok(found.into_mut()),
            Entry::Vacant(place) => Ok(place.insert(ActivePartition::load(log, id)?)),
        }
    }

    /// Returns the partition's state, if it is in use.
    pub fn find(&mut self, id: PartitionId) -> Option<&mut ActivePartition> {
        self.0.get_mut(&id)
    }

    /// Returns the state of a partition that was [got](Self::get) in the same round.
    pub fn known(&mut self, id: PartitionId) -> &mut ActivePartition {
        self.find(id).expect("the partition was touched before")
    }

    pub fn remove(&mut self, id: PartitionId) {
        self.0.remove(&id);
    }

    /// Forgets a producer that last wrote at or before `until_ms`. Returns the change of the view
    /// if it was forgotten.
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
        let key = derive::producer_key(id, producer);
        let is_silent = if let Some(active) = self.0.get_mut(&id) {
            active.log.producers.expire(producer, until_ms)
        } else {
            let saved = store.view_get(View::Producers, &key)?;
            let entry = saved.and_then(|value| ProducerEntry::decode(&value));
            entry.is_some_and(|entry| entry.is_silent_since(until_ms))
        };
        Ok(is_silent.then_some(ViewUpdate {
            view: View::Producers,
            key,
            value: None,
        }))
    }
}

impl ActivePartition {
    fn load(log: &Log, id: PartitionId) -> Result<Self, Error> {
        let store = &*log.store;
        let bounds = store.bounds(id)?;
        let known = views::producers(store, id)?;
        Ok(Self {
            log: PartitionLog::new(
                bounds.log_start,
                bounds.next_offset,
                bounds.leader_epoch,
                known,
            ),
            published: log.partition(id)?,
        })
    }
}

/// Returns the error for a client when the store cannot be read.
pub fn storage_error(error: &Error) -> AppendError {
    AppendError::new(ErrorCode::KafkaStorageError, error.to_string())
}

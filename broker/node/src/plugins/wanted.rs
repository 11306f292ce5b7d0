//! The deployments in `__sedge_plugins`, and the place of each component. Components are large, so
//! only their places are kept.

use std::collections::BTreeMap;

use log::warn;
use sedge_core::metadata::PLUGINS_TOPIC as TOPIC;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_protocol::plugin_records::{self, Change, Subject};
use sedge_storage::{Error, LogStore};

use super::registry::Place;
use super::versions::{Due, Versions};
use crate::limits::REPLAY_READ_BYTES;

/// The topic's deployments, as far as they were read.
#[derive(Debug, Default)]
pub struct Wanted {
    /// `None` if the topic does not exist.
    partition: Option<PartitionId>,
    next: Offset,
    plugins: BTreeMap<String, Versions>,
}

impl Wanted {
    /// Reads the new records of the topic's partition; reads from the start if the partition has
    /// changed, because the topic was deleted or created again. Blocks.
    ///
    /// # Errors
    /// The topic cannot be read.
    pub fn read_on(
        &mut self,
        store: &dyn LogStore,
        partition: Option<PartitionId>,
    ) -> Result<(), Error> {
        if partition != self.partition {
            *self = Self {
                partition,
                ..Self::default()
            };
        }
        let Some(id) = partition else {
            return Ok(());
        };
        let bounds = store.bounds(id)?;
        self.next = self.next.max(bounds.log_start);
        while self.next < bounds.next_offset {
            let before = self.next;
            for mut bytes in store.read(id, self.next, bounds.next_offset, REPLAY_READ_BYTES)? {
                while let Some(batch) = Batch::split_from(&mut bytes) {
                    self.next = self.next.max(batch.header.next_offset());
                    self.note(&batch);
                }
            }
            if self.next == before {
                // The index has a batch that cannot be read: a hole that the store has reported.
                break;
            }
        }
        Ok(())
    }

    /// Returns whether the partition has changed, or has records that were not read yet.
    pub fn is_behind(&self, partition: Option<(PartitionId, Offset)>) -> bool {
        match partition {
            Some((id, end)) => self.partition != Some(id) || self.next < end,
            None => self.partition.is_some(),
        }
    }

    /// Returns the place of the newest component of a name.
    pub fn place(&self, name: &str) -> Option<Place> {
        let offset = self.plugins.get(name)?.newest?;
        let partition = self.partition?;
        Some(Place { partition, offset })
    }

    /// Returns the names with what is known of their versions, and the topic's partition.
    pub fn versions(&self) -> impl Iterator<Item = (PartitionId, &str, &Versions)> {
        let partition = self.partition;
        let all = self.plugins.iter();
        all.filter_map(move |(name, versions)| Some((partition?, name.as_str(), versions)))
    }

    /// Returns whether a plugin is paused.
    pub fn is_paused(&self, name: &str) -> bool {
        let versions = self.plugins.get(name);
        versions.is_some_and(|versions| versions.is_paused)
    }

    /// Notes that what is due for a name is being written.
    pub fn tried(&mut self, name: &str, due: &Due) {
        if let Some(versions) = self.plugins.get_mut(name) {
            versions.tried(due);
        }
    }

    /// Returns all names with the places of their newest components.
    pub fn places(&self) -> impl Iterator<Item = (&str, Place)> {
        let partition = self.partition;
        self.plugins.iter().filter_map(move |(name, versions)| {
            let (partition, offset) = (partition?, versions.newest?);
            Some((name.as_str(), Place { partition, offset }))
        })
    }

    fn note(&mut self, batch: &Batch) {
        let offset = batch.header.base_offset();
        each_change(batch, |change| {
            let name = change.name.to_owned();
            self.plugins.entry(name).or_default().note(offset, &change);
        });
        self.plugins.retain(|_, versions| !versions.is_nothing());
    }
}

/// Reads the component of a name at a place; `None` if it is no longer there. Blocks.
///
/// # Errors
/// The topic cannot be read.
pub fn component(store: &dyn LogStore, name: &str, place: Place) -> Result<Option<Vec<u8>>, Error> {
    Ok(record(store, name, place)?.map(|record| record.content))
}

/// What is at a place in the topic.
pub struct Record {
    pub content: Vec<u8>,
    pub timestamp_ms: i64,
    pub is_rollback: bool,
    pub signature: Option<Vec<u8>>,
}

/// Reads the record of a name at a place, also that of a version; `None` if it is no longer there.
/// Blocks.
///
/// # Errors
/// The topic cannot be read.
pub fn record(store: &dyn LogStore, name: &str, place: Place) -> Result<Option<Record>, Error> {
    let Place { partition, offset } = place;
    let mut record = None;
    for mut bytes in store.read(partition, offset, offset.plus(1), 1)? {
        let Some(batch) = Batch::split_from(&mut bytes) else {
            continue;
        };
        if batch.header.base_offset() == offset {
            each_change(&batch, |change| {
                if change.name == name && change.subject != Subject::Pause {
                    record = change.content.map(|content| Record {
                        content: content.to_vec(),
                        timestamp_ms: change.timestamp_ms,
                        is_rollback: change.is_rollback,
                        signature: change.signature.map(<[u8]>::to_vec),
                    });
                }
            });
        }
    }
    Ok(record)
}

fn each_change(batch: &Batch, each: impl FnMut(Change<'_>)) {
    let read = plugin_records::each_change(batch, each);
    if let Err(error) = read {
        let offset = batch.header.base_offset();
        warn!(
            target: "sedge::plugin",
            "{TOPIC} at offset {offset}: {error}; the record is skipped"
        );
    }
}

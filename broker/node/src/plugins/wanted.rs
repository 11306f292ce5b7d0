//! The deployments in `__sedge_plugins`, and the place of each component. Components are large, so
//! only their places are kept.

use std::collections::BTreeMap;

use log::warn;
use sedge_core::metadata::PLUGINS_TOPIC as TOPIC;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_protocol::plugin_records;
use sedge_storage::{Error, LogStore};

use super::registry::Place;
use crate::limits::REPLAY_READ_BYTES;

/// The topic's deployments, as far as they were read.
#[derive(Debug, Default)]
pub struct Wanted {
    /// `None` if the topic does not exist.
    partition: Option<PartitionId>,
    next: Offset,
    plugins: BTreeMap<String, Offset>,
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
        let offset = *self.plugins.get(name)?;
        let partition = self.partition?;
        Some(Place { partition, offset })
    }

    /// Returns all names with the places of their newest components.
    pub fn places(&self) -> impl Iterator<Item = (&str, Place)> {
        let partition = self.partition;
        self.plugins.iter().filter_map(move |(name, offset)| {
            let (partition, offset) = (partition?, *offset);
            Some((name.as_str(), Place { partition, offset }))
        })
    }

    fn note(&mut self, batch: &Batch) {
        let offset = batch.header.base_offset();
        each_change(batch, |name, content| {
            match content {
                Some(_) => self.plugins.insert(name.to_owned(), offset),
                None => self.plugins.remove(name),
            };
        });
    }
}

/// Reads the component of a name at a place; `None` if it is no longer there. Blocks.
///
/// # Errors
/// The topic cannot be read.
pub fn component(store: &dyn LogStore, name: &str, place: Place) -> Result<Option<Vec<u8>>, Error> {
    let Place { partition, offset } = place;
    let mut component = None;
    for mut bytes in store.read(partition, offset, offset.plus(1), 1)? {
        let Some(batch) = Batch::split_from(&mut bytes) else {
            continue;
        };
        if batch.header.base_offset() == offset {
            each_change(&batch, |changed, content| {
                if changed == name {
                    component = content.map(<[u8]>::to_vec);
                }
            });
        }
    }
    Ok(component)
}

fn each_change(batch: &Batch, mut each: impl FnMut(&str, Option<&[u8]>)) {
    let read = plugin_records::each_change(batch, |change| each(change.name, change.content));
    if let Err(error) = read {
        let offset = batch.header.base_offset();
        warn!(
            target: "sedge::plugin",
            "{TOPIC} at offset {offset}: {error}; the record is skipped"
        );
    }
}

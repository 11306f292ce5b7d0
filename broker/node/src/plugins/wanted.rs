//! What `__sedge_plugins` says is deployed, and where in it each component lies. Components are
//! large, so only their places are kept.

use std::collections::BTreeMap;

use log::warn;
use sedge_core::metadata::PLUGINS_TOPIC as TOPIC;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_protocol::plugin_records;
use sedge_storage::{Error, LogStore};

use super::registry::Place;
use crate::limits::REPLAY_READ_BYTES;

/// The topic as far as it was read.
#[derive(Debug, Default)]
pub struct Wanted {
    /// `None`: there is no such topic.
    partition: Option<PartitionId>,
    next: Offset,
    plugins: BTreeMap<String, Offset>,
}

impl Wanted {
    /// Reads on in the topic's partition, and from the start where it is another than before: the
    /// topic was deleted, or created again. Blocks.
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
                // Nothing where the index has something: a hole that the store has reported.
                break;
            }
        }
        Ok(())
    }

    /// Whether the partition is another one, or has more than was read.
    pub fn is_behind(&self, partition: Option<(PartitionId, Offset)>) -> bool {
        match partition {
            Some((id, end)) => self.partition != Some(id) || self.next < end,
            None => self.partition.is_some(),
        }
    }

    /// Where the newest component of a name lies.
    pub fn place(&self, name: &str) -> Option<Place> {
        let offset = *self.plugins.get(name)?;
        let partition = self.partition?;
        Some(Place { partition, offset })
    }

    /// All names with the places of their newest components.
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

/// The component of a name that lies at a place; `None` where there is none any more. Blocks.
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
        warn!(target: "sedge::plugin", "{TOPIC} at offset {offset}: {error}; it is passed by");
    }
}

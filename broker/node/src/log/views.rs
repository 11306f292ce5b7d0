//! The views derived from batches, as the store keeps them: adapts [`sedge_core::log::derive`] to
//! [`sedge_storage::Recovery`].

use sedge_core::log::derive::{self, Change, Derived, Saved};
use sedge_core::log::producers::{ProducerEntry, Producers};
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{LeaderEpoch, Offset, PartitionId, ProducerId};
use sedge_storage::{Error, Recovery, View, ViewReader, ViewUpdate};

/// The views in which a partition has entries under its id.
const OF_PARTITION: [View; 3] = [View::Producers, View::Epochs, View::Offsets];

/// Version of the broker's views. Incremented when the keys or the values of one change (producers,
/// epochs, committed offsets), so that the next start rebuilds them from the log.
const VIEWS_VERSION: u8 = 1;

/// Converts a derived change for the store.
pub fn update(change: Change) -> ViewUpdate {
    let Change { view, key, value } = change;
    let view = match view {
        Derived::Epochs => View::Epochs,
        Derived::Producers => View::Producers,
    };
    ViewUpdate { view, key, value }
}

/// Returns the producers that a partition remembers.
///
/// # Errors
/// The store cannot read the view.
pub fn producers<R: ViewReader + ?Sized>(views: &R, id: PartitionId) -> Result<Producers, Error> {
    let mut known = Producers::default();
    views.view_scan(View::Producers, &derive::prefix(id), &mut |key, value| {
        if let Some((producer, entry)) = derive::producer_entry(key, value) {
            known.restore(producer, entry);
        }
    })?;
    Ok(known)
}

/// Returns the epochs of a partition, oldest first, each with its first offset.
///
/// # Errors
/// The store cannot read the view.
pub fn epochs<R: ViewReader + ?Sized>(
    views: &R,
    id: PartitionId,
) -> Result<Vec<(LeaderEpoch, Offset)>, Error> {
    let mut found = Vec::new();
    views.view_scan(View::Epochs, &derive::prefix(id), &mut |key, value| {
        found.extend(derive::epoch_start(key, value));
    })?;
    Ok(found)
}

/// Returns the removal of all view entries of a partition.
pub fn removals<R: ViewReader + ?Sized>(views: &R, partition: PartitionId) -> Vec<ViewUpdate> {
    let mut updates = Vec::new();
    for view in OF_PARTITION {
        let _ = views.view_scan(view, &derive::prefix(partition), &mut |key, _| {
            updates.push(ViewUpdate {
                view,
                key: key.to_vec(),
                value: None,
            });
        });
    }
    updates
}

/// Derives the view updates of batches that the views did not have yet when the process ended.
#[derive(Debug, Default)]
pub struct HeaderReplay(derive::HeaderReplay);

impl Recovery for HeaderReplay {
    fn replay(
        &mut self,
        views: &dyn ViewReader,
        partition: PartitionId,
        batches: &[Batch],
        append_ms: i64,
    ) -> Vec<ViewUpdate> {
        let headers = batches.iter().map(|batch| &batch.header);
        let changes = self
            .0
            .replay(&FromViews(views), partition, headers, append_ms);
        changes.into_iter().map(update).collect()
    }

    fn dropped(&mut self, views: &dyn ViewReader, partition: PartitionId) -> Vec<ViewUpdate> {
        self.0.forget(partition);
        removals(views, partition)
    }

    fn views_version(&self) -> u8 {
        VIEWS_VERSION
    }

    fn needs_bodies(&self, _: PartitionId) -> bool {
        false
    }
}

/// The store's views. The store rebuilds a view that cannot be read; until then it counts as empty,
/// and a superfluous entry does no harm.
struct FromViews<'a>(&'a dyn ViewReader);

impl Saved for FromViews<'_> {
    fn newest_epoch(&self, partition: PartitionId) -> Option<LeaderEpoch> {
        let mut newest = None;
        let mut look = |key: &[u8], _: &[u8]| newest = newest.max(derive::epoch_of_key(key));
        let _ = self
            .0
            .view_scan(View::Epochs, &derive::prefix(partition), &mut look);
        newest
    }

    fn producer(&self, partition: PartitionId, producer: ProducerId) -> Option<ProducerEntry> {
        let key = derive::producer_key(partition, producer);
        let saved = self.0.view_get(View::Producers, &key).ok().flatten();
        ProducerEntry::decode(&saved?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sedge_protocol::ids::ProducerEpoch;
    use sedge_protocol::records::{BatchBuilder, Compression};
    use sedge_storage::disk::memory::MemoryDisk;
    use sedge_storage::views::memory_base::MemoryBase;
    use sedge_storage::views::{Base, Change, Space};
    use sedge_storage::{Commit, Entry, LogStore, OpenReport, Options, Store, open_with};

    use super::*;

    const P: PartitionId = PartitionId(5);
    const PRODUCER: ProducerId = ProducerId(7);
    const BATCHES: i32 = 9;

    fn open(disk: &MemoryDisk, base: &MemoryBase) -> (Store, OpenReport) {
        let mut views = |anew: bool| -> Result<Box<dyn Base>, _> {
            if anew {
                base.clear();
            }
            Ok(Box::new(base.clone()))
        };
        let (disk, mut replay) = (Arc::new(disk.clone()), HeaderReplay::default());
        open_with(disk, &mut views, Options::default(), &mut replay).unwrap()
    }

    fn batch(sequence: i32) -> Batch {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(1, None, Some(b"value"), &[]);
        let Batch { mut header, body } = builder.build().unwrap();
        header.set_base_offset(Offset(sequence.into()));
        header.set_producer(PRODUCER, ProducerEpoch(0), sequence, &body);
        Batch { header, body }
    }

    fn known(store: &Store) -> Vec<u8> {
        let key = derive::producer_key(P, PRODUCER);
        store.view_get(View::Producers, &key).unwrap().unwrap()
    }

    /// Turns the views into those of versions without a version in producers' entries: their first
    /// byte is the view's.
    fn without_versions(base: &MemoryBase) {
        let mut changes = Vec::new();
        let of_producers = [View::Producers as u8];
        let mut each = |key: &[u8], value: &[u8]| {
            let value = Some(value[1..].to_vec());
            let (space, key) = (Space::Caller, key.to_vec());
            let is_producer = key.starts_with(&of_producers);
            changes.extend(is_producer.then_some(Change { space, key, value }));
            is_producer
        };
        base.scan(Space::Caller, &of_producers, None, &mut each)
            .unwrap();
        assert_eq!(changes.len(), 1);
        // The applied position had another key, and no versions.
        let [applied, before] = [6, 5].map(|table| [&[table][..], &[0; 16]].concat());
        let value = base.get(Space::Log, &applied).unwrap().unwrap();
        for (key, value) in [(applied, None), (before, Some(value[2..].to_vec()))] {
            let space = Space::Log;
            changes.push(Change { space, key, value });
        }
        base.write(changes).unwrap();
    }

    #[test]
    fn producers_of_views_from_before_there_were_versions_are_known_again() {
        let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
        let (store, _) = open(&disk, &base);
        for sequence in 0..BATCHES {
            let batches = vec![batch(sequence)];
            let append_ms = i64::from(sequence);
            let updates = HeaderReplay::default().replay(&store, P, &batches, append_ms);
            let partition = P;
            let entries = vec![Entry::Append { partition, batches }];
            let commit = Commit {
                entries,
                updates,
                append_ms,
            };
            store.append(commit).unwrap();
        }
        let before = known(&store);
        store.close().unwrap();
        drop(store);
        let (disk, base) = (disk.after_kill(), base.copy());
        without_versions(&base);

        let (store, report) = open(&disk, &base);
        assert!(report.views_rebuilt);
        assert_eq!(known(&store), before);
        let entry = ProducerEntry::decode(&known(&store)).unwrap();
        let last = Some(Offset(i64::from(BATCHES) - 1));
        assert_eq!(entry.last_word(), (ProducerEpoch(0), last));
        assert_eq!(store.bounds(P).unwrap().next_offset.0, i64::from(BATCHES));
    }
}

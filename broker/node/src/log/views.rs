//! The views derived from batches, as the store keeps them: adapts [`sedge_core::log::derive`] to
//! [`sedge_storage::Recovery`].

use std::cell::Cell;

use sedge_core::log::derive::{self, Change, Derived, Saved};
use sedge_core::log::producers::{ProducerEntry, Producers};
use sedge_core::metadata::METADATA_PARTITION;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{LeaderEpoch, Offset, PartitionId, ProducerId};
use sedge_storage::{Error, LogStore, Recovery, View, ViewReader, ViewUpdate};

/// The views in which a partition has entries under its id.
const OF_PARTITION: [View; 4] = [View::Producers, View::Epochs, View::Offsets, View::Aborted];

/// Version of the broker's views. Incremented when the keys or the values of one change (producers,
/// epochs, aborted transactions, committed offsets), so that the next start rebuilds them from the
/// log.
const VIEWS_VERSION: u8 = 2;

/// Converts a derived change for the store.
pub fn update(change: Change) -> ViewUpdate {
    let Change { view, key, value } = change;
    let view = match view {
        Derived::Epochs => View::Epochs,
        Derived::Producers => View::Producers,
        Derived::Aborted => View::Aborted,
    };
    ViewUpdate { view, key, value }
}

/// Returns the producers that a partition remembers.
///
/// # Errors
/// As for [`each_producer`].
pub fn producers(store: &dyn LogStore, id: PartitionId) -> Result<Producers, Error> {
    let mut known = Producers::default();
    each_producer(store, id, |producer, entry| known.restore(producer, entry))?;
    Ok(known)
}

/// Reads the entry of one producer.
///
/// # Errors
/// As for [`each_producer`].
pub fn producer(
    store: &dyn LogStore,
    id: PartitionId,
    producer: ProducerId,
) -> Result<Option<ProducerEntry>, Error> {
    let key = derive::producer_key(id, producer);
    let Some(value) = store.view_get(View::Producers, &key)? else {
        return Ok(None);
    };
    let entry = derive::producer_entry(&key, &value);
    entry
        .map(|(_, entry)| Some(entry))
        .ok_or_else(|| unreadable(store, View::Producers, id))
}

/// Reads the entry of each producer that a partition remembers.
///
/// # Errors
/// The store cannot read the view or an entry of it. A known producer must not be taken for an
/// unknown one: the log would then accept its repeats again.
pub fn each_producer(
    store: &dyn LogStore,
    id: PartitionId,
    mut each: impl FnMut(ProducerId, ProducerEntry),
) -> Result<(), Error> {
    let parse = derive::producer_entry;
    each_entry(store, View::Producers, id, parse, |(id, entry)| {
        each(id, entry);
    })
}

/// Returns the epochs of a partition, oldest first, each with its first offset.
///
/// # Errors
/// The store cannot read the view or an entry of it.
pub fn epochs(store: &dyn LogStore, id: PartitionId) -> Result<Vec<(LeaderEpoch, Offset)>, Error> {
    let mut found = Vec::new();
    each_entry(store, View::Epochs, id, derive::epoch_start, |start| {
        found.push(start);
    })?;
    Ok(found)
}

fn each_entry<T>(
    store: &dyn LogStore,
    view: View,
    id: PartitionId,
    parse: impl Fn(&[u8], &[u8]) -> Option<T>,
    mut each: impl FnMut(T),
) -> Result<(), Error> {
    let mut is_read = true;
    store.view_scan(
        view,
        &derive::prefix(id),
        &mut |key, value| match parse(key, value) {
            Some(entry) => each(entry),
            None => is_read = false,
        },
    )?;
    if is_read {
        Ok(())
    } else {
        Err(unreadable(store, view, id))
    }
}

/// Logs that an entry of a view cannot be read, and makes the next start rebuild the views. Returns
/// the error.
pub fn unreadable(store: &dyn LogStore, view: View, id: PartitionId) -> Error {
    let view = match view {
        View::Producers => "producers",
        View::Epochs => "epochs",
        View::Aborted => "aborted transactions",
        _ => "of the broker",
    };
    log::error!(
        target: "sedge::views",
        "view {view}: an entry of partition {id} cannot be read; the broker refuses writes that \
         need the entry; restart the broker to rebuild the views from the log"
    );
    store.distrust_views();
    Error::ViewEntry { view }
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

/// Returns the partition whose entry an update changes.
pub fn partition_of(update: &ViewUpdate) -> Option<PartitionId> {
    let (partition, _) = update.key.split_first_chunk()?;
    let is_of_partition = OF_PARTITION.contains(&update.view);
    is_of_partition.then(|| PartitionId(u32::from_be_bytes(*partition)))
}

/// Derives the view updates of batches that the views did not have yet when the process ended.
#[derive(Debug, Default)]
pub struct HeaderReplay {
    derived: derive::HeaderReplay,
    has_unread: bool,
}

impl HeaderReplay {
    /// Returns whether an entry of the views could not be read. The views must be rebuilt then:
    /// some updates were derived without that entry.
    pub const fn has_unread(&self) -> bool {
        self.has_unread
    }
}

impl Recovery for HeaderReplay {
    fn replay(
        &mut self,
        views: &dyn ViewReader,
        partition: PartitionId,
        batches: &[Batch],
        append_ms: i64,
    ) -> Vec<ViewUpdate> {
        let saved = FromViews {
            views,
            has_unread: Cell::new(self.has_unread),
        };
        let changes = self.derived.replay(&saved, partition, batches, append_ms);
        self.has_unread = saved.has_unread.get();
        changes.into_iter().map(update).collect()
    }

    fn dropped(&mut self, views: &dyn ViewReader, partition: PartitionId) -> Vec<ViewUpdate> {
        self.derived.forget(partition);
        removals(views, partition)
    }

    fn views_version(&self) -> u8 {
        VIEWS_VERSION
    }

    fn needs_bodies(&self, _: PartitionId) -> bool {
        false
    }

    fn ends_at_whole_frames(&self, partition: PartitionId) -> bool {
        ends_at_whole_frames(partition)
    }
}

/// Returns whether the log of a partition ends at its last whole frame. True for
/// `__cluster_metadata`: commands are acknowledged only after the sync, so a command torn by a
/// power cut was not acknowledged. A start refuses gaps in this log, so the torn command must leave
/// none.
pub fn ends_at_whole_frames(partition: PartitionId) -> bool {
    partition == METADATA_PARTITION
}

/// The store's views. An entry that cannot be read counts as missing and is recorded: the views are
/// rebuilt then.
struct FromViews<'a> {
    views: &'a dyn ViewReader,
    has_unread: Cell<bool>,
}

impl Saved for FromViews<'_> {
    fn newest_epoch(&self, partition: PartitionId) -> Option<LeaderEpoch> {
        let mut newest = None;
        let mut look = |key: &[u8], _: &[u8]| match derive::epoch_of_key(key) {
            Some(epoch) => newest = newest.max(Some(epoch)),
            None => self.has_unread.set(true),
        };
        let prefix = derive::prefix(partition);
        if self
            .views
            .view_scan(View::Epochs, &prefix, &mut look)
            .is_err()
        {
            self.has_unread.set(true);
        }
        newest
    }

    fn producer(&self, partition: PartitionId, producer: ProducerId) -> Option<ProducerEntry> {
        let key = derive::producer_key(partition, producer);
        let entry = match self.views.view_get(View::Producers, &key) {
            Ok(saved) => ProducerEntry::decode(&saved?),
            Err(_) => None,
        };
        if entry.is_none() {
            self.has_unread.set(true);
        }
        entry
    }

    fn each_producer(
        &self,
        partition: PartitionId,
        each: &mut dyn FnMut(ProducerId, ProducerEntry),
    ) {
        let mut look = |key: &[u8], value: &[u8]| match derive::producer_entry(key, value) {
            Some((producer, entry)) => each(producer, entry),
            None => self.has_unread.set(true),
        };
        let prefix = derive::prefix(partition);
        let scanned = self.views.view_scan(View::Producers, &prefix, &mut look);
        if scanned.is_err() {
            self.has_unread.set(true);
        }
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
    use sedge_storage::{Commit, Entry, OpenReport, Options, Store, open_with};

    use super::*;

    const P: PartitionId = PartitionId(5);
    const PRODUCER: ProducerId = ProducerId(7);
    const BATCHES: i32 = 9;

    fn open(disk: &MemoryDisk, base: &MemoryBase) -> (Store, OpenReport) {
        open_by(disk, base, &mut HeaderReplay::default())
    }

    fn open_by(
        disk: &MemoryDisk,
        base: &MemoryBase,
        replay: &mut HeaderReplay,
    ) -> (Store, OpenReport) {
        let mut views = |anew: bool| -> Result<Box<dyn Base>, _> {
            if anew {
                base.clear();
            }
            Ok(Box::new(base.clone()))
        };
        let disk = Arc::new(disk.clone());
        open_with(disk, &mut views, Options::default(), replay).unwrap()
    }

    /// Appends the batch of this sequence, with the view updates changed by `change`.
    fn append(store: &Store, sequence: i32, change: impl Fn(&mut ViewUpdate)) {
        let batches = vec![batch(sequence)];
        let append_ms = i64::from(sequence);
        let mut updates = HeaderReplay::default().replay(store, P, &batches, append_ms);
        updates.iter_mut().for_each(change);
        let partition = P;
        let entries = vec![Entry::Append { partition, batches }];
        let commit = Commit {
            entries,
            updates,
            append_ms,
        };
        store.append(commit).unwrap();
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
            append(&store, sequence, |_| ());
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
    /// The batches behind the views were derived without the entry, and repeats of older batches
    /// were written again.
    #[test]
    fn a_start_notices_entries_of_the_views_that_it_cannot_read() {
        let check = |view: View, expected: bool| {
            let (disk, base) = (MemoryDisk::new(), MemoryBase::new());
            let (store, _) = open(&disk, &base);
            append(&store, 0, |update| {
                if update.view == view {
                    update
                        .key
                        .truncate(if view == View::Epochs { 5 } else { 12 });
                    update.value = Some(b"?".to_vec());
                }
            });
            store.close().unwrap();
            drop(store);
            let (disk, before) = (disk.after_kill(), base.copy());
            let (store, _) = open(&disk, &base.copy());
            append(&store, 1, |_| ());
            store.sync().unwrap();
            let (disk, base) = (disk.after_kill(), before);
            let mut replay = HeaderReplay::default();
            let (_, report) = open_by(&disk, &base, &mut replay);
            assert_eq!(report.frames_replayed, 1);
            assert_eq!(replay.has_unread(), expected, "{view:?}");
        };
        check(View::Producers, true);
        check(View::Epochs, true);
        check(View::Offsets, false);
    }
}

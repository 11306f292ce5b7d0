//! The views that follow from batches, as the store keeps them: the adapter between
//! [`sedge_core::log::derive`] and [`sedge_storage::Recovery`].

use sedge_core::log::derive::{self, Change, Derived, Saved};
use sedge_core::log::producers::{ProducerEntry, Producers};
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{LeaderEpoch, Offset, PartitionId, ProducerId};
use sedge_storage::{Error, Recovery, View, ViewReader, ViewUpdate};

/// The views of which a partition has entries under its id.
const OF_PARTITION: [View; 3] = [View::Producers, View::Epochs, View::Offsets];

/// A derived change, as the store takes it.
pub fn update(change: Change) -> ViewUpdate {
    let Change { view, key, value } = change;
    let view = match view {
        Derived::Epochs => View::Epochs,
        Derived::Producers => View::Producers,
    };
    ViewUpdate { view, key, value }
}

/// The producers that a partition remembers.
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

/// The epochs of a partition, oldest first, each with the offset where it starts.
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

/// Takes all that the views know of a partition out of them.
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

/// Derives views from batches that they had not seen when the process ended.
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

    fn needs_bodies(&self, _: PartitionId) -> bool {
        false
    }
}

/// The store's views. One that cannot be read is rebuilt by the store; until then it counts as
/// empty, and an entry too many does no harm.
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

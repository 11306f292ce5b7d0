//! What the broker derives from batches that the views had not seen when the process ended:
//! producers and epochs, both from the headers alone.

use std::collections::HashMap;

use sedge_core::log::producers::{self, ProducerEntry, Producers, SequenceRange};
use sedge_protocol::batch::{Batch, BatchHeader};
use sedge_protocol::ids::{LeaderEpoch, PartitionId};
use sedge_storage::{Recovery, View, ViewReader, ViewUpdate};

use crate::limits::REPLAYED_EPOCHS_MAX;
use crate::writer::partition;

/// Replays headers into the views of producers and epochs.
#[derive(Debug, Default)]
pub struct HeaderReplay {
    /// The newest leader epochs of partitions that were replayed. The views have them too, but to
    /// ask those for each batch took longer than everything else.
    epochs: HashMap<PartitionId, Option<LeaderEpoch>>,
}

impl Recovery for HeaderReplay {
    fn replay(
        &mut self,
        views: &dyn ViewReader,
        partition: PartitionId,
        batches: &[Batch],
        append_ms: i64,
    ) -> Vec<ViewUpdate> {
        let mut updates = Vec::new();
        let mut known = Producers::default();
        let mut epoch = match self.epochs.get(&partition) {
            Some(known) => *known,
            None => newest_epoch(views, partition),
        };
        for Batch { header, .. } in batches {
            updates.extend(partition::epoch_update(partition, header, epoch));
            epoch = epoch.max(Some(header.leader_epoch()));
            if let Some(range) = SequenceRange::of(header) {
                replay_producer(views, partition, header, &range, append_ms, &mut known);
                let value = known.get(range.producer_id).map(ProducerEntry::encode);
                updates.push(partition::producer_update(partition, &range, value));
            }
        }
        if self.epochs.len() >= REPLAYED_EPOCHS_MAX {
            self.epochs.clear();
        }
        self.epochs.insert(partition, epoch);
        updates
    }

    fn dropped(&mut self, views: &dyn ViewReader, partition: PartitionId) -> Vec<ViewUpdate> {
        self.epochs.remove(&partition);
        removals(views, partition)
    }

    fn needs_bodies(&self, _: PartitionId) -> bool {
        false
    }
}

fn replay_producer(
    views: &dyn ViewReader,
    partition: PartitionId,
    header: &BatchHeader,
    range: &SequenceRange,
    append_ms: i64,
    known: &mut Producers,
) {
    if known.get(range.producer_id).is_none() {
        let key = producers::view_key(partition, range.producer_id);
        let saved = views.view_get(View::Producers, &key).ok().flatten();
        if let Some(entry) = saved.and_then(|value| ProducerEntry::decode(&value)) {
            known.restore(range.producer_id, entry);
        }
    }
    known.apply(
        range,
        header.base_offset(),
        header.max_timestamp(),
        append_ms,
    );
}

fn newest_epoch(views: &dyn ViewReader, partition: PartitionId) -> Option<LeaderEpoch> {
    let mut newest = None;
    // A view that cannot be read is rebuilt by the store; until then an entry too many does no
    // harm.
    let _ = views.view_scan(
        View::Epochs,
        &partition.get().to_be_bytes(),
        &mut |key, _| {
            let epoch = key.get(4..).and_then(|bytes| bytes.first_chunk::<4>());
            newest = newest.max(epoch.map(|bytes| LeaderEpoch(i32::from_be_bytes(*bytes))));
        },
    );
    newest
}

/// Takes all that the views know of a partition out of them.
pub fn removals(views: &dyn ViewReader, partition: PartitionId) -> Vec<ViewUpdate> {
    let mut updates = Vec::new();
    for view in [View::Producers, View::Epochs, View::Offsets] {
        let _ = views.view_scan(view, &partition.get().to_be_bytes(), &mut |key, _| {
            updates.push(ViewUpdate {
                view,
                key: key.to_vec(),
                value: None,
            });
        });
    }
    updates
}

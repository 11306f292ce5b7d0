//! Cursors that are to be committed here.

use alloc::vec::Vec;

use sedge_protocol::ids::{Offset, PartitionId};

use super::Link;
use crate::mirror::offsets::Placed;
use crate::mirror::stream::Moved;

impl Link {
    /// Returns the cursors to commit. Partitions that wait for a decision are left out, so that a
    /// restart finds them unchanged.
    #[must_use]
    pub fn uncommitted(&self) -> Vec<(PartitionId, Offset)> {
        let cursor = |partition: &PartitionId| {
            let stream = self.streams.get(partition)?;
            let is_due = !stream.is_paused
                && stream.moved != Moved::Uncarried
                && stream.committed != Some(stream.settled);
            is_due.then_some((*partition, stream.settled))
        };
        self.dirty.iter().filter_map(cursor).collect()
    }

    /// Returns where batches below the cursors are upstream, each once, and the cursors.
    pub fn take_placed(&mut self) -> Vec<(PartitionId, Offset, Vec<Placed>)> {
        let streams = self.streams.iter_mut();
        let taken = streams.map(|(id, stream)| {
            let placed = core::mem::take(&mut stream.placed);
            (*id, stream.settled, placed)
        });
        taken.collect()
    }

    /// Has a cursor committed that has not moved: what belongs to the cursor has changed.
    pub fn commit_again(&mut self, partition: PartitionId) {
        if let Some(stream) = self.streams.get_mut(&partition) {
            stream.committed = None;
            self.dirty.insert(partition);
        }
    }

    /// Records that these cursors are durable.
    pub fn handle_committed(&mut self, cursors: &[(PartitionId, Offset)]) {
        for (partition, cursor) in cursors {
            let Some(stream) = self.streams.get_mut(partition) else {
                continue;
            };
            stream.committed = Some(*cursor);
            if stream.settled == *cursor {
                self.dirty.remove(partition);
            }
            if stream.moved == Moved::Carried {
                stream.moved = Moved::No;
                self.settle(*partition);
            }
        }
    }
}

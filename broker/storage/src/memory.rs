//! The log as plain maps in memory: the simplest implementation of the contract. Tests compare the
//! real store with it, and other crates' tests use it as their store. Nothing is persisted.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use sedge_protocol::batch::{Batch, BatchHeader};
use sedge_protocol::ids::{Offset, PartitionId};

use crate::api::{
    Cold, ColdSegment, Commit, Entry, Freed, LogBounds, LogStore, Room, SegmentUse, Slice, Usage,
    View, ViewReader,
};
use crate::error::Error;
use crate::ids::{SegmentId, Sequence};

/// The log in memory; see the module.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
    /// Locked by the sync that runs.
    syncing: Mutex<()>,
}

/// A disk on which nothing is freed, like one segment of a store.
#[derive(Debug)]
struct Volume {
    bytes: u64,
    used: u64,
    reserved: Room,
}

impl Volume {
    fn reserve(&mut self, room: Room) -> Result<(), Error> {
        let wanted = room
            .frame_bytes()
            .saturating_add(room.urgency.keeps_bytes(self.bytes));
        if !room.is_empty() && self.used.saturating_add(wanted) > self.bytes {
            return Err(Error::Full);
        }
        self.reserved = room;
        Ok(())
    }

    /// Takes the room of a commit.
    ///
    /// # Panics
    /// If more is written than was reserved.
    fn take(&mut self, commit: &Commit) {
        let bytes_of = |entry: &Entry| match entry {
            Entry::Append { batches, .. } => batches.iter().map(|of| of.bytes() as u64).sum(),
            Entry::LogStart { .. } | Entry::Drop { .. } | Entry::Replace { .. } => 0,
        };
        let batch_bytes: u64 = commit.entries.iter().map(bytes_of).sum();
        let written = Room::ordinary(batch_bytes, commit.entries.len() as u64);
        let reserved = std::mem::take(&mut self.reserved);
        assert!(
            batch_bytes <= reserved.batch_bytes && written.rows <= reserved.rows,
            "{written:?} is more than {reserved:?}"
        );
        if !written.is_empty() {
            self.used += written.frame_bytes();
        }
    }
}

#[derive(Debug, Default)]
struct State {
    volume: Option<Volume>,
    sequence: u64,
    payload_bytes: u64,
    partitions: BTreeMap<PartitionId, Partition>,
    newest_partition: Option<PartitionId>,
    views: BTreeMap<(View, Vec<u8>), Vec<u8>>,
}

#[derive(Debug, Default)]
struct Partition {
    bounds: LogBounds,
    batches: BTreeMap<Offset, Stored>,
}

#[derive(Debug)]
struct Stored {
    header: BatchHeader,
    bytes: Bytes,
    append_ms: i64,
}

impl MemoryStore {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a store with room for `bytes` of frames, which accepts only reserved commits.
    #[must_use]
    pub fn with_room(bytes: u64) -> Self {
        let store = Self::default();
        store.state().volume = Some(Volume {
            bytes,
            used: 0,
            reserved: Room::default(),
        });
        store
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets syncs wait until the guard is dropped, as a slow disk does.
    pub fn hold_syncs(&self) -> MutexGuard<'_, ()> {
        self.syncing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn apply(&mut self, entry: Entry, append_ms: i64) {
        let (Entry::Append { partition, .. }
        | Entry::LogStart { partition, .. }
        | Entry::Drop { partition }
        | Entry::Replace { partition, .. }) = &entry;
        let named = Some(*partition).filter(|id| !id.is_reserved());
        self.newest_partition = self.newest_partition.max(named);
        match entry {
            Entry::Append { partition, batches } => {
                let of = self.partitions.entry(partition).or_default();
                for batch in batches {
                    self.payload_bytes += batch.bytes() as u64;
                    of.append(&batch, append_ms);
                }
            }
            Entry::LogStart { partition, offset } => {
                self.partitions
                    .entry(partition)
                    .or_default()
                    .move_start(offset);
            }
            Entry::Drop { partition } => {
                self.partitions.remove(&partition);
            }
            Entry::Replace {
                cold,
                partition,
                base,
                next,
                is_compacted,
                ..
            } => {
                if let Some(of) = self.partitions.get_mut(&partition) {
                    of.replace(partition, (base, next), &cold, is_compacted);
                }
            }
        }
    }
}

impl Partition {
    fn append(&mut self, batch: &Batch, append_ms: i64) {
        self.bounds.next_offset = batch.header.next_offset();
        self.bounds.leader_epoch = Some(batch.header.leader_epoch());
        self.put(batch, append_ms);
    }

    fn put(&mut self, batch: &Batch, append_ms: i64) {
        let header = batch.header;
        let mut bytes = BytesMut::with_capacity(batch.bytes());
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(&batch.body);
        self.batches.insert(
            header.base_offset(),
            Stored {
                header,
                bytes: bytes.freeze(),
                append_ms,
            },
        );
    }

    fn move_start(&mut self, offset: Offset) {
        self.bounds.log_start = self.bounds.log_start.max(offset);
        self.bounds.next_offset = self.bounds.next_offset.max(offset);
        let start = self.bounds.log_start;
        self.batches
            .retain(|_, batch| batch.header.next_offset() > start);
    }

    fn replace(
        &mut self,
        id: PartitionId,
        (base, next): (Offset, Offset),
        cold: &Cold,
        is_compacted: bool,
    ) {
        if next > self.bounds.next_offset || next <= self.bounds.log_start {
            return;
        }
        if is_compacted {
            self.bounds.compacted_until = self.bounds.compacted_until.max(next);
        }
        self.batches.retain(|at, _| *at < base || *at >= next);
        for (of, batch, append_ms) in &cold.batches {
            let at = batch.header.base_offset();
            if *of == id && at >= base && at < next {
                self.put(batch, *append_ms);
            }
        }
        self.move_start(self.bounds.log_start);
    }

    fn below(&self, until: Offset) -> impl Iterator<Item = &Stored> {
        self.batches.range(..until).map(|(_, batch)| batch)
    }
}

impl ViewReader for MemoryStore {
    fn view_get(&self, view: View, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.state().views.get(&(view, key.to_vec())).cloned())
    }

    fn view_scan_from(
        &self,
        view: View,
        prefix: &[u8],
        from: &[u8],
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        let from = from.max(prefix).to_vec();
        for ((of, key), value) in self.state().views.range((view, from)..) {
            if *of != view || !key.starts_with(prefix) || !each(key, value) {
                break;
            }
        }
        Ok(())
    }
}

impl LogStore for MemoryStore {
    fn reserve(&self, room: Room) -> Result<(), Error> {
        match &mut self.state().volume {
            Some(volume) => volume.reserve(room),
            None => Ok(()),
        }
    }

    fn append(&self, commit: Commit) -> Result<Sequence, Error> {
        let mut state = self.state();
        if let Some(volume) = &mut state.volume {
            volume.take(&commit);
        }
        for entry in commit.entries {
            state.apply(entry, commit.append_ms);
        }
        for update in commit.updates {
            let key = (update.view, update.key);
            match update.value {
                Some(value) => state.views.insert(key, value),
                None => state.views.remove(&key),
            };
        }
        state.sequence += 1;
        Ok(Sequence(state.sequence))
    }

    fn sync(&self) -> Result<(), Error> {
        drop(self.hold_syncs());
        Ok(())
    }

    fn bounds(&self, partition: PartitionId) -> Result<LogBounds, Error> {
        Ok(self
            .state()
            .partitions
            .get(&partition)
            .map(|of| of.bounds)
            .unwrap_or_default())
    }

    fn partitions(&self) -> Result<Vec<PartitionId>, Error> {
        Ok(self.state().partitions.keys().copied().collect())
    }

    fn newest_partition(&self) -> Result<Option<PartitionId>, Error> {
        Ok(self.state().newest_partition)
    }

    fn read(
        &self,
        partition: PartitionId,
        from: Offset,
        until: Offset,
        bytes_max: usize,
    ) -> Result<Vec<Bytes>, Error> {
        let state = self.state();
        let Some(of) = state.partitions.get(&partition) else {
            return Ok(Vec::new());
        };
        if from < of.bounds.log_start || from >= until {
            return Ok(Vec::new());
        }
        let mut chunks = Vec::new();
        let mut left = bytes_max;
        for batch in of
            .below(until)
            .filter(|batch| batch.header.next_offset() > from)
        {
            if !chunks.is_empty() && batch.bytes.len() > left {
                break;
            }
            left = left.saturating_sub(batch.bytes.len());
            chunks.push(batch.bytes.clone());
        }
        Ok(chunks)
    }

    fn first_batch_at(
        &self,
        partition: PartitionId,
        timestamp: i64,
        from: Offset,
        until: Offset,
    ) -> Result<Option<Bytes>, Error> {
        let state = self.state();
        let Some(of) = state.partitions.get(&partition) else {
            return Ok(None);
        };
        let found = of
            .below(until)
            .filter(|batch| batch.header.next_offset() > from)
            .find(|batch| batch.header.max_timestamp() >= timestamp);
        Ok(found.map(|batch| batch.bytes.clone()))
    }

    fn max_timestamp_batch(
        &self,
        partition: PartitionId,
        from: Offset,
        until: Offset,
    ) -> Result<Option<Bytes>, Error> {
        let state = self.state();
        let Some(of) = state.partitions.get(&partition) else {
            return Ok(None);
        };
        let latest = of
            .below(until)
            .filter(|batch| batch.header.next_offset() > from)
            .map(|batch| batch.header.max_timestamp())
            .max();
        let found = of
            .below(until)
            .filter(|batch| batch.header.next_offset() > from)
            .find(|batch| Some(batch.header.max_timestamp()) == latest);
        Ok(found.map(|batch| batch.bytes.clone()))
    }

    fn slices(&self, partition: PartitionId) -> Result<Vec<Slice>, Error> {
        let state = self.state();
        let Some(of) = state.partitions.get(&partition) else {
            return Ok(Vec::new());
        };
        let slice = |batch: &Stored| Slice {
            segment: SegmentId(1),
            first_offset: batch.header.base_offset(),
            next_offset: batch.header.next_offset(),
            bytes: batch.bytes.len() as u64,
            max_timestamp: batch.header.max_timestamp(),
            append_ms: batch.append_ms,
            oldest_ms: batch.append_ms,
        };
        Ok(of.batches.values().map(slice).collect())
    }

    fn partition_bytes(&self, partition: PartitionId) -> Result<u64, Error> {
        Ok(self
            .slices(partition)?
            .iter()
            .map(|slice| slice.bytes)
            .sum())
    }

    fn begin_cold(&self, _bytes: u64) -> Result<Box<dyn ColdSegment + '_>, Error> {
        Ok(Box::new(ColdBatches::default()))
    }

    fn active_segment(&self) -> Option<SegmentId> {
        None
    }

    fn roll(&self) -> Result<(), Error> {
        Ok(())
    }

    fn segments(&self) -> Result<Vec<SegmentUse>, Error> {
        Ok(Vec::new())
    }

    fn live_slices(&self, _of: &[SegmentId]) -> Result<Vec<(PartitionId, Slice)>, Error> {
        Ok(Vec::new())
    }

    fn free_segments(&self) -> Result<Freed, Error> {
        Ok(Freed::default())
    }

    fn flush_views(&self) -> Result<(), Error> {
        Ok(())
    }

    fn usage(&self) -> Usage {
        let state = self.state();
        let batches = state.partitions.values().flat_map(|of| of.batches.values());
        let live_bytes = batches.map(|batch| batch.bytes.len() as u64).sum();
        Usage {
            disk_bytes: live_bytes,
            live_bytes,
            segments: 1,
            payload_bytes_written: state.payload_bytes,
            ..Usage::default()
        }
    }

    fn close(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// A cold segment without a file.
#[derive(Debug, Default)]
struct ColdBatches(Vec<(PartitionId, Batch, i64)>);

impl ColdSegment for ColdBatches {
    fn push(&mut self, partition: PartitionId, batch: Batch, append_ms: i64) -> Result<(), Error> {
        self.0.push((partition, batch, append_ms));
        Ok(())
    }

    fn cut(&mut self) {}

    fn bytes(&self) -> u64 {
        self.0
            .iter()
            .map(|(_, batch, _)| batch.bytes() as u64)
            .sum()
    }

    fn finish(self: Box<Self>) -> Result<Cold, Error> {
        Ok(Cold {
            segment: SegmentId(1),
            generation: 0,
            runs: Vec::new(),
            file: None,
            batches: self.0,
        })
    }
}

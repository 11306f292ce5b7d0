//! Batches and commits for tests.

use bytes::Bytes;
use sedge_protocol::batch::{Batch, BatchHeader, HEADER_BYTES};
use sedge_protocol::ids::{LeaderEpoch, Offset, PartitionId};
use sedge_storage::{Commit, Entry, Recovery, View, ViewReader, ViewUpdate};

pub fn batch(base: i64, records: i32, timestamp: i64, body_bytes: usize) -> Batch {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&base.to_be_bytes());
    let length = (HEADER_BYTES - 12 + body_bytes) as i32;
    header[8..12].copy_from_slice(&length.to_be_bytes());
    header[12..16].copy_from_slice(&7i32.to_be_bytes());
    header[16] = 2;
    header[23..27].copy_from_slice(&(records - 1).to_be_bytes());
    header[35..43].copy_from_slice(&timestamp.to_be_bytes());
    header[43..51].copy_from_slice(&(-1i64).to_be_bytes());
    header[57..61].copy_from_slice(&records.to_be_bytes());
    let body: Vec<u8> = (0..body_bytes)
        .map(|at| (at as i64 * 7 + base) as u8)
        .collect();
    let mut header = BatchHeader::read(&header).unwrap();
    header.set_leader_epoch(LeaderEpoch(3));
    Batch {
        header: header.with_computed_crc(&body),
        body: Bytes::from(body),
    }
}

pub fn whole(batch: &Batch) -> Vec<u8> {
    [&batch.header.as_bytes()[..], &batch.body[..]].concat()
}

pub fn append(partition: u32, batches: Vec<Batch>) -> Entry {
    Entry::Append {
        partition: PartitionId(partition),
        batches,
    }
}

/// Builds a commit, with the updates that [`Derive`] makes from the same entries.
pub fn commit(entries: Vec<Entry>, append_ms: i64) -> Commit {
    let updates = entries.iter().filter_map(derived).collect();
    Commit {
        entries,
        updates,
        append_ms,
    }
}

fn derived(entry: &Entry) -> Option<ViewUpdate> {
    match entry {
        Entry::Append { partition, batches } => update_of(*partition, batches),
        Entry::Drop { partition } => Some(removal_of(*partition)),
        Entry::LogStart { .. } | Entry::Replace { .. } => None,
    }
}

fn update_of(partition: PartitionId, batches: &[Batch]) -> Option<ViewUpdate> {
    let next: Offset = batches.last()?.header.next_offset();
    let value = Some(next.0.to_be_bytes().to_vec());
    Some(ViewUpdate {
        view: View::Producers,
        key: partition.0.to_be_bytes().to_vec(),
        value,
    })
}

fn removal_of(partition: PartitionId) -> ViewUpdate {
    ViewUpdate {
        view: View::Producers,
        key: partition.0.to_be_bytes().to_vec(),
        value: None,
    }
}

/// A view with the end of each partition.
#[derive(Debug, Default)]
pub struct Derive {
    pub batches: usize,
}

impl Recovery for Derive {
    fn replay(
        &mut self,
        _views: &dyn ViewReader,
        partition: PartitionId,
        batches: &[Batch],
        _append_ms: i64,
    ) -> Vec<ViewUpdate> {
        self.batches += batches.len();
        update_of(partition, batches).into_iter().collect()
    }

    fn dropped(&mut self, _views: &dyn ViewReader, partition: PartitionId) -> Vec<ViewUpdate> {
        vec![removal_of(partition)]
    }

    fn needs_bodies(&self, partition: PartitionId) -> bool {
        partition.0.is_multiple_of(2)
    }
}

//! Reads the batches of a partition one after the other, at the cleaner's pace.

use bytes::Bytes;
use sedge_core::cleaner::check_crc;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{Offset, PartitionId};

use super::CleanError;
use super::limits::READ_BYTES;
use super::pace::Pace;

/// Batches from one offset to another.
#[derive(Debug)]
pub struct Batches<'a> {
    pace: &'a Pace,
    partition: PartitionId,
    next: Offset,
    until: Offset,
    chunks: std::vec::IntoIter<Bytes>,
    chunk: Bytes,
}

impl<'a> Batches<'a> {
    pub fn new(pace: &'a Pace, partition: PartitionId, from: Offset, until: Offset) -> Self {
        Self {
            pace,
            partition,
            next: from,
            until,
            chunks: Vec::new().into_iter(),
            chunk: Bytes::new(),
        }
    }

    /// Returns the next batch, with a valid checksum: a damaged batch must not be written again as
    /// if it were whole.
    ///
    /// # Errors
    /// The batch cannot be read or is damaged, or the broker stops.
    pub fn next(&mut self) -> Result<Option<Batch>, CleanError> {
        loop {
            Pace::give_way();
            if let Some(batch) = Batch::split_from(&mut self.chunk) {
                let offset = batch.header.base_offset();
                let is_whole = check_crc(&batch);
                is_whole.map_err(|source| CleanError::Batch { offset, source })?;
                self.next = batch.header.next_offset();
                return Ok(Some(batch));
            }
            if let Some(chunk) = self.chunks.next() {
                self.chunk = chunk;
                continue;
            }
            if self.next >= self.until {
                return Ok(None);
            }
            let store = &self.pace.log.store;
            let read = store.read(self.partition, self.next, self.until, READ_BYTES)?;
            if read.is_empty() {
                return Ok(None);
            }
            self.pace
                .read(read.iter().map(|chunk| chunk.len() as u64).sum())?;
            self.chunks = read.into_iter();
        }
    }
}

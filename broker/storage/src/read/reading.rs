//! The state of a read: what is wanted, what was found, and the decision on the next batch.

use bytes::Bytes;
use sedge_protocol::batch::BatchHeader;
use sedge_protocol::ids::Offset;

use crate::api::{Chunk, Located, ReadLimits, Wait};
use crate::disk::{SegmentFile, bytes_of};
use crate::error::Error;
use crate::ids::SegmentId;
use crate::limits;
use crate::read::walk::Extent;

/// The state of a read.
pub(super) struct Reading {
    pub chunks: Vec<Chunk>,
    /// Whether places are enough for batches that need not be decoded.
    pub in_place: bool,
    /// See [`ReadLimits::takes_places`].
    pub takes_places: bool,
    pub wait: Wait,
    /// The next offset wanted.
    pub from: Offset,
    pub until: Offset,
    pub left: usize,
    /// The remainder of [`ReadLimits::memory_max`] and [`ReadLimits::cold_max`].
    pub memory_left: usize,
    pub cold_left: usize,
    /// Small consecutive batches that become one chunk.
    pub gathered: Vec<u8>,
    pub done: bool,
    pub is_cut: bool,
    /// The length of the file that was used last.
    pub file_end: Option<(SegmentId, u64)>,
}

/// The decision on a batch.
pub(super) enum Fate {
    /// The batch ends before the wanted offsets.
    Skip,
    Take,
    /// The read is over.
    Stop,
}

impl Reading {
    pub fn new(from: Offset, until: Offset, limits: ReadLimits) -> Self {
        Self {
            chunks: Vec::new(),
            in_place: false,
            takes_places: limits.takes_places,
            wait: Wait::ForDisk,
            from,
            until,
            left: limits.bytes_max,
            memory_left: limits.memory_max,
            cold_left: limits.cold_max,
            gathered: Vec::new(),
            done: false,
            is_cut: false,
            file_end: None,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.gathered.is_empty()
    }

    /// Returns the bytes that may be read into memory at once.
    pub fn read_max(&self) -> u64 {
        self.left.min(self.memory_left) as u64
    }

    /// Returns whether `bytes` more fit what is `left` of memory or cold bytes. If not, the read is
    /// over.
    pub fn fits(&mut self, bytes: usize, left: usize, is_first: bool) -> bool {
        if bytes > left && !is_first {
            self.done = true;
            self.is_cut = true;
        }
        !self.done
    }

    /// Takes batches that are in memory.
    pub fn take(&mut self, batches: Bytes) {
        self.memory_left = self.memory_left.saturating_sub(batches.len());
        if self.in_place && (batches.len() as u64) < limits::PLACE_BYTES_MIN {
            self.gathered.extend_from_slice(&batches);
        } else {
            self.push(Chunk::Read(batches));
        }
    }

    pub fn push(&mut self, chunk: Chunk) {
        self.seal();
        self.memory_left = self.memory_left.saturating_sub(size_of::<Chunk>());
        self.chunks.push(chunk);
    }

    /// Makes a chunk of the gathered batches.
    pub fn seal(&mut self) {
        if !self.gathered.is_empty() {
            let mut gathered = std::mem::take(&mut self.gathered);
            gathered.shrink_to_fit();
            self.chunks.push(Chunk::Read(Bytes::from(gathered)));
        }
    }

    pub fn into_located(mut self) -> Located {
        self.seal();
        Located {
            next_offset: if self.chunks.is_empty() {
                Offset::ZERO
            } else {
                self.from
            },
            chunks: self.chunks,
            is_cut: self.is_cut,
        }
    }

    /// Decides on the next batch, of `bytes`. `is_first` if nothing was taken yet.
    pub fn judge(&mut self, header: &BatchHeader, bytes: usize, is_first: bool) -> Fate {
        if header.next_offset() <= self.from {
            return Fate::Skip;
        }
        if header.base_offset() >= self.until || (bytes > self.left && !is_first) {
            self.done = true;
            return Fate::Stop;
        }
        Fate::Take
    }

    /// Returns whether the file is long enough for an extent.
    pub fn reaches(&mut self, file: &dyn SegmentFile, extent: Extent) -> Result<bool, Error> {
        let end = extent.position + extent.bytes;
        let known = self.file_end.filter(|(of, _)| *of == extent.segment);
        if known.is_some_and(|(_, known)| end <= known) {
            return Ok(true);
        }
        let bytes = bytes_of(file)?;
        self.file_end = Some((extent.segment, bytes));
        Ok(end <= bytes)
    }

    pub fn count(&mut self, next: Offset, bytes: usize) {
        self.left = self.left.saturating_sub(bytes);
        self.from = next;
    }
}

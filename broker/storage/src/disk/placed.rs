//! Bytes of a segment that stay in their file.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use bytes::Bytes;

use super::SegmentFile;
use crate::error::{Error, io_error};
use crate::ids::SegmentId;
use crate::limits;

/// A place in a segment. It holds the file, so its bytes stay when the segment is freed.
#[derive(Clone, Debug)]
pub struct Placed {
    file: Arc<dyn SegmentFile>,
    segment: SegmentId,
    position: u64,
    bytes: usize,
}

impl Placed {
    pub(crate) fn new(
        file: Arc<dyn SegmentFile>,
        segment: SegmentId,
        position: u64,
        bytes: usize,
    ) -> Self {
        Self {
            file,
            segment,
            position,
            bytes,
        }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the segment, and the position of the bytes in its file.
    pub fn place(&self) -> (SegmentId, u64) {
        (self.segment, self.position)
    }

    /// Returns file and position, to send from; `None` if the disk has no descriptors.
    pub fn file(&self) -> Option<(BorrowedFd<'_>, u64)> {
        Some((self.file.descriptor()?, self.position))
    }

    pub fn read(&self) -> Result<Bytes, Error> {
        self.read_part(0, self.bytes)
    }

    /// Reads the bytes into the page cache. Blocks.
    pub(crate) fn warm(&self) -> Result<(), Error> {
        let mut at = 0;
        while at < self.bytes {
            let bytes = (self.bytes - at).min(limits::WARM_READ_BYTES);
            self.read_part(at, bytes)?;
            at += bytes;
        }
        Ok(())
    }

    fn read_part(&self, at: usize, bytes: usize) -> Result<Bytes, Error> {
        let position = self.position + at as u64;
        let read = self
            .file
            .read_at(position, bytes)
            .map_err(|source| io_error("read a segment", source))?;
        if read.len() == bytes {
            Ok(read)
        } else {
            Err(Error::Corrupt {
                segment: self.segment,
                position,
                what: "the segment ends within a commit",
            })
        }
    }
}

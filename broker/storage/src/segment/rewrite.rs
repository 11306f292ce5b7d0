//! Writes to existing segments at a start: zeros over a torn frame, and a second copy of data that
//! the earlier process may not have made durable.
//!
//! After a failed sync, Linux marks the pages as clean: they are in memory, a restart reads them,
//! the next sync succeeds, and they are not on the disk. (Known as "fsyncgate"; ext4, XFS and btrfs
//! all do it.) A producer that retries would be told that its batch is there. So everything behind
//! the position up to which the views are flushed, which is all that was ever in doubt, is
//! overwritten with itself when it is read at a start, and synced with the first commit.

use std::io::{self, IoSlice};

use bytes::BytesMut;

use crate::disk::SegmentFile;
use crate::error::{Error, io_error};
use crate::format::SEGMENT_HEADER_BYTES;
use crate::limits;

/// Rewrites the header, and `from..to`.
pub(crate) fn rewrite(file: &dyn SegmentFile, from: u64, to: u64) -> io::Result<()> {
    copy(file, 0, SEGMENT_HEADER_BYTES)?;
    let mut at = from;
    while at < to {
        let bytes = (to - at).min(limits::SCAN_READ_BYTES);
        copy(file, at, bytes)?;
        at += bytes;
    }
    Ok(())
}

fn copy(file: &dyn SegmentFile, at: u64, bytes: u64) -> io::Result<()> {
    let held = file.read_at(at, bytes as usize)?;
    file.write_at(at, &[IoSlice::new(&held)])
}

/// Writes zeros over `from..to`, so that the old bytes cannot come back.
pub(crate) fn wipe(file: &dyn SegmentFile, from: u64, to: u64) -> Result<(), Error> {
    let failed = |source| io_error("cut a torn frame", source);
    let zeros = BytesMut::zeroed(limits::SCAN_READ_BYTES as usize);
    let mut at = from;
    while at < to {
        let bytes = (to - at).min(zeros.len() as u64);
        file.write_at(at, &[IoSlice::new(&zeros[..bytes as usize])])
            .map_err(failed)?;
        at += bytes;
    }
    file.sync_data().map_err(failed)
}

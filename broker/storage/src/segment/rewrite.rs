//! What a start writes into a segment that is there already: zeros over a torn frame, and again
//! what the process before this one may not have brought to the disk.
//!
//! After a sync that failed, Linux holds the pages for clean: they are in memory, a restart reads
//! them, the next sync says yes to them, and they are not on the disk. (Measured by others as
//! "fsyncgate"; ext4, XFS and btrfs all do it.) A producer that asks again would be told that its
//! batch is there. So what lies behind the position up to which the views are flushed, which is all
//! that was ever in doubt, is written over with itself when it is read at a start, and synced with
//! the first commit.

use std::io::{self, IoSlice};

use bytes::BytesMut;

use crate::disk::SegmentFile;
use crate::error::{Error, io_error};
use crate::format::SEGMENT_HEADER_BYTES;
use crate::limits;

/// The header, and `from..to`.
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

/// Zeros over `from..to`, so that what was there cannot come back.
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

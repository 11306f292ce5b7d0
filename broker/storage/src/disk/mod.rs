//! The disk as the log needs it: segment files that are written and read at positions, and synced.
//! [`directory`] is the real disk; [`memory`] is one in memory with injected faults.

mod contents;
mod direct;
pub mod directory;
pub mod memory;
mod page_cache;
mod placed;
pub(crate) mod unreadable;
mod whole_file;

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, io_error};
use crate::ids::SegmentId;

pub use placed::Placed;
pub(crate) use whole_file::write_whole;

/// The folder of segments.
pub trait Disk: std::fmt::Debug + Send + Sync + 'static {
    /// Returns the segments and the sizes of their files, in any order.
    fn list(&self) -> Result<Vec<(SegmentId, u64)>, Error>;
    /// Creates a file of `bytes`, with room for them on the volume; the name is durable. On an
    /// error no file is left.
    fn create(&self, id: SegmentId, bytes: u64) -> Result<Arc<dyn SegmentFile>, Error>;
    /// Opens a segment's file; `None` if there is no such segment.
    fn open(&self, id: SegmentId) -> Result<Option<Arc<dyn SegmentFile>>, Error>;
    /// Like [`Disk::open`], past the page cache if the file system supports it.
    fn open_direct(&self, id: SegmentId) -> Result<Option<Arc<dyn SegmentFile>>, Error> {
        self.open(id)
    }
    /// Removes a segment's file. Not an error if it does not exist. Open handles keep its bytes.
    fn remove(&self, id: SegmentId) -> Result<(), Error>;
    /// Returns whether the segment's file has another name, under which its bytes must stay.
    fn is_shared(&self, id: SegmentId) -> bool {
        let _ = id;
        false
    }
    /// Takes the segment's name from its file, which becomes a spare. Open handles keep its bytes
    /// until it is reused.
    fn retire(&self, id: SegmentId) -> Result<(), Error>;
    /// Returns the spares and their sizes.
    fn spares(&self) -> Result<Vec<(SegmentId, u64)>, Error>;
    /// Makes a spare the file of segment `id`, with room for `bytes`; the name is durable. Returns
    /// `None` if there is no such spare, or if its bytes must stay.
    fn reuse(
        &self,
        spare: SegmentId,
        id: SegmentId,
        bytes: u64,
    ) -> Result<Option<Arc<dyn SegmentFile>>, Error>;
    /// Evicts a spare without handles from the page cache. Returns whether no page is left: a page
    /// that stays may be lent to a peer, which would see bytes that are written over it.
    fn evict_spare(&self, spare: SegmentId) -> Result<bool, Error>;
    /// Removes a spare. Not an error if it does not exist.
    fn remove_spare(&self, spare: SegmentId) -> Result<(), Error>;
    /// Returns the free bytes of the volume; `None` if the volume does not report them.
    fn free_bytes(&self) -> Option<u64>;
    /// Returns whether the volume is mounted read-only.
    fn is_read_only(&self) -> bool {
        false
    }
    /// Returns the size of the volume.
    fn volume_bytes(&self) -> Option<u64> {
        None
    }
}

/// One segment file, shared by the writer and by readers.
pub trait SegmentFile: std::fmt::Debug + Send + Sync {
    /// Writes all of `parts`, one after the other.
    fn write_at(&self, position: u64, parts: &[IoSlice<'_>]) -> io::Result<()>;
    /// Reads `bytes`; fewer only at the end of the file.
    fn read_at(&self, position: u64, bytes: usize) -> io::Result<Bytes>;
    /// Returns the first position at or after `from` that may hold bytes other than zero; `None` if
    /// there are none.
    fn next_data(&self, from: u64) -> io::Result<Option<u64>> {
        Ok((from < self.bytes()?).then_some(from))
    }
    /// Like [`SegmentFile::read_at`], but only from the page cache; if fewer bytes are cached,
    /// fails with [`io::ErrorKind::WouldBlock`].
    fn read_cached(&self, position: u64, bytes: usize) -> io::Result<Bytes> {
        let _ = (position, bytes);
        Err(io::ErrorKind::WouldBlock.into())
    }
    /// Returns whether the page cache has these bytes, so that sending them does not wait for the
    /// disk. Only the last of them is checked.
    fn is_cached(&self, position: u64, bytes: u64) -> bool {
        let _ = (position, bytes);
        false
    }
    /// Advises the operating system that these bytes will be read next.
    fn read_soon(&self, position: u64, bytes: u64) {
        let _ = (position, bytes);
    }
    /// Returns the file descriptor to send from.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
    fn sync_data(&self) -> io::Result<()>;
    fn truncate(&self, bytes: u64) -> io::Result<()>;
    fn bytes(&self) -> io::Result<u64>;
}

pub(crate) fn bytes_of(file: &dyn SegmentFile) -> Result<u64, Error> {
    file.bytes()
        .map_err(|source| io_error("look at a segment", source))
}

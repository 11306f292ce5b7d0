//! The disk as the log needs it: segment files that are written at positions, read at positions and
//! synced. [`directory`] is the real one; [`memory`] is one in memory that fails as told.

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
    /// Segments and the bytes of their files, in any order.
    fn list(&self) -> Result<Vec<(SegmentId, u64)>, Error>;
    /// A new file of `bytes`, with room for them on the volume; the name is durable. On an error
    /// nothing stays.
    fn create(&self, id: SegmentId, bytes: u64) -> Result<Arc<dyn SegmentFile>, Error>;
    /// `None` if there is no such segment.
    fn open(&self, id: SegmentId) -> Result<Option<Arc<dyn SegmentFile>>, Error>;
    /// Like [`Disk::open`], for one look that leaves the page cache as it is, if there is one.
    fn open_direct(&self, id: SegmentId) -> Result<Option<Arc<dyn SegmentFile>>, Error> {
        self.open(id)
    }
    /// Removing what is not there is no error. Open handles keep their bytes.
    fn remove(&self, id: SegmentId) -> Result<(), Error>;
    /// Whether the segment's file has another name, under which its bytes must stay.
    fn is_shared(&self, id: SegmentId) -> bool {
        let _ = id;
        false
    }
    /// Takes the segment's name from its file, which becomes a spare. Open handles keep its bytes
    /// until it is reused.
    fn retire(&self, id: SegmentId) -> Result<(), Error>;
    /// The spares and their bytes.
    fn spares(&self) -> Result<Vec<(SegmentId, u64)>, Error>;
    /// The file of a spare as that of segment `id`, with room for `bytes`; the name is durable.
    /// `None` if there is no such spare, or if its bytes must stay.
    fn reuse(
        &self,
        spare: SegmentId,
        id: SegmentId,
        bytes: u64,
    ) -> Result<Option<Arc<dyn SegmentFile>>, Error>;
    /// Takes a spare that no handle is left of out of the operating system's memory. Returns
    /// whether all of it is gone: what stays may be lent to a peer, who would see what is written
    /// over it.
    fn evict_spare(&self, spare: SegmentId) -> Result<bool, Error>;
    /// Removing what is not there is no error.
    fn remove_spare(&self, spare: SegmentId) -> Result<(), Error>;
    /// `None` if the volume does not say.
    fn free_bytes(&self) -> Option<u64>;
    /// Whether the volume is mounted read-only.
    fn is_read_only(&self) -> bool {
        false
    }
    /// Size of the volume.
    fn volume_bytes(&self) -> Option<u64> {
        None
    }
}

/// One segment file. Shared by the writer and by readers.
pub trait SegmentFile: std::fmt::Debug + Send + Sync {
    /// All of `parts`, one after the other.
    fn write_at(&self, position: u64, parts: &[IoSlice<'_>]) -> io::Result<()>;
    /// Fewer than `bytes` only at the end of the file.
    fn read_at(&self, position: u64, bytes: usize) -> io::Result<Bytes>;
    /// The first position at or after `from` that may hold bytes other than zero; `None` if
    /// there are none.
    fn next_data(&self, from: u64) -> io::Result<Option<u64>> {
        Ok((from < self.bytes()?).then_some(from))
    }
    /// Like [`SegmentFile::read_at`], from what the operating system has in memory; if that is
    /// less, [`io::ErrorKind::WouldBlock`].
    fn read_cached(&self, position: u64, bytes: usize) -> io::Result<Bytes> {
        let _ = (position, bytes);
        Err(io::ErrorKind::WouldBlock.into())
    }
    /// Whether the operating system has these bytes in memory, as far as a look at the last of them
    /// tells, so that sending them waits for no disk.
    fn is_cached(&self, position: u64, bytes: u64) -> bool {
        let _ = (position, bytes);
        false
    }
    /// Tells the operating system that these bytes will be read next.
    fn read_soon(&self, position: u64, bytes: u64) {
        let _ = (position, bytes);
    }
    /// The operating system's file, to send from.
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

//! Pages that a device does not give: what lies in them is lost, and nothing else.
//!
//! A read that fails is read again page by page, as the kernel's page cache does, and a page that
//! fails alone is *unreadable*. Two look at segments through this:
//!
//! - [`Patched`], by whom damage is looked for: in an unreadable page it sees bytes that are no
//!   frame and no batch, and notes it.
//! - [`Guarded`], by whom the log is read: where a page cannot be read of which every byte is on
//!   the list of damage, it sees such bytes too, so that what lies around it is read. Any other
//!   failure is one.

use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use rustix::io::Errno;

use super::{Disk, SegmentFile};
use crate::api::SegmentId;
use crate::error::Error;
use crate::format::PAGE_BYTES;
use crate::known_damage::DamageList;
use crate::write::new_generation;

/// Whether the device has not given what lies there, as opposed to a call that cannot work. Direct
/// reads have the block layer's own words for it, and file systems with checksums theirs.
pub(crate) fn is_unreadable(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::IO
                | Errno::NODATA
                | Errno::ILSEQ
                | Errno::REMOTEIO
                | Errno::BADMSG
                | Errno::UCLEAN
        )
    )
}

/// Bytes in place of those that cannot be read: nobody can have written them.
fn new_filling() -> [u8; 8] {
    new_generation().to_be_bytes()
}

/// The same as [`SegmentFile::read_at`], page by page, with `filling` in those that cannot be read,
/// each of which `may_miss` has to allow.
fn read_pages(
    file: &dyn SegmentFile,
    position: u64,
    bytes: usize,
    filling: [u8; 8],
    may_miss: &mut dyn FnMut(u64) -> bool,
) -> io::Result<Bytes> {
    let end = file.bytes()?.min(position.saturating_add(bytes as u64));
    let mut read = BytesMut::with_capacity(end.saturating_sub(position) as usize);
    let mut at = position;
    while at < end {
        let page = at - at % PAGE_BYTES;
        let to = end.min(page + PAGE_BYTES);
        match file.read_at(at, (to - at) as usize) {
            // Cut shorter meanwhile.
            Ok(part) if part.is_empty() => break,
            Ok(part) => read.extend_from_slice(&part),
            Err(error) if !is_unreadable(&error) || !may_miss(page) => return Err(error),
            Err(_) => read.extend(filling.iter().cycle().take((to - at) as usize)),
        }
        at = position + read.len() as u64;
    }
    Ok(read.freeze())
}

/// A file for one look at all of it. See the module.
#[derive(Debug)]
pub(crate) struct Patched<'a> {
    file: &'a dyn SegmentFile,
    filling: [u8; 8],
    unreadable: Mutex<BTreeSet<u64>>,
    has_answered: AtomicBool,
}

impl<'a> Patched<'a> {
    pub fn new(file: &'a dyn SegmentFile) -> Self {
        Self {
            file,
            filling: new_filling(),
            unreadable: Mutex::default(),
            has_answered: AtomicBool::new(false),
        }
    }

    /// Whether everything that was asked for was read.
    pub fn is_whole(&self) -> bool {
        self.lock().is_empty()
    }

    /// Whether anything at all was read.
    pub fn has_answered(&self) -> bool {
        self.has_answered.load(Ordering::Acquire)
    }

    /// What of `from..to` could not be read, page by page.
    pub fn unreadable(&self, from: u64, to: u64) -> Vec<(u64, u64)> {
        let first = from - from % PAGE_BYTES;
        let pages = self.lock();
        let pages = pages.range(first..to.max(first));
        pages
            .map(|page| ((*page).max(from), (page + PAGE_BYTES).min(to)))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.unreadable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl SegmentFile for Patched<'_> {
    fn write_at(&self, _position: u64, _parts: &[IoSlice<'_>]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn read_at(&self, position: u64, bytes: usize) -> io::Result<Bytes> {
        let read = match self.file.read_at(position, bytes) {
            Err(error) if is_unreadable(&error) => error,
            read => {
                self.has_answered.store(true, Ordering::Release);
                return read;
            }
        };
        log::debug!("at {position}, {bytes} bytes: {read}; page by page");
        let end = self
            .file
            .bytes()?
            .min(position.saturating_add(bytes as u64));
        let mut missed = 0;
        let patched = read_pages(self.file, position, bytes, self.filling, &mut |page| {
            missed += end.min(page + PAGE_BYTES) - page.max(position);
            self.lock().insert(page);
            true
        })?;
        if missed < patched.len() as u64 {
            self.has_answered.store(true, Ordering::Release);
        }
        Ok(patched)
    }

    fn next_data(&self, from: u64) -> io::Result<Option<u64>> {
        self.file.next_data(from)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, _bytes: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }
}

/// The disk behind the list of damage. See the module.
#[derive(Debug)]
pub(crate) struct Guarded {
    disk: Arc<dyn Disk>,
    damage: Arc<DamageList>,
    filling: [u8; 8],
}

#[derive(Debug)]
struct GuardedFile {
    file: Arc<dyn SegmentFile>,
    id: SegmentId,
    damage: Arc<DamageList>,
    filling: [u8; 8],
}

impl Guarded {
    pub fn new(disk: Arc<dyn Disk>, damage: Arc<DamageList>) -> Self {
        Self {
            disk,
            damage,
            filling: new_filling(),
        }
    }

    fn guard(&self, id: SegmentId, file: Arc<dyn SegmentFile>) -> Arc<dyn SegmentFile> {
        Arc::new(GuardedFile {
            file,
            id,
            damage: Arc::clone(&self.damage),
            filling: self.filling,
        })
    }
}

impl Disk for Guarded {
    fn list(&self) -> Result<Vec<(SegmentId, u64)>, Error> {
        self.disk.list()
    }

    fn create(&self, id: SegmentId, bytes: u64) -> Result<Arc<dyn SegmentFile>, Error> {
        Ok(self.guard(id, self.disk.create(id, bytes)?))
    }

    fn open(&self, id: SegmentId) -> Result<Option<Arc<dyn SegmentFile>>, Error> {
        Ok(self.disk.open(id)?.map(|file| self.guard(id, file)))
    }

    /// As the device has it.
    fn open_direct(&self, id: SegmentId) -> Result<Option<Arc<dyn SegmentFile>>, Error> {
        self.disk.open_direct(id)
    }

    fn remove(&self, id: SegmentId) -> Result<(), Error> {
        self.disk.remove(id)
    }

    fn is_shared(&self, id: SegmentId) -> bool {
        self.disk.is_shared(id)
    }

    fn rests_until(&self, id: SegmentId) -> Option<Instant> {
        self.disk.rests_until(id)
    }

    fn retire(&self, id: SegmentId) -> Result<(), Error> {
        self.disk.retire(id)
    }

    fn spares(&self) -> Result<Vec<(SegmentId, u64)>, Error> {
        self.disk.spares()
    }

    fn reuse(
        &self,
        spare: SegmentId,
        id: SegmentId,
        bytes: u64,
    ) -> Result<Option<Arc<dyn SegmentFile>>, Error> {
        let file = self.disk.reuse(spare, id, bytes)?;
        Ok(file.map(|file| self.guard(id, file)))
    }

    fn remove_spare(&self, spare: SegmentId) -> Result<(), Error> {
        self.disk.remove_spare(spare)
    }

    fn free_bytes(&self) -> Option<u64> {
        self.disk.free_bytes()
    }

    fn is_read_only(&self) -> bool {
        self.disk.is_read_only()
    }

    fn volume_bytes(&self) -> Option<u64> {
        self.disk.volume_bytes()
    }
}

impl SegmentFile for GuardedFile {
    fn write_at(&self, position: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        self.file.write_at(position, parts)
    }

    fn read_at(&self, position: u64, bytes: usize) -> io::Result<Bytes> {
        match self.file.read_at(position, bytes) {
            Err(error) if is_unreadable(&error) && self.damage.is_any() => {
                let end = self.file.bytes()?;
                // Sound bytes in such a page are not for anybody to make up.
                read_pages(&*self.file, position, bytes, self.filling, &mut |page| {
                    let to = end.min(page + PAGE_BYTES);
                    self.damage.covers(self.id, page, to)
                })
            }
            read => read,
        }
    }

    fn next_data(&self, from: u64) -> io::Result<Option<u64>> {
        self.file.next_data(from)
    }

    fn read_cached(&self, position: u64, bytes: usize) -> io::Result<Bytes> {
        self.file.read_cached(position, bytes)
    }

    fn is_cached(&self, position: u64, bytes: u64) -> bool {
        self.file.is_cached(position, bytes)
    }

    fn read_soon(&self, position: u64, bytes: u64) {
        self.file.read_soon(position, bytes);
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.file.descriptor()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.file.truncate(bytes)
    }

    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }
}

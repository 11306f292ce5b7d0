//! Pages that a device cannot read: only the bytes in them are lost.
//!
//! A read that fails is repeated page by page, as the kernel's page cache reads, and a page that
//! fails alone is *unreadable*. Damage is looked for through [`Patched`]: it returns filler that is
//! neither a frame nor a batch instead of an unreadable page, and notes the page. The log is read
//! through [`Guarded`](crate::damage::guarded::Guarded), which does so only if the damage is known.

use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};

use super::SegmentFile;
use crate::error::is_unreadable;
use crate::format::PAGE_BYTES;
use crate::ids::new_generation;

/// Returns filler for unreadable bytes: random, so that no producer can have written it.
pub(crate) fn new_filling() -> [u8; 8] {
    new_generation().to_be_bytes()
}

/// Reads like [`SegmentFile::read_at`], page by page, with `filling` in unreadable pages, each of
/// which `may_miss` has to allow.
pub(crate) fn read_pages(
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
            // The file was cut shorter meanwhile.
            Ok(part) if part.is_empty() => break,
            Ok(part) => read.extend_from_slice(&part),
            Err(error) if !is_unreadable(&error) || !may_miss(page) => return Err(error),
            Err(_) => read.extend(filling.iter().cycle().take((to - at) as usize)),
        }
        at = position + read.len() as u64;
    }
    Ok(read.freeze())
}

/// A file for one look through all of it; see the module.
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

    /// Returns whether everything that was asked for was read.
    pub fn is_whole(&self) -> bool {
        self.lock().is_empty()
    }

    /// Returns whether anything at all was read.
    pub fn has_answered(&self) -> bool {
        self.has_answered.load(Ordering::Acquire)
    }

    /// Returns the pages of `from..to` that could not be read.
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
        log::debug!("cannot read {bytes} bytes at {position}: {read}; reading page by page");
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

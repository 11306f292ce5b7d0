//! A disk in memory that fails as told: it loses writes that were not synced, tears them, flips
//! bits, fills up, and refuses to sync. What it models: a write is in the file at once; a power cut
//! keeps, of each 4 KiB page written since the last sync, the old or the new bytes; names are
//! durable when they are made.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rustix::io::Errno;

use super::directory::io_error;
use super::{Disk, SegmentFile};
use crate::api::SegmentId;
use crate::error::Error;

const PAGE_BYTES: usize = 4096;

/// What to fail at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// The volume's size.
    pub capacity: Option<u64>,
    pub read_only: bool,
    pub sync_fails: bool,
    pub write_fails: bool,
}

/// After so many changes to disk and views nothing changes any more: the moment of a crash. Clones
/// are the same fuse.
#[derive(Clone, Debug)]
pub struct Fuse(Arc<AtomicI64>);

impl Default for Fuse {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(i64::MAX)))
    }
}

impl Fuse {
    pub fn set(&self, changes: i64) {
        self.0.store(changes, Ordering::SeqCst);
    }

    pub fn is_blown(&self) -> bool {
        self.0.load(Ordering::SeqCst) <= 0
    }

    /// Counts a change; false where it must not happen.
    pub fn burn(&self) -> bool {
        self.0.fetch_sub(1, Ordering::SeqCst) > 0
    }
}

/// See the module. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    faults: Faults,
    fuse: Fuse,
    files: BTreeMap<SegmentId, Contents>,
}

#[derive(Clone, Debug, Default)]
struct Contents {
    bytes: Vec<u8>,
    /// What each page held at the last sync, where it was written since.
    synced_pages: BTreeMap<usize, Vec<u8>>,
}

#[derive(Debug)]
struct OpenFile {
    disk: MemoryDisk,
    id: SegmentId,
}

impl MemoryDisk {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_fuse(&self, fuse: Fuse) {
        self.state().fuse = fuse;
    }

    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// What is on the disk after a power cut: of each page written since the last sync, `keep_new`
    /// says whether the new bytes made it. Handles of before still see this disk, not the new one.
    #[must_use]
    pub fn after_power_cut(&self, keep_new: &mut dyn FnMut() -> bool) -> Self {
        let mut files = self.state().files.clone();
        for contents in files.values_mut() {
            for (page, old) in std::mem::take(&mut contents.synced_pages) {
                if keep_new() {
                    continue;
                }
                let at = page * PAGE_BYTES;
                let end = contents.bytes.len().min(at + old.len());
                if at < end {
                    contents.bytes[at..end].copy_from_slice(&old[..end - at]);
                }
            }
        }
        Self(Arc::new(Mutex::new(State {
            files,
            ..State::default()
        })))
    }

    /// The same bytes, as another process would see them after this one was killed.
    #[must_use]
    pub fn after_kill(&self) -> Self {
        let files = self.state().files.clone();
        Self(Arc::new(Mutex::new(State {
            files,
            ..State::default()
        })))
    }

    /// Changes a byte, synced or not.
    pub fn flip(&self, id: SegmentId, position: u64, mask: u8) {
        if let Some(contents) = self.state().files.get_mut(&id)
            && let Some(byte) = contents.bytes.get_mut(position as usize)
        {
            *byte ^= mask;
        }
    }

    /// The bytes of a segment.
    #[must_use]
    pub fn contents(&self, id: SegmentId) -> Option<Vec<u8>> {
        self.state()
            .files
            .get(&id)
            .map(|contents| contents.bytes.clone())
    }
}

impl State {
    fn used(&self) -> u64 {
        self.files
            .values()
            .map(|contents| contents.bytes.len() as u64)
            .sum()
    }

    fn burn(&self) -> io::Result<()> {
        if self.fuse.burn() {
            Ok(())
        } else {
            Err(Errno::IO.into())
        }
    }

    fn check_room(&self, more: u64) -> Result<(), Error> {
        if self.faults.read_only {
            return Err(Error::ReadOnly);
        }
        match self.faults.capacity {
            Some(capacity) if self.used() + more > capacity => Err(Error::Full),
            _ => Ok(()),
        }
    }
}

impl Contents {
    fn write(&mut self, position: usize, bytes: &[u8]) {
        let end = position + bytes.len();
        if end > self.bytes.len() {
            self.bytes.resize(end, 0);
        }
        for page in position / PAGE_BYTES..=end.saturating_sub(1) / PAGE_BYTES {
            let from = page * PAGE_BYTES;
            let to = self.bytes.len().min(from + PAGE_BYTES);
            let old = &self.bytes[from..to];
            self.synced_pages
                .entry(page)
                .or_insert_with(|| old.to_vec());
        }
        self.bytes[position..end].copy_from_slice(bytes);
    }
}

impl Disk for MemoryDisk {
    fn list(&self) -> Result<Vec<(SegmentId, u64)>, Error> {
        let state = self.state();
        Ok(state
            .files
            .iter()
            .map(|(id, file)| (*id, file.bytes.len() as u64))
            .collect())
    }

    fn create(&self, id: SegmentId, bytes: u64) -> Result<Arc<dyn SegmentFile>, Error> {
        let mut state = self.state();
        state.check_room(bytes)?;
        state
            .burn()
            .map_err(|source| io_error("create a segment", source))?;
        if state.files.contains_key(&id) {
            return Err(io_error(
                "create a segment",
                io::ErrorKind::AlreadyExists.into(),
            ));
        }
        let contents = Contents {
            bytes: vec![0; bytes as usize],
            ..Contents::default()
        };
        state.files.insert(id, contents);
        drop(state);
        Ok(Arc::new(OpenFile {
            disk: self.clone(),
            id,
        }))
    }

    fn open(&self, id: SegmentId) -> Result<Option<Arc<dyn SegmentFile>>, Error> {
        let there = self.state().files.contains_key(&id);
        Ok(there.then(|| {
            Arc::new(OpenFile {
                disk: self.clone(),
                id,
            }) as Arc<dyn SegmentFile>
        }))
    }

    fn remove(&self, id: SegmentId) -> Result<(), Error> {
        let mut state = self.state();
        state
            .burn()
            .map_err(|source| io_error("remove a segment", source))?;
        state.files.remove(&id);
        Ok(())
    }

    fn free_bytes(&self) -> Option<u64> {
        let state = self.state();
        state
            .faults
            .capacity
            .map(|capacity| capacity.saturating_sub(state.used()))
    }
}

impl OpenFile {
    /// A file without a name is of no use to anybody, so what happens to it is left out.
    fn is_removed(&self) -> bool {
        !self.disk.state().files.contains_key(&self.id)
    }

    fn with<T>(&self, act: impl FnOnce(&mut State, SegmentId) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.state();
        if !state.files.contains_key(&self.id) {
            return Err(io::ErrorKind::NotFound.into());
        }
        act(&mut state, self.id)
    }
}

impl SegmentFile for OpenFile {
    fn write_at(&self, position: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        self.with(|state, id| {
            let whole: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
            let held = state.files[&id].bytes.len() as u64;
            let more = (position + whole.len() as u64).saturating_sub(held);
            if state.faults.write_fails {
                return Err(Errno::IO.into());
            }
            state.burn()?;
            state
                .check_room(more)
                .map_err(|_| io::Error::from(Errno::NOSPC))?;
            let contents = state.files.get_mut(&id).ok_or(io::ErrorKind::NotFound)?;
            contents.write(position as usize, &whole);
            Ok(())
        })
    }

    fn read_at(&self, position: u64, bytes: usize) -> io::Result<Bytes> {
        self.with(|state, id| {
            let held = &state.files[&id].bytes;
            let from = held.len().min(position as usize);
            let to = held.len().min(from + bytes);
            Ok(Bytes::copy_from_slice(&held[from..to]))
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.is_removed() {
            return Ok(());
        }
        self.with(|state, id| {
            if state.faults.sync_fails {
                return Err(Errno::IO.into());
            }
            state.burn()?;
            if let Some(contents) = state.files.get_mut(&id) {
                contents.synced_pages.clear();
            }
            Ok(())
        })
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.with(|state, id| {
            state.burn()?;
            if let Some(contents) = state.files.get_mut(&id) {
                contents.bytes.resize(bytes as usize, 0);
            }
            Ok(())
        })
    }

    fn bytes(&self) -> io::Result<u64> {
        self.with(|state, id| Ok(state.files[&id].bytes.len() as u64))
    }
}

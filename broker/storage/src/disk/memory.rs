//! A disk in memory with injected faults. The fault model:
//!
//! - **A write** is in the file at once, for this process and for one after a kill.
//! - **A power cut** keeps, of each sector of 512 bytes, any of the states it had since the last
//!   sync of its file, independently of other sectors: writes are lost, torn and out of order. A
//!   file that was cut shorter since then may be long again.
//! - **Names** are durable when they are made. Names removed since the last one was made may come
//!   back, the last removed first: a journal keeps their order.
//! - **Damage**: any byte may change, synced or not, and any page may become unreadable.
//! - **Refusals**: full, read-only; a write that fails after writing all, a part or nothing; a sync
//!   that fails, after which nothing that it should have kept is ever safe.
//! - **A sync** keeps what was written before its beginning; it may take while other writes come.
//! - **Loans**: bytes sent from a file are not copied. A write to the file changes them until the
//!   peer has received them or the machine is off; a file of which nothing is lent can be evicted.
//! - **A fuse** stops all changes at any point: the moment of a crash.
//!
//! Not modelled: reads that return wrong bytes once and right ones the next time, files that get
//! each other's bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rustix::io::Errno;

use super::contents::Contents;
pub use super::contents::Loan;

use super::{Disk, SegmentFile};
use crate::error::{Error, io_error};
use crate::ids::SegmentId;

/// Faults to inject.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// The volume's size.
    pub capacity: Option<u64>,
    pub read_only: bool,
    pub sync_fails: bool,
    pub write_fails: bool,
    /// Bytes of a failing write that are written nevertheless.
    pub write_keeps: usize,
}

/// Stops all changes after a given number of changes to disk and views: the moment of a crash.
/// Clones are the same fuse.
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

    /// Counts a change. Returns false if the change must not happen.
    pub fn burn(&self) -> bool {
        self.0.fetch_sub(1, Ordering::SeqCst) > 0
    }
}

/// Where one sync stops after its beginning, until the test lets it end. Clones are the same gate.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<(Mutex<Passage>, Condvar)>);

#[derive(Debug, Default)]
struct Passage {
    is_reached: bool,
    is_open: bool,
}

impl Gate {
    /// Waits until a sync is at the gate, or [`Gate::open`] was called. Returns whether a sync is
    /// there.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        let (passage, changed) = &*self.0;
        let passage = passage.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = changed.wait_while(passage, |of| !of.is_reached && !of.is_open);
        wait.unwrap_or_else(PoisonError::into_inner).is_reached
    }

    /// Lets the sync that is at the gate end, and all later ones.
    pub fn open(&self) {
        self.change(|passage| passage.is_open = true);
    }

    fn pass(&self) {
        let (passage, changed) = &*self.0;
        self.change(|passage| passage.is_reached = true);
        let passage = passage.lock().unwrap_or_else(PoisonError::into_inner);
        drop(changed.wait_while(passage, |of| !of.is_open));
    }

    fn change(&self, change: impl FnOnce(&mut Passage)) {
        let (passage, changed) = &*self.0;
        change(&mut passage.lock().unwrap_or_else(PoisonError::into_inner));
        changed.notify_all();
    }
}

/// A disk in memory; see the module. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    faults: Faults,
    fuse: Fuse,
    /// Where the next sync of commits stops.
    gate: Option<Gate>,
    files: BTreeMap<SegmentId, Contents>,
    spares: BTreeMap<SegmentId, Contents>,
    /// Segments whose name was removed since a name was last made, oldest first; `None` if the file
    /// is a spare.
    removed: Vec<(SegmentId, Option<Contents>)>,
    /// Removed segments whose file another segment has reused.
    written_over: BTreeSet<SegmentId>,
    bytes_read: u64,
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

    /// Has the next sync of commits stop at `gate`. The one of a segment's header does not: the
    /// writer waits for that.
    pub fn set_gate(&self, gate: Option<Gate>) {
        self.state().gate = gate;
    }

    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// Returns the disk after a power cut at which each uncertain state is either the old or the
    /// newest one, as `keep_new` says.
    #[must_use]
    pub fn after_power_cut(&self, keep_new: &mut dyn FnMut() -> bool) -> Self {
        self.cut_power(&mut |states| if keep_new() { states - 1 } else { 0 })
    }

    /// Returns the disk after a power cut, with all that the fault model allows. `choose` picks one
    /// of the given number of states, the last of which is the newest. Handles from before still
    /// see this disk, not the new one.
    #[must_use]
    pub fn cut_power(&self, choose: &mut dyn FnMut(usize) -> usize) -> Self {
        let (mut files, mut spares, mut removed) = {
            let state = self.state();
            (
                state.files.clone(),
                state.spares.clone(),
                state.removed.clone(),
            )
        };
        let gone = choose(removed.len() + 1);
        for (id, contents) in removed.drain(gone..) {
            let contents = contents.or_else(|| spares.remove(&id));
            files.extend(contents.map(|contents| (id, contents)));
        }
        for contents in files.values_mut().chain(spares.values_mut()) {
            contents.after_power_cut(choose);
        }
        Self(Arc::new(Mutex::new(State {
            files,
            spares,
            ..State::default()
        })))
    }

    /// Returns the same bytes, as another process sees them after this one was killed.
    #[must_use]
    pub fn after_kill(&self) -> Self {
        let (files, spares) = {
            let state = self.state();
            (state.files.clone(), state.spares.clone())
        };
        Self(Arc::new(Mutex::new(State {
            files,
            spares,
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

    /// Makes the page at `position` unreadable until it is written again.
    pub fn make_unreadable(&self, id: SegmentId, position: u64) {
        if let Some(contents) = self.state().files.get_mut(&id) {
            contents.make_unreadable(position as usize);
        }
    }

    /// Sends from the file of a segment that was located before and may have lost its name since.
    /// Returns `None` if the file is gone, as nothing writes to it then.
    #[must_use]
    pub fn lend(&self, id: SegmentId, position: u64, bytes: usize) -> Option<Loan> {
        let mut state = self.state();
        assert!(
            !state.written_over.contains(&id),
            "the file of segment {} was written over while a reader had it",
            id.0
        );
        let state = &mut *state;
        let contents = state.files.get_mut(&id).or(state.spares.get_mut(&id))?;
        Some(contents.lend(position as usize, bytes))
    }

    /// Returns the bytes read so far.
    pub fn bytes_read(&self) -> u64 {
        self.state().bytes_read
    }

    /// Returns the bytes of a segment.
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
            .chain(self.spares.values())
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
            // Existing bytes may be overwritten.
            Some(capacity) if more > 0 && self.used() + more > capacity => Err(Error::Full),
            _ => Ok(()),
        }
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
        state.files.insert(id, Contents::zeros(bytes as usize));
        state.removed.clear();
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
        if let Some(contents) = state.files.remove(&id) {
            state.removed.push((id, Some(contents)));
        }
        Ok(())
    }

    fn retire(&self, id: SegmentId) -> Result<(), Error> {
        let mut state = self.state();
        state
            .burn()
            .map_err(|source| io_error("put a segment aside", source))?;
        if let Some(contents) = state.files.remove(&id) {
            state.spares.insert(id, contents);
            state.removed.push((id, None));
        }
        Ok(())
    }

    fn spares(&self) -> Result<Vec<(SegmentId, u64)>, Error> {
        let state = self.state();
        let spares = state.spares.iter();
        Ok(spares
            .map(|(id, file)| (*id, file.bytes.len() as u64))
            .collect())
    }

    fn reuse(
        &self,
        spare: SegmentId,
        id: SegmentId,
        bytes: u64,
    ) -> Result<Option<Arc<dyn SegmentFile>>, Error> {
        let mut state = self.state();
        let held = state
            .spares
            .get(&spare)
            .map_or(0, |of| of.bytes.len() as u64);
        state.check_room(bytes.saturating_sub(held))?;
        state
            .burn()
            .map_err(|source| io_error("use a segment again", source))?;
        let Some(mut contents) = state.spares.remove(&spare) else {
            return Ok(None);
        };
        contents.bytes.resize(bytes as usize, 0);
        contents.is_begun = false;
        state.written_over.insert(spare);
        state.files.insert(id, contents);
        state.removed.clear();
        drop(state);
        let disk = self.clone();
        Ok(Some(Arc::new(OpenFile { disk, id })))
    }

    fn evict_spare(&self, spare: SegmentId) -> Result<bool, Error> {
        let state = self.state();
        Ok(state.spares.get(&spare).is_some_and(Contents::is_evictable))
    }

    fn remove_spare(&self, spare: SegmentId) -> Result<(), Error> {
        let mut state = self.state();
        state
            .burn()
            .map_err(|source| io_error("remove a segment", source))?;
        let contents = state.spares.remove(&spare);
        // If the file's earlier name may come back, it comes back with its bytes.
        let before = state.removed.iter_mut().find(|(id, _)| *id == spare);
        if let Some((_, before)) = before {
            *before = contents;
        }
        Ok(())
    }

    fn free_bytes(&self) -> Option<u64> {
        let state = self.state();
        state
            .faults
            .capacity
            .map(|capacity| capacity.saturating_sub(state.used()))
    }

    fn is_read_only(&self) -> bool {
        self.state().faults.read_only
    }

    fn volume_bytes(&self) -> Option<u64> {
        self.state().faults.capacity
    }
}

impl OpenFile {
    /// Returns whether the file has lost its name; faults in it have no effect then.
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
                let kept = whole.len().min(state.faults.write_keeps);
                if let Some(contents) = state.files.get_mut(&id) {
                    contents.write(position as usize, &whole[..kept]);
                }
                return Err(Errno::IO.into());
            }
            state.burn()?;
            state.check_room(more).map_err(|error| match error {
                Error::ReadOnly => Errno::ROFS,
                _ => Errno::NOSPC,
            })?;
            let contents = state.files.get_mut(&id).ok_or(io::ErrorKind::NotFound)?;
            contents.write(position as usize, &whole);
            Ok(())
        })
    }

    fn read_at(&self, position: u64, bytes: usize) -> io::Result<Bytes> {
        self.with(|state, id| {
            state.bytes_read += bytes as u64;
            let held = &state.files[&id].bytes;
            let from = held.len().min(position as usize);
            let to = held.len().min(from + bytes);
            if !state.files[&id].is_readable(from, to) {
                return Err(Errno::IO.into());
            }
            Ok(Bytes::copy_from_slice(&held[from..to]))
        })
    }

    fn is_cached(&self, _position: u64, _bytes: u64) -> bool {
        true
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.is_removed() {
            return Ok(());
        }
        let (covered, gate) = self.with(|state, id| {
            let contents = &state.files[&id];
            let covered = contents.begin_sync();
            let gate = contents.is_begun.then(|| state.gate.take()).flatten();
            Ok((covered, gate))
        })?;
        if let Some(gate) = gate {
            gate.pass();
            if self.is_removed() {
                return Ok(());
            }
        }
        self.with(|state, id| {
            if state.faults.sync_fails {
                if let Some(contents) = state.files.get_mut(&id) {
                    contents.fail_sync();
                }
                return Err(Errno::IO.into());
            }
            state.burn()?;
            if let Some(contents) = state.files.get_mut(&id) {
                contents.end_sync(covered);
                contents.is_begun = true;
            }
            Ok(())
        })
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.with(|state, id| {
            state.burn()?;
            if let Some(contents) = state.files.get_mut(&id) {
                contents.truncate(bytes as usize);
            }
            Ok(())
        })
    }

    fn bytes(&self) -> io::Result<u64> {
        self.with(|state, id| Ok(state.files[&id].bytes.len() as u64))
    }
}

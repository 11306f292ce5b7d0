//! Segment files that are open, bounded; the others are opened again when they are read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::disk::{Disk, SegmentFile};
use crate::error::Error;
use crate::ids::SegmentId;
use crate::limits;

#[derive(Debug)]
pub(crate) struct Files {
    pub disk: Arc<dyn Disk>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    files: HashMap<SegmentId, (Arc<dyn SegmentFile>, u64)>,
    /// Handles evicted here that readers may still hold. A segment has one handle at a time, so
    /// that the writer can see whether a reader still uses the file before it is overwritten.
    let_go: HashMap<SegmentId, Weak<dyn SegmentFile>>,
    uses: u64,
}

impl Files {
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self {
            disk,
            open: Mutex::default(),
        }
    }

    /// Returns a segment's file; `None` if the segment is gone.
    pub fn get(&self, id: SegmentId) -> Result<Option<Arc<dyn SegmentFile>>, Error> {
        // Opened under the lock, so that a file is not opened twice or while it is being retired.
        let mut open = self.lock();
        if let Some(file) = open.touch(id) {
            return Ok(Some(file));
        }
        let Some(file) = self.disk.open(id)? else {
            return Ok(None);
        };
        open.keep(id, file.clone());
        Ok(Some(file))
    }

    pub fn keep(&self, id: SegmentId, file: Arc<dyn SegmentFile>) {
        self.lock().keep(id, file);
    }

    pub fn remove(&self, id: SegmentId) -> Result<(), Error> {
        self.lock().take(id);
        self.disk.remove(id)
    }

    /// Removes the segment's name from its file. Readers share the handle that is returned.
    pub fn retire(&self, id: SegmentId) -> Result<Option<Arc<dyn SegmentFile>>, Error> {
        let mut open = self.lock();
        self.disk.retire(id)?;
        Ok(open.take(id))
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn touch(&mut self, id: SegmentId) -> Option<Arc<dyn SegmentFile>> {
        self.uses += 1;
        let uses = self.uses;
        if let Some((file, used)) = self.files.get_mut(&id) {
            *used = uses;
            return Some(file.clone());
        }
        let file = self.let_go.remove(&id)?.upgrade()?;
        self.keep(id, file.clone());
        Some(file)
    }

    fn keep(&mut self, id: SegmentId, file: Arc<dyn SegmentFile>) {
        if self.files.len() >= limits::OPEN_FILES_MAX {
            let oldest = self
                .files
                .iter()
                .min_by_key(|(_, (_, used))| *used)
                .map(|(id, _)| *id);
            if let Some((oldest, (file, _))) = oldest.and_then(|id| self.files.remove_entry(&id)) {
                self.let_go.retain(|_, file| file.strong_count() > 0);
                self.let_go.insert(oldest, Arc::downgrade(&file));
            }
        }
        self.uses += 1;
        let used = self.uses;
        self.files.insert(id, (file, used));
    }

    fn take(&mut self, id: SegmentId) -> Option<Arc<dyn SegmentFile>> {
        let let_go = self.let_go.remove(&id).and_then(|file| file.upgrade());
        self.files.remove(&id).map(|(file, _)| file).or(let_go)
    }
}

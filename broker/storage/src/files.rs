//! Segment files that are open, bounded; the others are opened again when they are read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::api::SegmentId;
use crate::disk::{Disk, SegmentFile};
use crate::error::Error;
use crate::limits;

#[derive(Debug)]
pub(crate) struct Files {
    pub disk: Arc<dyn Disk>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    files: HashMap<SegmentId, (Arc<dyn SegmentFile>, u64)>,
    uses: u64,
}

impl Files {
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self {
            disk,
            open: Mutex::default(),
        }
    }

    /// `None` where the segment is gone.
    pub fn get(&self, id: SegmentId) -> Result<Option<Arc<dyn SegmentFile>>, Error> {
        if let Some(file) = self.lock().touch(id) {
            return Ok(Some(file));
        }
        let Some(file) = self.disk.open(id)? else {
            return Ok(None);
        };
        self.keep(id, file.clone());
        Ok(Some(file))
    }

    pub fn keep(&self, id: SegmentId, file: Arc<dyn SegmentFile>) {
        let mut open = self.lock();
        if open.files.len() >= limits::OPEN_FILES_MAX {
            let oldest = open
                .files
                .iter()
                .min_by_key(|(_, (_, used))| *used)
                .map(|(id, _)| *id);
            oldest.and_then(|id| open.files.remove(&id));
        }
        open.uses += 1;
        let used = open.uses;
        open.files.insert(id, (file, used));
    }

    pub fn remove(&self, id: SegmentId) -> Result<(), Error> {
        self.lock().files.remove(&id);
        self.disk.remove(id)
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn touch(&mut self, id: SegmentId) -> Option<Arc<dyn SegmentFile>> {
        self.uses += 1;
        let uses = self.uses;
        let (file, used) = self.files.get_mut(&id)?;
        *used = uses;
        Some(file.clone())
    }
}

//! Stores to test, and directories that are removed with their owner.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use sedge_storage::disk::memory::MemoryDisk;
use sedge_storage::views::memory_base::MemoryBase;
use sedge_storage::{OpenReport, Options, Store, open, open_with};

use crate::bytes_of::Derive;

pub struct Directory(PathBuf);

impl Directory {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("sedge-storage-{}-{number}", std::process::id());
        // Not in a place that may be a file system in memory, where no page leaves the cache.
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Returns options with small segments, so that their ends come often.
pub fn small() -> Options {
    Options {
        segment_bytes: 32 << 10,
        ..Options::default()
    }
}

pub fn in_memory(disk: &MemoryDisk, base: &MemoryBase, options: Options) -> (Store, OpenReport) {
    let disk = Arc::new(disk.clone());
    let mut views = |anew: bool| -> Result<Box<dyn sedge_storage::views::Base>, _> {
        if anew {
            base.clear();
        }
        Ok(Box::new(base.clone()))
    };
    open_with(disk, &mut views, options, &mut Derive::default()).unwrap()
}

pub fn on_disk(path: &Path, options: Options) -> (Store, OpenReport) {
    open(path, options, &mut Derive::default()).unwrap()
}

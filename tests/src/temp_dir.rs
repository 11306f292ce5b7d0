//! Directories that are removed with their owner.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A fresh directory, removed on drop (kept if `SEDGE_TEST_KEEP` is set or the test panics).
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// Creates `TMPDIR/sedge-test-NAME-PID-N`.
    pub fn new(name: &str) -> Self {
        Self::new_in(&std::env::temp_dir(), name)
    }

    /// Creates it in `/var/tmp`, which is on a disk even if `TMPDIR` is a file system in memory.
    pub fn on_disk(name: &str) -> Self {
        Self::new_in(Path::new("/var/tmp"), name)
    }

    fn new_in(parent: &Path, name: &str) -> Self {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("sedge-test-{name}-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the temporary directory is writable");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if std::env::var_os("SEDGE_TEST_KEEP").is_none() {
            // Best effort: a leftover directory does no harm.
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

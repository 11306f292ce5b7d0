//! Guards against views that end the process that opens them.

use std::path::{Path, PathBuf};

use crate::error::{Error, io_error};
use crate::limits;

/// Counts the starts that ended while opening the views. Damaged views may end the process, as
/// fjall asserts on what it reads; after two such starts in a row, the views are rebuilt.
pub(crate) struct ViewsOpening {
    path: PathBuf,
    failed: usize,
}

impl ViewsOpening {
    pub fn begin(directory: &Path) -> Result<Self, Error> {
        let path = mark(directory);
        let failed = std::fs::read(&path).map_or(0, |marks| marks.len());
        match std::fs::write(&path, vec![b'.'; failed + 1])
            .map_err(|source| io_error("note that the views are opened", source))
        {
            // A full or read-only disk must be openable too.
            Ok(()) | Err(Error::Full | Error::ReadOnly) => Ok(Self { path, failed }),
            Err(error) => Err(error),
        }
    }

    /// Records as many failed starts as make the next one rebuild the views.
    pub fn distrust(directory: &Path) -> std::io::Result<()> {
        std::fs::write(mark(directory), [b'.'; limits::VIEWS_OPENED_MAX])
    }

    pub fn has_failed(&self) -> bool {
        self.failed >= limits::VIEWS_OPENED_MAX
    }

    pub fn end(&self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn mark(directory: &Path) -> PathBuf {
    directory.join("views.opening")
}

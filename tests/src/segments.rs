//! The segment files of a data directory, as far as a test reads them: see
//! `broker/storage/FORMAT.md`.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

const HEADER_MAGIC: &[u8] = b"SEDGESEG";
const IS_COLD_AT: usize = 40;
const TRAILER_MAGIC: &[u8] = b"SEDGEEND";
const TRAILER_BYTES: u64 = 48;

/// Counts of existing cold segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cold {
    pub finished: usize,
    /// Segments that were begun and have no footer: the cleaner was at work.
    pub unfinished: usize,
}

/// Counts the cold segments; none if there is no data yet.
pub fn cold(data: &Path) -> Cold {
    let mut found = Cold::default();
    let Ok(listed) = std::fs::read_dir(data.join("segments")) else {
        return found;
    };
    let paths = listed.flatten().map(|entry| entry.path());
    for path in paths.filter(|path| path.extension().is_some_and(|of| of == "seg")) {
        // The segment may be freed meanwhile.
        match File::open(&path).ok().and_then(|file| is_finished(&file)) {
            Some(true) => found.finished += 1,
            Some(false) => found.unfinished += 1,
            None => {}
        }
    }
    found
}

/// Returns `None` if the file is not a cold segment.
fn is_finished(file: &File) -> Option<bool> {
    let mut header = [0; 64];
    file.read_exact_at(&mut header, 0).ok()?;
    if !header.starts_with(HEADER_MAGIC) || header[IS_COLD_AT] != 1 {
        return None;
    }
    let end = file.metadata().ok()?.len();
    let mut magic = [0; 8];
    let at = end.checked_sub(TRAILER_BYTES)?;
    file.read_exact_at(&mut magic, at).ok()?;
    Some(magic == TRAILER_MAGIC)
}

//! The segment files of a data directory, as far as a test reads them: see
//! `broker/storage/FORMAT.md`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

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

/// Reads all segment files, sorted by path. If the broker adds, frees or recycles a segment
/// meanwhile, reads all of them again.
pub fn read_all(data: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let list = || {
        let listed = std::fs::read_dir(data.join("segments")).expect("the data has segments");
        let mut paths: Vec<PathBuf> = listed.flatten().map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|of| of == "seg"));
        paths.sort();
        paths
    };
    loop {
        let paths = list();
        let read = |path: &PathBuf| Ok((path.clone(), std::fs::read(path)?));
        match paths.iter().map(read).collect::<io::Result<Vec<_>>>() {
            Ok(segments) if list() == paths => return segments,
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                panic!("a segment cannot be read: {error}");
            }
            _ => {}
        }
    }
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

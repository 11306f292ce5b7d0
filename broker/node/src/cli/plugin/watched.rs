//! The source files of a plugin's project, to see when one changes.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::limits::WATCHED_FILES_MAX;

/// Folders and files that builds write.
const WRITTEN: [&str; 6] = [
    "Cargo.lock",
    "__pycache__",
    "build",
    "node_modules",
    "package-lock.json",
    "target",
];

/// The time and the size of each file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Watched(BTreeMap<PathBuf, (Option<SystemTime>, u64)>);

impl Watched {
    /// Looks at the files of a project, without what builds write and what is hidden.
    ///
    /// # Errors
    /// The folder cannot be read, or has too many files.
    pub fn look(directory: &Path) -> io::Result<Self> {
        let mut watched = Self::default();
        watched.add(directory)?;
        Ok(watched)
    }

    fn add(&mut self, directory: &Path) -> io::Result<()> {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let is_component = Path::new(&*name).extension().is_some_and(|is| is == "wasm");
            if name.starts_with('.') || is_component || WRITTEN.contains(&&*name) {
                continue;
            }
            // Links are not followed, so there are no circles.
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.add(&entry.path())?;
                continue;
            }
            // An editor may have removed the file meanwhile.
            let Ok(facts) = entry.metadata() else {
                continue;
            };
            if self.0.len() == WATCHED_FILES_MAX {
                let why = format!("there are more than {WATCHED_FILES_MAX} files");
                return Err(io::Error::other(why));
            }
            let state = (facts.modified().ok(), facts.len());
            self.0.insert(entry.path(), state);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_sources_are_seen_and_those_of_builds_are_not() {
        let directory = std::env::temp_dir().join(format!("sedge-watched-{}", std::process::id()));
        fs::create_dir_all(directory.join("src")).expect("creates");
        fs::create_dir_all(directory.join("target")).expect("creates");
        let write = |name: &str, text: &str| fs::write(directory.join(name), text).expect("writes");
        let look = || Watched::look(&directory).expect("is there");
        write("src/lib.rs", "one");
        let before = look();
        for built in ["target/out", "mine.wasm", ".hidden", "Cargo.lock"] {
            write(built, "built");
            assert_eq!(look(), before, "{built}");
        }
        write("src/lib.rs", "longer");
        let after = look();
        assert_ne!(after, before);
        write("src/more.rs", "");
        assert_ne!(look(), after);
        fs::remove_file(directory.join("src/more.rs")).expect("removes");
        assert_eq!(look(), after);
        fs::remove_dir_all(&directory).expect("removes");
        assert!(Watched::look(&directory).is_err());
    }
}

//! The boot loader's entries: one file a slot, with the tries of a slot that is on trial in its
//! name.
//!
//! systemd-boot starts the entry with the highest version. If the file's name has a counter
//! (`sedge-b+1.conf`: one try left), it counts the try first (`sedge-b+0-1.conf`), and takes an
//! entry without tries only if there is no other. An entry without a counter is good.

use crate::settings::Slot;

/// Tries of a slot after an update.
const TRIES: u32 = 1;

/// The file of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryFile {
    pub slot: Slot,
    /// Tries that are left; `None` if the slot is good.
    pub tries_left: Option<u32>,
}

impl EntryFile {
    /// Reads a file's name.
    pub fn read(name: &str) -> Option<Self> {
        let name = name.strip_prefix("sedge-")?.strip_suffix(".conf")?;
        let (letter, counter) = match name.split_once('+') {
            Some((letter, counter)) => (letter, Some(counter)),
            None => (name, None),
        };
        let slot = match letter {
            "a" => Slot::A,
            "b" => Slot::B,
            _ => return None,
        };
        let tries_left = match counter {
            None => None,
            Some(counter) => Some(counter.split('-').next()?.parse().ok()?),
        };
        Some(Self { slot, tries_left })
    }
}

/// Returns the name of a good slot's file.
pub fn good(slot: Slot) -> String {
    format!("sedge-{}.conf", slot.letter())
}

/// Returns the name of the file of a slot that is to be tried.
pub fn to_try(slot: Slot) -> String {
    format!("sedge-{}+{TRIES}.conf", slot.letter())
}

/// Returns the text of a slot's entry.
pub fn text(slot: Slot, version: u32, options: &str) -> String {
    let slot = slot.letter();
    format!(
        "title sedge, slot {slot}\nsort-key sedge\nversion {version}\nlinux /{slot}/vmlinuz\n\
         initrd /{slot}/initrd\noptions {options} sedge.slot={slot}\n"
    )
}

/// Returns the version of an entry's text; 0 if it has none.
pub fn version(text: &str) -> u32 {
    let mut lines = text.lines();
    let version = lines.find_map(|line| line.strip_prefix("version "));
    version.and_then(|of| of.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_whether_a_slot_is_good() {
        let check = |name: &str, slot, tries_left| {
            assert_eq!(EntryFile::read(name), Some(EntryFile { slot, tries_left }));
        };
        check(&good(Slot::A), Slot::A, None);
        check(&to_try(Slot::B), Slot::B, Some(1));
        check("sedge-b+0-1.conf", Slot::B, Some(0));
        for other in [
            "sedge-c.conf",
            "sedge-a.new",
            "debian.conf",
            "sedge-a+x.conf",
        ] {
            assert_eq!(EntryFile::read(other), None, "{other}");
        }
    }

    #[test]
    fn an_entry_has_its_version_and_its_slot() {
        let text = text(Slot::B, 7, "quiet gpt");
        assert_eq!(version(&text), 7);
        assert!(text.contains("linux /b/vmlinuz\n"), "{text}");
        assert!(text.contains("options quiet gpt sedge.slot=b\n"), "{text}");
        assert_eq!(version("title x\n"), 0);
    }
}

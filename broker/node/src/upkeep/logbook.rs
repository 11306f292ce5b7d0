//! `DATA/logbook`: the state of the append clock, and the bytes written to flash since the data
//! directory was created.
//!
//! It is written at the start, at the end and once an hour in between, without a flush of its own.
//! A lost or damaged logbook is begun anew: then the time that the process was down counts as zero,
//! and so do the bytes written before.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use log::{debug, warn};
use sedge_core::clock::SavedClock;
use sedge_core::wear::{Budget, Wear};
use sedge_storage::LogStore;

use crate::config::Disk;
use crate::limits::LOGBOOK_SAVE_EVERY_MS;
use crate::log::clock::Clock;
use crate::process::usage;

const FILE: &str = "logbook";

/// The logbook; see the module.
#[derive(Debug)]
pub struct Logbook {
    path: PathBuf,
    disk: Disk,
    books: Mutex<Books>,
}

#[derive(Debug)]
struct Books {
    wear: Wear,
    /// Bytes written by this process that are already entered.
    entered_bytes: u64,
    saved_at_ms: i64,
}

/// The logbook's figures, for metrics.
#[derive(Clone, Copy, Debug)]
pub struct WearStatus {
    pub wear: Wear,
    /// Bytes written by this process.
    pub written_here_bytes: u64,
    pub budget_bytes: Option<u64>,
    pub years_left: Option<f64>,
}

impl WearStatus {
    /// Returns whether more than the budget was written on the current day.
    pub fn is_budget_spent(&self) -> bool {
        let budget = self.budget_bytes;
        budget.is_some_and(|budget| self.wear.day_bytes > budget)
    }
}

/// Reads the file of an earlier process; `None` if there is none, or it is damaged.
pub fn read(data: &Path) -> Option<(SavedClock, Wear)> {
    decode(&std::fs::read_to_string(data.join(FILE)).ok()?)
}

impl Logbook {
    /// Continues from what was read, and saves it: the next process needs this one's boot.
    pub fn start(data: &Path, disk: &Disk, read: Option<Wear>, clock: &Clock) -> Self {
        let now_ms = clock.append_ms();
        let book = Self {
            path: data.join(FILE),
            disk: disk.clone(),
            books: Mutex::new(Books {
                wear: read.unwrap_or_else(|| Wear::open(now_ms)),
                entered_bytes: 0,
                saved_at_ms: i64::MIN,
            }),
        };
        book.save(clock, now_ms);
        book
    }

    /// Enters the bytes written since the last call, and saves the logbook if the last save was
    /// long ago.
    pub fn enter(&self, clock: &Clock, store: &dyn LogStore) -> WearStatus {
        let now_ms = clock.append_ms();
        let disk = &self.disk;
        // The kernel counts all writes, including the views' files.
        let written = usage::written_bytes().unwrap_or_else(|| {
            let usage = store.usage();
            usage.log_bytes_written + usage.view_bytes_written
        });
        let (wear, budget, is_due) = {
            let mut books = self.lock();
            let more = written.saturating_sub(books.entered_bytes);
            books.entered_bytes = written.max(books.entered_bytes);
            let budget = books.wear.handle_written(more, now_ms, disk.budget_bytes);
            let is_due = now_ms.saturating_sub(books.saved_at_ms) >= LOGBOOK_SAVE_EVERY_MS;
            (books.wear, budget, is_due)
        };
        if budget == Budget::JustExceeded {
            warn!(
                target: "sedge::wear",
                "{} bytes were written in a day, more than sedge.disk.write.budget.bytes.per.day; \
                 cleaning that can wait is put off until the next day",
                wear.day_bytes
            );
        }
        if is_due {
            self.save(clock, now_ms);
        }
        WearStatus {
            wear,
            written_here_bytes: written,
            budget_bytes: disk.budget_bytes,
            years_left: disk
                .endurance_bytes
                .and_then(|endurance| wear.years_left(endurance, now_ms)),
        }
    }

    /// Saves the logbook.
    pub fn save(&self, clock: &Clock, now_ms: i64) {
        let mut books = self.lock();
        let text = encode(&clock.save(), &books.wear);
        match write(&self.path, &text) {
            Ok(()) => books.saved_at_ms = now_ms,
            // A full or read-only disk is reported elsewhere.
            Err(failure) => debug!(target: "sedge::wear", "the logbook cannot be saved: {failure}"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    std::fs::write(&new, text)?;
    std::fs::rename(new, path)
}

fn encode(clock: &SavedClock, wear: &Wear) -> String {
    let boot_id = clock.boot_id.as_deref().unwrap_or_default();
    let text = format!(
        "boot.id = {boot_id}\nappend.offset.ms = {}\nappend.ms = {}\nsince.ms = {}\n\
         written.bytes = {}\nday = {}\nday.bytes = {}\n",
        clock.offset_ms,
        clock.append_ms,
        wear.since_ms,
        wear.written_bytes,
        wear.day,
        wear.day_bytes
    );
    format!("{text}crc32c = {:08x}\n", crc32c::crc32c(text.as_bytes()))
}

/// A wrong clock would delete records, so the checksum must match.
fn decode(text: &str) -> Option<(SavedClock, Wear)> {
    let (covered, sum) = text.trim_end().rsplit_once("crc32c = ")?;
    if u32::from_str_radix(sum, 16).ok()? != crc32c::crc32c(covered.as_bytes()) {
        return None;
    }
    let value = |key: &str| {
        let of_key = |line: &'_ str| {
            let (name, value) = line.split_once('=')?;
            (name.trim() == key).then(|| value.trim().to_owned())
        };
        covered.lines().find_map(of_key)
    };
    let number = |key: &str| value(key)?.parse::<i64>().ok();
    let bytes = |key: &str| value(key)?.parse::<u64>().ok();
    let clock = SavedClock {
        boot_id: value("boot.id").filter(|id| !id.is_empty()),
        offset_ms: number("append.offset.ms")?,
        append_ms: number("append.ms")?,
    };
    let wear = Wear {
        since_ms: number("since.ms")?,
        written_bytes: bytes("written.bytes")?,
        day: number("day")?,
        day_bytes: bytes("day.bytes")?,
    };
    Some((clock, wear))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_read_and_damage_is_seen() {
        let clock = SavedClock {
            boot_id: Some("4b6e".into()),
            offset_ms: -5,
            append_ms: 1_790_000_000_000,
        };
        let wear = Wear {
            since_ms: 3,
            written_bytes: u64::MAX,
            day: 20_000,
            day_bytes: 7,
        };
        let text = encode(&clock, &wear);
        assert_eq!(decode(&text), Some((clock.clone(), wear)), "{text}");
        let unknown = SavedClock {
            boot_id: None,
            ..clock
        };
        assert_eq!(decode(&encode(&unknown, &wear)), Some((unknown, wear)));
        for at in 0..text.len() {
            assert_eq!(decode(&text[..at.min(text.len() - 2)]), None, "cut at {at}");
        }
        assert_eq!(decode(&text.replace("= 1790", "= 9790")), None);
        assert_eq!(decode(""), None);
    }
}

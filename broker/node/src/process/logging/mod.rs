//! Writes log lines to standard error: logfmt by default, JSON on request, with priorities if
//! journald is listening.
//!
//! The filter is `SEDGE_LOG`, or else `RUST_LOG`: `info,sedge::net=debug`. Repeated lines about
//! connections from one place in the code are held back, because a client can trigger them as often
//! as it likes.

mod filter;
mod format;
mod repeats;
pub mod told;

use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use log::{Log, Metadata, Record};

pub use format::{Format, timestamp};

use filter::Filter;
use repeats::Repeats;

/// Informational lines of the views' store are only for its developers.
const DEFAULT: &str = "info,fjall=warn,lsm_tree=warn";

/// The target whose lines clients can trigger.
const HELD_BACK: &str = "sedge::net";

/// Starts logging for the process. A second call does nothing.
pub fn start(format: Format) {
    let filter = ["SEDGE_LOG", "RUST_LOG"]
        .iter()
        .find_map(|name| std::env::var(name).ok());
    let (filter, complaint) = Filter::parse(filter.as_deref().unwrap_or(DEFAULT));
    let format = if format == Format::Logfmt && journald_listens() {
        Format::Journal
    } else {
        format
    };
    let level_max = filter.level_max();
    let logger = Logger {
        filter,
        format,
        repeats: Mutex::default(),
        started: Instant::now(),
    };
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(level_max);
        if let Some(complaint) = complaint {
            log::warn!(target: "sedge", "SEDGE_LOG: {complaint}");
        }
    }
}

struct Logger {
    filter: Filter,
    format: Format,
    repeats: Mutex<Repeats>,
    started: Instant,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.filter.allows(metadata.target(), metadata.level())
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut held_back = 0;
        if record.target().starts_with(HELD_BACK) {
            let place = (
                record.file().unwrap_or_default(),
                record.line().unwrap_or_default(),
            );
            let seconds = self.started.elapsed().as_secs();
            let mut repeats = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
            match repeats.pass(place, seconds) {
                Some(before) => held_back = before,
                None => return,
            }
        }
        let line = self.format.line(record, SystemTime::now(), held_back);
        // The reader of standard error may be gone; there is nowhere to report it.
        let _ = io::stderr().lock().write_all(line.as_bytes());
    }

    fn flush(&self) {
        let _ = io::stderr().lock().flush();
    }
}

/// systemd.exec(5): `$JOURNAL_STREAM` is device and inode of the stream that goes to the journal.
fn journald_listens() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    let Ok(stat) = rustix::fs::fstat(io::stderr().as_fd()) else {
        return false;
    };
    stream == format!("{}:{}", stat.st_dev, stat.st_ino)
}

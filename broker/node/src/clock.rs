//! The broker's clocks: the one on the wall, and the append clock, which only goes forward.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use sedge_core::machine::Now;

/// **Invariant:** the append clock never goes back, whatever the wall clock does.
#[derive(Debug)]
pub struct Clock {
    started: Instant,
    newest_append_ms: AtomicI64,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            newest_append_ms: AtomicI64::new(i64::MIN),
        }
    }
}

impl Clock {
    pub fn now(&self) -> Now {
        Now {
            wall_ms: wall_ms(),
            monotonic_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// What the next commit carries: the wall clock, or the newest commit's time where that is
    /// later.
    pub fn append_ms(&self) -> i64 {
        let wall = wall_ms();
        self.newest_append_ms
            .fetch_max(wall, Ordering::AcqRel)
            .max(wall)
    }
}

fn wall_ms() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
    }
}

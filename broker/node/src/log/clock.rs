//! The broker's clocks: the wall clock, and the append clock, which never goes back.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use sedge_core::clock::{AppendClock, Boot, SavedClock};
use sedge_core::machine::Now;

/// The clocks.
///
/// **Invariant:** the append clock never goes back, and the wall clock moves neither it nor
/// anything that is timed by `monotonic_ms`.
#[derive(Debug)]
pub struct Clock {
    started: Instant,
    append: AppendClock,
}

impl Clock {
    /// Starts the clocks of a process whose newest commit is at `newest_append_ms`.
    pub fn start(saved: Option<&SavedClock>, newest_append_ms: Option<i64>) -> Self {
        let boot = Boot {
            id: boot_id(),
            up_ms: up_ms(),
        };
        Self {
            started: Instant::now(),
            append: AppendClock::start(boot, saved, newest_append_ms, wall_ms()),
        }
    }

    pub fn now(&self) -> Now {
        Now {
            wall_ms: wall_ms(),
            monotonic_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            append_ms: self.append_ms(),
        }
    }

    /// Returns the append clock's time, which the next commit carries and from which ages are
    /// computed.
    pub fn append_ms(&self) -> i64 {
        self.append.at(up_ms())
    }

    /// Returns the state that the next process needs to continue the append clock.
    pub fn save(&self) -> SavedClock {
        self.append.save(up_ms())
    }
}

/// Returns the milliseconds since the machine was started, including sleep.
fn up_ms() -> i64 {
    let up = clock_gettime(ClockId::Boottime);
    up.tv_sec
        .saturating_mul(1_000)
        .saturating_add(up.tv_nsec / 1_000_000)
}

fn boot_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}

fn wall_ms() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
    }
}

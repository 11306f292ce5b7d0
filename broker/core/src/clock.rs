//! The append clock, from which retention and compaction take the age of records.
//!
//! It advances with the kernel's boot clock, which counts from the start of the machine, continues
//! during sleep, and cannot be set. The wall clock is used only for the first reading in a new data
//! directory, to make the times readable. So a device that boots in 1970, a wall clock that jumps
//! by years in either direction, and producers with absurd timestamps delete nothing.
//!
//! Within a boot the two clocks differ by a constant, which is saved on disk: a restarted process
//! knows exactly how long it was down. How long the machine was off cannot be known and counts as
//! zero: records may live longer than `retention.ms`, never shorter.
//!
//! **Invariant:** the append clock is never behind the newest commit of the log and never goes
//! back.

use alloc::string::String;

/// The current boot of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// Identifies the boot; `None` if the system does not say.
    pub id: Option<String>,
    /// Milliseconds since the boot.
    pub up_ms: i64,
}

/// The clock as an earlier process saved it on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavedClock {
    pub boot_id: Option<String>,
    /// The append clock minus the boot clock, ms.
    pub offset_ms: i64,
    /// The append clock's time at the save.
    pub append_ms: i64,
}

/// The append clock; see the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendClock {
    boot_id: Option<String>,
    offset_ms: i64,
}

impl AppendClock {
    /// Returns the clock of a starting process. `newest_append_ms` is that of the newest commit;
    /// `wall_ms` is used only if there is neither a commit nor a saved clock.
    #[must_use]
    pub fn start(
        boot: Boot,
        saved: Option<&SavedClock>,
        newest_append_ms: Option<i64>,
        wall_ms: i64,
    ) -> Self {
        let stood = newest_append_ms.max(saved.map(|saved| saved.append_ms));
        let begins = stood.unwrap_or_else(|| wall_ms.max(0));
        let same_boot = saved.filter(|saved| saved.boot_id.is_some() && saved.boot_id == boot.id);
        let offset_ms = begins.saturating_sub(boot.up_ms);
        Self {
            boot_id: boot.id,
            offset_ms: same_boot.map_or(offset_ms, |saved| saved.offset_ms.max(offset_ms)),
        }
    }

    /// Returns the append clock's time at `up_ms` milliseconds after the boot.
    #[must_use]
    pub const fn at(&self, up_ms: i64) -> i64 {
        self.offset_ms.saturating_add(up_ms)
    }

    /// Returns what the next process needs to continue the clock.
    #[must_use]
    pub fn save(&self, up_ms: i64) -> SavedClock {
        SavedClock {
            boot_id: self.boot_id.clone(),
            offset_ms: self.offset_ms,
            append_ms: self.at(up_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR_MS: i64 = 365 * 86_400_000;
    const NOW_MS: i64 = 1_790_000_000_000;

    fn boot(id: &str, up_ms: i64) -> Boot {
        let id = (!id.is_empty()).then(|| id.into());
        Boot { id, up_ms }
    }

    #[test]
    fn a_new_directory_begins_at_the_wall_clock() {
        let check = |wall_ms, expected| {
            let clock = AppendClock::start(boot("a", 5_000), None, None, wall_ms);
            assert_eq!(clock.at(5_000), expected, "{wall_ms}");
            assert_eq!(clock.at(6_000), expected + 1_000, "{wall_ms}");
        };
        check(NOW_MS, NOW_MS);
        check(0, 0);
        // Before 1970.
        check(-YEAR_MS, 0);
    }

    #[test]
    fn the_wall_clock_moves_nothing_afterwards() {
        let first = AppendClock::start(boot("a", 1_000), None, None, 0);
        let saved = first.save(9_000);
        for wall_ms in [-YEAR_MS, 0, NOW_MS, NOW_MS + 100 * YEAR_MS, i64::MAX] {
            for id in ["a", "b", ""] {
                let up_ms = if id == "a" { 9_000 } else { 10 };
                let clock = AppendClock::start(boot(id, up_ms), Some(&saved), Some(7_500), wall_ms);
                assert_eq!(clock.at(up_ms), 8_000, "{id} {wall_ms}");
            }
        }
    }

    #[test]
    fn a_restart_in_one_boot_counts_the_time_away() {
        let first = AppendClock::start(boot("a", 1_000), None, None, NOW_MS);
        let saved = first.save(2_000);
        let check = |id: &str, up_ms, newest: Option<i64>, expected| {
            let clock = AppendClock::start(boot(id, up_ms), Some(&saved), newest, 0);
            assert_eq!(clock.at(up_ms), expected, "{id} {up_ms} {newest:?}");
        };
        check("a", 61_000, Some(NOW_MS), NOW_MS + 60_000);
        // The process was killed long after the save.
        check("a", 61_000, Some(NOW_MS + 50_000), NOW_MS + 60_000);
        // The clock is never behind the newest commit, whatever was saved.
        check("a", 61_000, Some(NOW_MS + 90_000), NOW_MS + 90_000);
        // Another boot: the clock continues from the last known time.
        check("b", 61_000, Some(NOW_MS), NOW_MS + 1_000);
        check("b", 5, Some(NOW_MS + 90_000), NOW_MS + 90_000);
        // A system that does not identify its boots.
        check("", 61_000, None, NOW_MS + 1_000);
        // The boot clock went back, so this is another boot with the same id.
        check("a", 5, Some(NOW_MS + 40_000), NOW_MS + 40_000);
    }

    #[test]
    fn a_lost_save_costs_only_time() {
        let clock = AppendClock::start(boot("a", 1_000), None, Some(NOW_MS), NOW_MS + YEAR_MS);
        assert_eq!(clock.at(1_000), NOW_MS);
    }
}

//! Flash wear: bytes written by day and in total, and the device's life at that rate.
//!
//! Days are those of the append clock, which does not count time that the device was off: a rate of
//! a day is one of a day in use.

const DAY_MS: i64 = 86_400_000;
const DAYS_A_YEAR: f64 = 365.25;

/// Time before a rate is computed, ms: writes during a start are not representative.
const RATE_FROM_MS: i64 = 600_000;

/// The account of a data directory. The caller keeps it on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wear {
    /// The append clock when the account was opened, ms.
    pub since_ms: i64,
    /// Bytes written since then.
    pub written_bytes: u64,
    /// The current day, in days since 1970, and the bytes written in it.
    pub day: i64,
    pub day_bytes: u64,
}

/// The state of the day's budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    Kept,
    /// The last write exceeded the budget: report it once a day.
    JustExceeded,
    Exceeded,
}

impl Wear {
    /// Opens a new account.
    #[must_use]
    pub const fn open(append_ms: i64) -> Self {
        Self {
            since_ms: append_ms,
            written_bytes: 0,
            day: append_ms.div_euclid(DAY_MS),
            day_bytes: 0,
        }
    }

    /// Records the bytes written since the last call.
    pub fn handle_written(&mut self, bytes: u64, append_ms: i64, budget: Option<u64>) -> Budget {
        let day = append_ms.div_euclid(DAY_MS);
        if day > self.day {
            (self.day, self.day_bytes) = (day, 0);
        }
        let before = self.day_bytes;
        self.written_bytes = self.written_bytes.saturating_add(bytes);
        self.day_bytes = self.day_bytes.saturating_add(bytes);
        match budget {
            Some(budget) if before > budget => Budget::Exceeded,
            Some(budget) if self.day_bytes > budget => Budget::JustExceeded,
            _ => Budget::Kept,
        }
    }

    /// Returns the bytes written a day since the account was opened; `None` while that is too
    /// short.
    #[must_use]
    pub fn bytes_a_day(&self, append_ms: i64) -> Option<f64> {
        let time_ms = append_ms.saturating_sub(self.since_ms);
        (time_ms >= RATE_FROM_MS)
            .then(|| self.written_bytes as f64 * DAY_MS as f64 / time_ms as f64)
    }

    /// Returns the years of use until `endurance_bytes`, the maker's promise, are written.
    #[must_use]
    pub fn years_left(&self, endurance_bytes: u64, append_ms: i64) -> Option<f64> {
        let a_day = self.bytes_a_day(append_ms)?;
        let left = endurance_bytes.saturating_sub(self.written_bytes) as f64;
        (a_day > 0.0).then(|| left / a_day / DAYS_A_YEAR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn the_budget_is_of_a_day_and_said_once() {
        let mut wear = Wear::open(DAY_MS / 2);
        let mut check = |bytes, append_ms, expected| {
            let budget = wear.handle_written(bytes, append_ms, Some(100));
            assert_eq!(budget, expected, "{bytes} at {append_ms}: {wear:?}");
        };
        check(60, DAY_MS / 2, Budget::Kept);
        check(40, DAY_MS - 1, Budget::Kept);
        check(1, DAY_MS - 1, Budget::JustExceeded);
        check(1, DAY_MS - 1, Budget::Exceeded);
        check(1, DAY_MS, Budget::Kept);
        check(500, 3 * DAY_MS, Budget::JustExceeded);
        assert_eq!((wear.written_bytes, wear.day_bytes), (603, 500));
        assert_eq!(wear.handle_written(9, 3 * DAY_MS, None), Budget::Kept);
    }

    #[test]
    fn years_left_go_by_the_rate_so_far() {
        let mut wear = Wear::open(1_000);
        wear.handle_written(10 * GIB, 1_000 + DAY_MS, None);
        wear.handle_written(10 * GIB, 1_000 + 2 * DAY_MS, None);
        let years = wear.years_left(20 * GIB + 3_652 * 10 * GIB, 1_000 + 2 * DAY_MS);
        assert!(
            years.is_some_and(|years| (9.9..10.1).contains(&years)),
            "{years:?}"
        );
        assert_eq!(wear.years_left(GIB, 1_000 + 2 * DAY_MS), Some(0.0));
        // Too short a time, or nothing written.
        assert_eq!(wear.years_left(GIB, 2_000), None);
        assert_eq!(Wear::open(0).years_left(GIB, 9 * DAY_MS), None);
    }
}

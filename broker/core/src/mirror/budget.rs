//! What a link may spend on its network: bytes a second, a day and a month, and the hours of the
//! day. Topics have classes: a higher one goes first.
//!
//! | limit | high | normal, low |
//! | --- | --- | --- |
//! | bytes a second | may be ahead by [`AHEAD_MS`] | stop when the second's bytes are spent |
//! | bytes a day, a month | all | all but a [`RESERVED_PART`], which is kept for high |
//! | hours | at any time | within them |
//!
//! Bytes are those of the batches that are sent, with [`BATCH_OVERHEAD_BYTES`] for each one's part
//! of the requests; batches that are sent again count again. A batch is never cut: what it takes
//! too much is missing from the next second, and a day's bytes may be exceeded by one batch.
//!
//! Days and hours are those of a fixed offset from UTC. If the wall clock goes back, the day's
//! bytes are kept, and if it jumps ahead, a new day begins: a clock that is not set yet gives no
//! bytes away twice.

use alloc::vec::Vec;
use core::fmt;

/// The class of a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    High,
    #[default]
    Normal,
    Low,
}

impl Priority {
    /// All classes, the first to go first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// Returns the name in configurations and figures.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }
}

/// How urgent the records of a partition are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Class {
    pub priority: Priority,
    /// Records that are older when they could be sent are left out, ms.
    pub deadline_ms: Option<u64>,
}

impl Class {
    /// Returns the timestamp before which records are late.
    pub(super) fn late_before(self, wall_ms: i64) -> Option<i64> {
        let deadline_ms = i64::try_from(self.deadline_ms?).unwrap_or(i64::MAX);
        Some(wall_ms.saturating_sub(deadline_ms))
    }

    pub(super) fn is_in(self, open: [bool; Priority::ALL.len()]) -> bool {
        open.get(self.priority as usize).is_none_or(|open| *open)
    }
}

/// The requests about a batch: its topic's name, the offsets of its partition, and the answer.
pub const BATCH_OVERHEAD_BYTES: u64 = 100;
/// How far the class high may be ahead of the bytes a second.
pub const AHEAD_MS: u64 = 2_000;
/// How much a link that was idle may send at once.
const BURST_MS: u64 = 1_000;
/// The part of a day's and of a month's bytes that is kept for the class high.
pub const RESERVED_PART: u64 = 10;

/// A limit is near with this many bytes left: twice what a link has in flight by default.
const NEAR_BYTES: u64 = 4 << 20;

const MINUTES_A_DAY: i64 = 24 * 60;
const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = MINUTES_A_DAY * MINUTE_MS;

/// What a link may spend. Nothing is limited by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    pub bytes_per_s: Option<u64>,
    pub bytes_per_day: Option<u64>,
    pub bytes_per_month: Option<u64>,
    /// Empty: all hours.
    pub hours: Vec<Hours>,
    /// The day begins so many minutes before that of UTC.
    pub minutes_east: i64,
}

/// A part of each day, in minutes from its beginning. `until` may be below `from`: then the part
/// contains midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours {
    pub from: i64,
    pub until: i64,
}

/// What was spent in the current day and month, numbered from 1970 on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    pub day: i64,
    pub day_bytes: u64,
    pub month: i64,
    pub month_bytes: u64,
}

/// The limit that a link waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Second,
    Day,
    Month,
    Hours,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Second => "budget.bytes.per.second",
            Self::Day => "budget.bytes.per.day",
            Self::Month => "budget.bytes.per.month",
            Self::Hours => "budget.hours",
        })
    }
}

/// A limit that keeps a class from sending, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    pub limit: Limit,
    pub wait_ms: u64,
}

/// Measures what a link spends.
#[derive(Debug)]
pub struct Meter {
    budget: Budget,
    spent: Spent,
    /// Thousandths of bytes that may be sent now; below 0 after a large batch.
    tokens: i64,
    refilled_ms: u64,
    /// The wall clock minus the monotonic one.
    wall_ahead_ms: i64,
}

impl Budget {
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        let bytes = [self.bytes_per_s, self.bytes_per_day, self.bytes_per_month];
        bytes.iter().all(Option::is_none) && self.hours.is_empty()
    }

    /// Returns why the budget can never be met, if so. `batch_bytes` is what the link joins to one
    /// batch.
    #[must_use]
    pub fn why_never(&self, batch_bytes: u64) -> Option<(Limit, &'static str)> {
        let least = batch_bytes + BATCH_OVERHEAD_BYTES;
        let is_below = |bytes: Option<u64>, least: u64| bytes.is_some_and(|bytes| bytes < least);
        let usable = |bytes: Option<u64>| bytes.map(|bytes| bytes - bytes / RESERVED_PART);
        if is_below(self.bytes_per_s, 1) {
            Some((Limit::Second, "nothing could be sent"))
        } else if is_below(usable(self.bytes_per_day), least) {
            Some((
                Limit::Day,
                "it does not suffice for one batch of batch.size",
            ))
        } else if is_below(usable(self.bytes_per_month), least) {
            let why = "it does not suffice for one batch of batch.size";
            Some((Limit::Month, why))
        } else if self.bytes_per_month < self.bytes_per_day && self.bytes_per_month.is_some() {
            let why = "it is below budget.bytes.per.day, which could never be used";
            Some((Limit::Month, why))
        } else {
            None
        }
    }

    fn day(&self, wall_ms: i64) -> i64 {
        self.local(wall_ms).div_euclid(DAY_MS)
    }

    fn local(&self, wall_ms: i64) -> i64 {
        wall_ms.saturating_add(self.minutes_east * MINUTE_MS)
    }

    /// Returns how long it takes until an hour comes in which the link may send.
    fn closed_for_ms(&self, wall_ms: i64) -> u64 {
        let of_day_ms = self.local(wall_ms).rem_euclid(DAY_MS);
        let minute = of_day_ms / MINUTE_MS;
        if self.hours.is_empty() || self.hours.iter().any(|hours| hours.contain(minute)) {
            return 0;
        }
        let until = |hours: &Hours| (hours.from * MINUTE_MS - of_day_ms).rem_euclid(DAY_MS);
        let next = self.hours.iter().map(until).min();
        next.unwrap_or_default().unsigned_abs().max(1)
    }
}

impl Hours {
    const fn contain(self, minute: i64) -> bool {
        if self.from < self.until {
            self.from <= minute && minute < self.until
        } else {
            self.from <= minute || minute < self.until
        }
    }
}

impl Spent {
    /// Moves to the day and month of the wall clock.
    fn turn(&mut self, budget: &Budget, wall_ms: i64) {
        let day = budget.day(wall_ms);
        let month = month_of(day);
        if day > self.day {
            self.day_bytes = 0;
        }
        if month > self.month {
            self.month_bytes = 0;
        }
        (self.day, self.month) = (day, month);
    }
}

impl Meter {
    #[must_use]
    pub fn new(budget: Budget, spent: Spent, now_ms: u64) -> Self {
        let burst = budget.bytes_per_s.unwrap_or_default() * BURST_MS;
        Self {
            budget,
            spent,
            tokens: burst as i64,
            refilled_ms: now_ms,
            wall_ahead_ms: 0,
        }
    }

    #[must_use]
    pub const fn spent(&self) -> Spent {
        self.spent
    }

    /// Returns what is left of the day's and of the month's bytes.
    #[must_use]
    pub fn left(&self) -> (Option<u64>, Option<u64>) {
        let left = |all: Option<u64>, spent| all.map(|all| all.saturating_sub(spent));
        (
            left(self.budget.bytes_per_day, self.spent.day_bytes),
            left(self.budget.bytes_per_month, self.spent.month_bytes),
        )
    }

    /// Sets the wall clock by the monotonic one.
    pub fn handle_clock(&mut self, now_ms: u64, wall_ms: i64) {
        self.wall_ahead_ms = wall_ms.saturating_sub(now_ms as i64);
        self.spent.turn(&self.budget, wall_ms);
    }

    /// Returns whether a limit is so near that batches are read one by one, and it is looked at
    /// after each.
    #[must_use]
    pub fn is_tight(&self) -> bool {
        let (day, month) = self.left();
        let is_near = |left: Option<u64>| left.is_some_and(|left| left < NEAR_BYTES);
        self.budget.bytes_per_s.is_some() || is_near(day) || is_near(month)
    }

    /// Returns the wall clock.
    #[must_use]
    pub const fn wall_ms(&self, now_ms: u64) -> i64 {
        (now_ms as i64).saturating_add(self.wall_ahead_ms)
    }

    /// Returns what keeps a class from sending now: of several limits the one that lasts longest.
    pub fn closed(&mut self, class: Priority, now_ms: u64) -> Option<Closed> {
        self.refill(now_ms);
        let wall_ms = self.wall_ms(now_ms);
        let is_high = class == Priority::High;
        let local_ms = self.budget.local(wall_ms);
        let to_day_ms = DAY_MS - local_ms.rem_euclid(DAY_MS);
        let is_spent = |all: Option<u64>, spent: u64| {
            all.is_some_and(|all| {
                let reserved = if is_high { 0 } else { all / RESERVED_PART };
                spent >= all - reserved
            })
        };
        let hours_ms = if is_high {
            0
        } else {
            self.budget.closed_for_ms(wall_ms)
        };
        let mut limits = Vec::new();
        if let Some(wait_ms) = self.second_ms(is_high) {
            limits.push((Limit::Second, wait_ms));
        }
        if hours_ms > 0 {
            limits.push((Limit::Hours, hours_ms));
        }
        if is_spent(self.budget.bytes_per_day, self.spent.day_bytes) {
            limits.push((Limit::Day, to_day_ms.unsigned_abs()));
        }
        if is_spent(self.budget.bytes_per_month, self.spent.month_bytes) {
            let days = days_left(self.budget.day(wall_ms)) * DAY_MS;
            limits.push((Limit::Month, (days + to_day_ms).unsigned_abs()));
        }
        let longest = limits.into_iter().max_by_key(|(_, wait_ms)| *wait_ms);
        longest.map(|(limit, wait_ms)| Closed { limit, wait_ms })
    }

    /// Returns how long it takes until the bytes a second let a class send.
    fn second_ms(&self, is_high: bool) -> Option<u64> {
        let per_ms = i64::try_from(self.budget.bytes_per_s?).unwrap_or(i64::MAX);
        let ahead = if is_high { AHEAD_MS as i64 } else { 0 };
        let missing = self.tokens.saturating_add(per_ms.saturating_mul(ahead));
        (missing <= 0).then(|| (1 - missing / per_ms.max(1)).unsigned_abs())
    }

    /// Records that a batch is sent.
    pub fn spend(&mut self, bytes: usize, now_ms: u64) {
        self.refill(now_ms);
        let bytes = bytes as u64 + BATCH_OVERHEAD_BYTES;
        if self.budget.bytes_per_s.is_some() {
            self.tokens = self.tokens.saturating_sub(bytes as i64 * 1_000);
        }
        self.spent.turn(&self.budget, self.wall_ms(now_ms));
        self.spent.day_bytes = self.spent.day_bytes.saturating_add(bytes);
        self.spent.month_bytes = self.spent.month_bytes.saturating_add(bytes);
    }

    fn refill(&mut self, now_ms: u64) {
        let Some(per_s) = self.budget.bytes_per_s else {
            return;
        };
        let elapsed_ms = now_ms.saturating_sub(self.refilled_ms);
        self.refilled_ms = self.refilled_ms.max(now_ms);
        let most = i64::try_from(per_s.saturating_mul(BURST_MS)).unwrap_or(i64::MAX);
        let gained = i64::try_from(per_s.saturating_mul(elapsed_ms)).unwrap_or(i64::MAX);
        self.tokens = self.tokens.saturating_add(gained).min(most);
    }
}

/// Returns year and month of a day, as months since 1970.
///
/// Source: `civil_from_days` in Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms".
fn month_of(day: i64) -> i64 {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = (from_march + 2) % 12;
    let year = year_of_era + era * 400 + i64::from(month < 2);
    (year - 1970) * 12 + month
}

/// Returns the number of days of the month after this one.
fn days_left(day: i64) -> i64 {
    let month = month_of(day);
    (1..32)
        .take_while(|more| month_of(day + more) == month)
        .count() as i64
}

#[cfg(test)]
mod tests;

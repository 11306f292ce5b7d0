//! Tests budgets over days, months and clocks that jump.

use alloc::vec;

use super::*;

/// 27 November 2026, 12:00 UTC.
const NOON_MS: i64 = 1_795_780_800_000;
const HOUR_MS: i64 = 3_600_000;

fn meter(budget: Budget) -> Meter {
    let mut meter = Meter::new(budget, Spent::default(), 0);
    meter.handle_clock(0, NOON_MS);
    meter
}

fn limit(meter: &mut Meter, class: Priority, now_ms: u64) -> Option<Limit> {
    meter.closed(class, now_ms).map(|closed| closed.limit)
}

#[test]
fn months_are_those_of_the_calendar() {
    let check = |day, month| assert_eq!(month_of(day), month, "{day}");
    check(0, 0);
    check(-1, -1);
    check(30, 0);
    check(31, 1);
    // 28 and 29 February, 1 March 2024.
    check(19_781, 54 * 12 + 1);
    check(19_782, 54 * 12 + 1);
    check(19_783, 54 * 12 + 2);
    check(NOON_MS / DAY_MS, 56 * 12 + 10);
    assert_eq!(days_left(NOON_MS / DAY_MS), 3);
}

#[test]
fn what_is_sent_in_a_minute_is_the_bytes_a_second_and_the_first_second() {
    let mut meter = meter(Budget {
        bytes_per_s: Some(8_000),
        ..Budget::default()
    });
    let mut sent = 0;
    for now_ms in 0..60_000 {
        while meter.closed(Priority::Normal, now_ms).is_none() {
            meter.spend(3_900, now_ms);
            sent += 4_000;
        }
    }
    assert!((480_000..=492_000).contains(&sent), "{sent}");
}

#[test]
fn the_wait_that_is_told_is_enough_and_not_too_long() {
    let mut meter = meter(Budget {
        bytes_per_s: Some(1_000),
        ..Budget::default()
    });
    meter.spend(5_900, 0);
    let closed = meter.closed(Priority::Low, 0).unwrap();
    assert_eq!(closed.limit, Limit::Second);
    assert!(meter.closed(Priority::Low, closed.wait_ms - 1).is_some());
    assert_eq!(meter.closed(Priority::Low, closed.wait_ms), None);
}

#[test]
fn the_class_high_goes_ahead_of_a_second_that_is_spent() {
    let mut meter = meter(Budget {
        bytes_per_s: Some(1_000),
        ..Budget::default()
    });
    meter.spend(1_900, 0);
    assert_eq!(limit(&mut meter, Priority::Normal, 0), Some(Limit::Second));
    assert_eq!(limit(&mut meter, Priority::High, 0), None);
    meter.spend(1_000, 0);
    assert_eq!(limit(&mut meter, Priority::High, 0), Some(Limit::Second));
}

#[test]
fn a_day_is_spent_until_midnight_and_its_last_tenth_is_for_the_class_high() {
    let mut meter = meter(Budget {
        bytes_per_day: Some(10_000),
        minutes_east: 60,
        ..Budget::default()
    });
    meter.spend(8_900, 0);
    let closed = meter.closed(Priority::Normal, 0).unwrap();
    assert_eq!(closed.limit, Limit::Day);
    // Midnight is at 23:00 UTC.
    assert_eq!(closed.wait_ms, 11 * HOUR_MS as u64);
    assert_eq!(limit(&mut meter, Priority::High, 0), None);
    meter.spend(900, 0);
    assert_eq!(limit(&mut meter, Priority::High, 0), Some(Limit::Day));
    assert_eq!(meter.left(), (Some(0), None));
    let next_ms = 11 * HOUR_MS as u64;
    meter.handle_clock(next_ms, NOON_MS + 11 * HOUR_MS);
    assert_eq!(limit(&mut meter, Priority::Normal, next_ms), None);
    assert_eq!(meter.left(), (Some(10_000), None));
}

#[test]
fn a_month_is_spent_until_the_first_of_the_next() {
    let mut meter = meter(Budget {
        bytes_per_month: Some(1_000),
        ..Budget::default()
    });
    meter.spend(1_000, 0);
    let closed = meter.closed(Priority::High, 0).unwrap();
    let expected = (3 * 24 + 12) * HOUR_MS as u64;
    assert_eq!((closed.limit, closed.wait_ms), (Limit::Month, expected));
}

#[test]
fn what_was_spent_is_kept_over_a_restart_and_a_clock_that_goes_back() {
    let budget = Budget {
        bytes_per_day: Some(1_000),
        ..Budget::default()
    };
    let mut before = meter(budget.clone());
    before.spend(900, 0);
    let mut after = Meter::new(budget, before.spent(), 0);
    // The machine starts in 1970, and its clock is set later.
    after.handle_clock(0, 0);
    assert_eq!(limit(&mut after, Priority::Normal, 0), Some(Limit::Day));
    after.handle_clock(1, HOUR_MS);
    assert_eq!(limit(&mut after, Priority::Normal, 1), Some(Limit::Day));
}

#[test]
fn hours_may_contain_midnight_and_are_in_the_time_of_the_offset() {
    let night = Hours {
        from: 22 * 60,
        until: 6 * 60 + 30,
    };
    let mut meter = meter(Budget {
        hours: vec![night],
        minutes_east: 120,
        ..Budget::default()
    });
    // 14:00 there.
    let closed = meter.closed(Priority::Low, 0).unwrap();
    let expected = 8 * HOUR_MS as u64;
    assert_eq!((closed.limit, closed.wait_ms), (Limit::Hours, expected));
    assert_eq!(limit(&mut meter, Priority::High, 0), None);
    let open = |meter: &mut Meter, hours: i64| {
        meter.handle_clock(0, NOON_MS + hours * HOUR_MS);
        meter.closed(Priority::Low, 0).is_none()
    };
    assert!(open(&mut meter, 8) && open(&mut meter, 12) && open(&mut meter, 16));
    assert!(!open(&mut meter, 17) && !open(&mut meter, 7));
}

#[test]
fn a_budget_that_can_never_be_met_is_named() {
    let check = |budget: Budget, expected| {
        let why = budget.why_never(65_536).map(|(limit, _)| limit);
        assert_eq!(why, expected);
    };
    let with = |per_s, per_day, per_month| Budget {
        bytes_per_s: per_s,
        bytes_per_day: per_day,
        bytes_per_month: per_month,
        ..Budget::default()
    };
    check(with(Some(0), None, None), Some(Limit::Second));
    check(with(None, Some(1_000), None), Some(Limit::Day));
    check(with(None, None, Some(1_000)), Some(Limit::Month));
    check(with(None, Some(1 << 20), Some(1 << 19)), Some(Limit::Month));
    check(with(Some(1), Some(1 << 20), Some(1 << 30)), None);
}

//! The pace of a link, or of one of its topics: what is sent in a second, and how fast the lag
//! shrinks.

/// Over how long the pace is averaged: long enough for a figure that can be read, and short enough
/// to show within a minute that an upstream has become slow.
const AVERAGED_OVER_MS: f64 = 20_000.0;

/// Averages of what was seen at several moments.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    last: Option<Seen>,
    sent_per_s: f64,
    shrinks_per_s: f64,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    at_ms: u64,
    sent: u64,
    lag: i64,
}

impl Pace {
    /// Records what was sent in all until now, and the lag, both in one unit.
    pub fn see(&mut self, at_ms: u64, sent: u64, lag: i64) {
        let now = Seen { at_ms, sent, lag };
        let Some(last) = self.last.replace(now) else {
            return;
        };
        let elapsed_ms = at_ms.saturating_sub(last.at_ms) as f64;
        if elapsed_ms <= 0.0 {
            return;
        }
        let per_s = |amount: f64| amount * 1000.0 / elapsed_ms;
        let weight = elapsed_ms / (elapsed_ms + AVERAGED_OVER_MS);
        let average = |before: f64, amount: f64| before + weight * (per_s(amount) - before);
        let sent = sent.saturating_sub(last.sent) as f64;
        self.sent_per_s = average(self.sent_per_s, sent);
        self.shrinks_per_s = average(self.shrinks_per_s, (last.lag - lag) as f64);
    }

    /// Returns what is sent in a second.
    #[must_use]
    pub const fn sent_per_s(&self) -> f64 {
        self.sent_per_s
    }

    /// Returns the seconds until nothing lags. `None` if the lag does not shrink.
    #[must_use]
    pub fn catches_up_in_s(&self) -> Option<f64> {
        let lag = self.last?.lag as f64;
        if lag <= 0.0 {
            return Some(0.0);
        }
        (self.shrinks_per_s > 0.0).then(|| lag / self.shrinks_per_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends and produces so much in each second. Returns the pace after `seconds`.
    fn after(seconds: u64, lag: i64, sent: u64, produced: u64) -> Pace {
        let mut pace = Pace::default();
        for second in 0..=seconds {
            let lag = lag + (second * produced) as i64 - (second * sent) as i64;
            pace.see(second * 1000, second * sent, lag);
        }
        pace
    }

    #[test]
    fn a_steady_pace_is_found_within_a_minute() {
        let pace = after(60, 100_000, 300, 100);
        assert!((270.0..=300.0).contains(&pace.sent_per_s()), "{pace:?}");
        // 88,000 are left, 200 fewer in each second.
        let left = pace.catches_up_in_s().unwrap();
        assert!((440.0..500.0).contains(&left), "{left}");
    }

    #[test]
    fn a_lag_that_grows_has_no_end_and_no_lag_has_one() {
        assert_eq!(after(60, 1000, 100, 200).catches_up_in_s(), None);
        assert_eq!(after(60, 0, 100, 100).catches_up_in_s(), Some(0.0));
        assert_eq!(Pace::default().catches_up_in_s(), None);
    }

    #[test]
    fn nothing_sent_is_a_pace_of_nothing() {
        let mut pace = after(60, 100_000, 300, 100);
        for second in 61..200 {
            pace.see(second * 1000, 60 * 300, 88_000);
        }
        assert!(pace.sent_per_s() < 1.0, "{pace:?}");
        // A clock that stands still changes nothing.
        pace.see(199_000, 1_000_000, 0);
        assert!(pace.sent_per_s() < 1.0, "{pace:?}");
    }
}

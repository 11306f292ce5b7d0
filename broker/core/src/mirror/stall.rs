//! Notices that a link makes no progress although it has something under way.

/// The clock of a link's progress.
#[derive(Clone, Copy, Debug)]
pub struct Watchdog {
    /// How long a link may be without progress, ms.
    patience_ms: u64,
    /// What the link has done, when that last changed.
    done: u64,
    since_ms: u64,
}

impl Watchdog {
    #[must_use]
    pub const fn new(patience_ms: u64, now_ms: u64) -> Self {
        Self {
            patience_ms,
            done: 0,
            since_ms: now_ms,
        }
    }

    /// Looks at the link: a number that changes with each progress, and whether something is under
    /// way. Returns whether the link has stalled; then its patience begins again.
    pub const fn handle(&mut self, done: u64, is_busy: bool, now_ms: u64) -> bool {
        if done != self.done || !is_busy {
            self.done = done;
            self.since_ms = now_ms;
            return false;
        }
        if now_ms.saturating_sub(self.since_ms) < self.patience_ms {
            return false;
        }
        self.since_ms = now_ms;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_has_stalled_if_it_is_busy_and_does_nothing() {
        let mut watchdog = Watchdog::new(100, 0);
        let looks = [
            (1, true, 50, false),
            (1, true, 149, false),
            (1, true, 150, true),
            // Its patience begins again.
            (1, true, 249, false),
            (1, true, 250, true),
            // Progress, and rest.
            (2, true, 349, false),
            (2, false, 500, false),
            (2, true, 599, false),
            (2, true, 600, true),
        ];
        for (done, is_busy, now_ms, expected) in looks {
            assert_eq!(watchdog.handle(done, is_busy, now_ms), expected, "{now_ms}");
        }
    }
}

//! Backoff that grows with each failure, with jitter, as in Kafka's clients (KIP-580).
//!
//! Pure: the random number comes in as an argument.

/// A delay that doubles with each failure, from `initial_ms` to `max_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    initial_ms: u64,
    max_ms: u64,
    failures: u32,
}

impl Backoff {
    #[must_use]
    pub const fn new(initial_ms: u64, max_ms: u64) -> Self {
        Self {
            initial_ms,
            max_ms,
            failures: 0,
        }
    }

    /// Returns the number of failures since the last success.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Counts a failure. Returns the milliseconds to wait: the step give or take a fifth, so that a
    /// thousand devices that lost the same upstream do not all reconnect at once.
    pub fn fail(&mut self, random: u64) -> u64 {
        let doubled = self.initial_ms.saturating_mul(1 << self.failures.min(32));
        let step = doubled.min(self.max_ms).max(1);
        self.failures = self.failures.saturating_add(1);
        let spread = step / 5;
        step - spread + random % (2 * spread + 1)
    }

    /// Resets the backoff: the next failure waits `initial_ms` again.
    pub const fn succeed(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_its_bound_and_starts_again() {
        let mut backoff = Backoff::new(100, 1000);
        for (nominal, random) in [
            (100, 0),
            (200, 7),
            (400, u64::MAX),
            (800, 3),
            (1000, 4),
            (1000, 5),
        ] {
            let wait = backoff.fail(random);
            assert!(
                (nominal - nominal / 5..=nominal + nominal / 5).contains(&wait),
                "{wait}"
            );
        }
        backoff.succeed();
        assert!(backoff.fail(0) <= 100);
        let mut long = Backoff {
            failures: u32::MAX,
            ..Backoff::new(u64::MAX, u64::MAX / 8)
        };
        assert!(long.fail(1) <= u64::MAX / 4);
    }
}

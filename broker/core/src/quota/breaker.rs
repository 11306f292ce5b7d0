//! Decides when a policy that can fail is asked.
//!
//! A failure costs the client its wait, and the policy all that it has counted. So a policy that
//! keeps failing is asked only now and then, and the configured quotas decide alone meanwhile.

use super::bucket::Bucket;
use super::limits::{POLICY_FAILURES_MAX, POLICY_RETRIED_EVERY_MS};

/// The failures that a policy may still have.
#[derive(Clone, Copy, Debug)]
pub struct Breaker(Bucket);

impl Breaker {
    #[must_use]
    pub const fn new(now_ms: u64) -> Self {
        Self(Bucket::new(now_ms, POLICY_FAILURES_MAX as f64))
    }

    /// Returns whether the policy may be asked.
    pub fn is_closed(&mut self, now_ms: u64) -> bool {
        let per_second = 1_000.0 / POLICY_RETRIED_EVERY_MS as f64;
        let most = f64::from(POLICY_FAILURES_MAX);
        self.0.refill(now_ms, per_second, most);
        self.0.credit() >= 1.0
    }

    /// Counts a failure of the policy.
    pub fn failed(&mut self) {
        self.0.spend(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_always_fails_is_asked_now_and_then() {
        let mut breaker = Breaker::new(0);
        let mut asked = 0;
        // A request each millisecond, for ten minutes.
        for now_ms in 0..600_000 {
            if breaker.is_closed(now_ms) {
                asked += 1;
                breaker.failed();
            }
        }
        let retried = 600_000 / POLICY_RETRIED_EVERY_MS as u32;
        let most = POLICY_FAILURES_MAX + retried;
        assert!((most - 2..=most).contains(&asked), "{asked}");
    }

    #[test]
    fn a_policy_that_fails_rarely_is_always_asked() {
        let mut breaker = Breaker::new(0);
        for now_ms in 0..1_000_000 {
            assert!(breaker.is_closed(now_ms), "{now_ms}");
            if now_ms % (POLICY_RETRIED_EVERY_MS + 1) == 0 {
                breaker.failed();
            }
        }
    }
}

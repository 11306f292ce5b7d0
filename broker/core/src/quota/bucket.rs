//! A token bucket (KIP-599): credit that grows with time and is spent.

/// The credit at a time; a debt is negative. Each call passes the rate and the maximum, because a
/// quota may change at any time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    credit: f64,
    at_ms: u64,
}

impl Bucket {
    #[must_use]
    pub const fn new(now_ms: u64, credit: f64) -> Self {
        let at_ms = now_ms;
        Self { credit, at_ms }
    }

    /// Adds the credit of the time that has passed since the last call, up to `most`.
    pub fn refill(&mut self, now_ms: u64, rate: f64, most: f64) {
        let passed_ms = now_ms.saturating_sub(self.at_ms);
        self.at_ms = self.at_ms.max(now_ms);
        self.credit = (self.credit + rate * passed_ms as f64 / 1_000.0).min(most);
    }

    #[must_use]
    pub const fn credit(&self) -> f64 {
        self.credit
    }

    /// Spends credit. The bucket goes into debt if there is too little.
    pub fn spend(&mut self, amount: f64) {
        self.credit -= amount;
    }

    /// Returns the milliseconds until the credit reaches `wanted`, rounded to the nearest one
    /// (`QuotaUtils.throttleTime`).
    #[must_use]
    pub fn wait_ms(&self, wanted: f64, rate: f64) -> u64 {
        let missing = (wanted - self.credit).max(0.0);
        (missing / rate * 1_000.0 + 0.5) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_grows_up_to_its_most_and_debts_are_paid_by_time() {
        let (rate, most) = (100.0, 500.0);
        let mut bucket = Bucket::new(1_000, 100.0);
        bucket.refill(1_500, rate, most);
        assert_eq!(bucket.credit() as i64, 150);
        bucket.spend(400.0);
        assert_eq!(bucket.wait_ms(0.0, rate), 2_500);
        bucket.refill(4_000, rate, most);
        assert_eq!((bucket.credit() as i64, bucket.wait_ms(0.0, rate)), (0, 0));
        assert_eq!(bucket.wait_ms(20.0, rate), 200);
        bucket.refill(60_000, rate, most);
        assert_eq!(
            (bucket.credit() as i64, bucket.wait_ms(0.0, rate)),
            (500, 0)
        );
        // A clock that goes back adds no credit.
        bucket.refill(50_000, rate, most);
        bucket.refill(60_000, rate, most);
        bucket.spend(500.4);
        bucket.refill(60_000, rate, most);
        assert_eq!(bucket.wait_ms(0.0, rate), 4);
    }
}

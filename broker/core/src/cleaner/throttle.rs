//! Limits bytes a second, and carries over what was taken in excess.

/// A rate limit. The caller passes the time and gets the wait back.
#[derive(Clone, Copy, Debug)]
pub struct Throttle {
    bytes_per_second: f64,
    /// The time, in ms, at which all bytes taken so far are within the rate.
    paid_at_ms: f64,
}

/// Milliseconds' worth of bytes that may be taken at once after a pause.
const BURST_MS: f64 = 100.0;

impl Throttle {
    /// Creates a throttle for Kafka's `log.cleaner.io.max.bytes.per.second`; infinite means no
    /// limit.
    #[must_use]
    pub const fn new(bytes_per_second: f64) -> Self {
        Self {
            bytes_per_second,
            paid_at_ms: 0.0,
        }
    }

    /// Changes the rate. Bytes already taken still count.
    pub const fn set_rate(&mut self, bytes_per_second: f64) {
        self.bytes_per_second = bytes_per_second;
    }

    /// Takes `bytes`. Returns the milliseconds to wait before taking more.
    pub fn take(&mut self, bytes: u64, now_ms: u64) -> u64 {
        if !self.bytes_per_second.is_finite() {
            return 0;
        }
        let now = now_ms as f64;
        let cost = bytes as f64 * 1000.0 / self.bytes_per_second.max(1.0);
        self.paid_at_ms = self.paid_at_ms.max(now - BURST_MS) + cost;
        (self.paid_at_ms - now).max(0.0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_keeps_to_the_rate() {
        for (rate, chunk) in [(1e6, 50_000), (1e6, 3_000_000), (300.0, 100)] {
            let mut throttle = Throttle::new(rate);
            let (mut now, mut bytes) = (1_000_000, 0);
            let began = now;
            while now < began + 100_000 {
                bytes += chunk;
                now += throttle.take(chunk, now).max(1);
            }
            let seconds = (now - began) as f64 / 1000.0;
            let most = rate * (seconds + BURST_MS / 1000.0) + chunk as f64;
            assert!(bytes as f64 <= most, "{bytes} at {rate} in {seconds} s");
            assert!(bytes as f64 >= rate * seconds * 0.95 - chunk as f64);
        }
        assert_eq!(Throttle::new(f64::INFINITY).take(u64::MAX, 0), 0);
    }
}

//! How many bytes of the classes below high a link has in flight, if its partitions have classes.
//!
//! What is in flight is queued in front of anything more urgent: in the sockets of a slow network,
//! two megabytes would be minutes. So the window follows the time until a batch is acknowledged.

/// The time that a batch may take. Kept well below the 5 s that an urgent record may take.
const TARGET_MS: u64 = 1_500;
/// The first window: some hundred milliseconds of a slow network.
const FIRST_BYTES: usize = 32 << 10;
/// One small batch is always in flight.
const BYTES_MIN: usize = 4 << 10;

/// The window; see the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    bytes: usize,
    bytes_max: usize,
    shrunk_ms: u64,
}

impl Window {
    pub const fn new(bytes_max: usize) -> Self {
        let first = if bytes_max < FIRST_BYTES {
            bytes_max
        } else {
            FIRST_BYTES
        };
        Self {
            bytes: first,
            bytes_max,
            shrunk_ms: 0,
        }
    }

    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Records that a batch that was read at `read_ms` is acknowledged.
    pub fn acknowledge(&mut self, bytes: usize, read_ms: u64, now_ms: u64) {
        let took_ms = now_ms.saturating_sub(read_ms);
        if took_ms <= TARGET_MS / 2 {
            // The bytes that came through come on top: the window doubles in a round trip.
            self.bytes = self.bytes.saturating_add(bytes).min(self.bytes_max);
        } else if took_ms > TARGET_MS && read_ms >= self.shrunk_ms {
            let part = (self.bytes as u64).saturating_mul(TARGET_MS) / took_ms;
            self.bytes = (part as usize).max(self.bytes / 2).max(BYTES_MIN);
            // What is in flight by now was read for the larger window.
            self.shrunk_ms = now_ms;
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    /// Sends over a network of so many bytes a second. Returns the window and the longest time that
    /// a batch of the second half took.
    fn after(bytes_per_s: u64, round_trip_ms: u64) -> (usize, u64) {
        let mut window = Window::new(2 << 20);
        let (mut in_flight, mut free_ms) = (Vec::new(), 0);
        let mut longest = 0;
        for now_ms in 0..30_000 {
            let due = |(_, at): &(u64, u64)| *at <= now_ms;
            for (read_ms, _) in in_flight.iter().copied().filter(due) {
                window.acknowledge(4096, read_ms, now_ms);
                if now_ms > 15_000 {
                    longest = longest.max(now_ms - read_ms);
                }
            }
            in_flight.retain(|it| !due(it));
            while in_flight.len() * 4096 < window.bytes() {
                free_ms = now_ms.max(free_ms) + 4_096_000 / bytes_per_s;
                in_flight.push((now_ms, free_ms + round_trip_ms));
            }
        }
        (window.bytes(), longest)
    }

    #[test]
    fn on_a_slow_network_little_is_in_flight() {
        let (bytes, longest) = after(8_000, 600);
        assert!(bytes <= 12 << 10, "{bytes}");
        assert!(longest <= 3_000, "{longest} ms");
    }

    #[test]
    fn on_a_fast_network_the_window_is_whole() {
        let (bytes, _) = after(100_000_000, 20);
        assert_eq!(bytes, 2 << 20);
    }
}

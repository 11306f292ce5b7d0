//! How many bytes of the classes below high a link has in flight, if its partitions have classes.
//!
//! What is in flight is queued in front of anything more urgent: in a slow network, two megabytes
//! would be minutes. So the window follows the time until a batch is acknowledged. A queue makes
//! every batch slow. A segment that is lost and sent again makes some slow: on a network that loses
//! many, nearly all batches of one round trip. So the window shrinks only if every batch of several
//! round trips is slow.

use core::cmp::Ordering;

/// The time that a batch may take. Kept well below the 5 s that an urgent record may take.
const TARGET_MS: u64 = 2_000;
/// Round trips without a batch that took less, after which there is a queue.
const SLOW_ROUNDS: u32 = 4;
/// The first window: two seconds of a slow network.
const FIRST_BYTES: usize = 16 << 10;
/// One small batch is always in flight.
const BYTES_MIN: usize = 4 << 10;
/// Batches of a window: the time of one is to show the queue before it, not its own size.
const BATCHES: usize = 4;
/// Most bytes of records that are taken for one that is sent, in hundredths. What compresses better
/// is sent in smaller batches.
const PACKED_MAX: usize = 2_000;

/// The window; see the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    bytes: usize,
    bytes_max: usize,
    /// The round trips until now in which all batches were slow, and when the next one began.
    slow_rounds: u32,
    round_ms: u64,
    /// The least time of a batch in these.
    quickest_ms: u64,
    /// Bytes of records in a byte of a joined batch, in hundredths: batches may be compressed.
    packed: usize,
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
            slow_rounds: 0,
            round_ms: 0,
            quickest_ms: u64::MAX,
            packed: 100,
        }
    }

    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the bytes of records up to which small batches are joined.
    pub fn batch_bytes(&self) -> usize {
        let sent = (self.bytes / BATCHES).max(BYTES_MIN.min(self.bytes_max));
        sent.saturating_mul(self.packed) / 100
    }

    /// Records that small batches with some `bytes` of records became one of `sent` bytes.
    pub fn join(&mut self, bytes: usize, sent: usize) {
        let packed = bytes.saturating_mul(100) / sent.max(1);
        self.packed = (self.packed * 3 + packed.clamp(100, PACKED_MAX)) / 4;
    }

    /// Records that a batch that was read at `read_ms` is acknowledged.
    pub fn acknowledge(&mut self, bytes: usize, read_ms: u64, now_ms: u64) {
        let took_ms = now_ms.saturating_sub(read_ms);
        match took_ms.cmp(&TARGET_MS) {
            Ordering::Less | Ordering::Equal => {
                // The window doubles in a round trip, and near its end grows by a batch in one.
                let more = if took_ms <= TARGET_MS / 2 {
                    bytes
                } else {
                    bytes.saturating_mul(bytes) / self.bytes.max(1)
                };
                self.bytes = self.bytes.saturating_add(more).min(self.bytes_max);
                self.begin_rounds(now_ms);
            }
            Ordering::Greater => {
                self.quickest_ms = self.quickest_ms.min(took_ms);
                // What was read before the round was in the queue of an earlier one.
                if read_ms >= self.round_ms {
                    self.slow_rounds += 1;
                    self.round_ms = now_ms;
                }
                if self.slow_rounds >= SLOW_ROUNDS {
                    let part = (self.bytes as u64).saturating_mul(TARGET_MS) / self.quickest_ms;
                    self.bytes = (part as usize).max(self.bytes / 2).max(BYTES_MIN);
                    self.begin_rounds(now_ms);
                }
            }
        }
    }

    const fn begin_rounds(&mut self, now_ms: u64) {
        self.slow_rounds = 0;
        self.round_ms = now_ms;
        self.quickest_ms = u64::MAX;
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::VecDeque;

    use super::*;

    /// A network that loses segments. TCP sends a lost one again after 200 ms more than the round
    /// trip, and then after twice that, and delivers in order.
    struct Network {
        bytes_per_s: u64,
        round_trip_ms: u64,
        lost_percent: u64,
        random: u64,
        free_us: u64,
        arrived_ms: u64,
        answered_ms: u64,
    }

    /// What the second half of a simulation showed.
    #[derive(Debug)]
    struct Seen {
        bytes_per_s: u64,
        window: usize,
        longest_ms: u64,
    }

    impl Network {
        const SEGMENT_BYTES: usize = 1_448;

        const fn new(bytes_per_s: u64, round_trip_ms: u64, lost_percent: u64) -> Self {
            Self {
                bytes_per_s,
                round_trip_ms,
                lost_percent,
                random: 7,
                free_us: 0,
                arrived_ms: 0,
                answered_ms: 0,
            }
        }

        /// Returns how often a segment is sent until it arrives, and how much later it does.
        const fn lose(&mut self) -> (u64, u64) {
            let (mut sends, mut late_ms, mut again_ms) = (1, 0, self.round_trip_ms + 200);
            loop {
                self.random ^= self.random << 13;
                self.random ^= self.random >> 7;
                self.random ^= self.random << 17;
                if self.random % 100 >= self.lost_percent {
                    return (sends, late_ms);
                }
                late_ms += again_ms;
                again_ms *= 2;
                sends += 1;
            }
        }

        /// Returns when the answer to a batch arrives.
        fn send(&mut self, bytes: usize, now_ms: u64) -> u64 {
            let one_way_ms = self.round_trip_ms / 2;
            let mut left = bytes;
            while left > 0 {
                let segment = left.min(Self::SEGMENT_BYTES);
                left -= segment;
                let (sends, late_ms) = self.lose();
                let took_us = sends * segment as u64 * 1_000_000 / self.bytes_per_s;
                self.free_us = self.free_us.max(now_ms * 1_000) + took_us;
                let at_ms = self.free_us / 1_000 + one_way_ms + late_ms;
                self.arrived_ms = self.arrived_ms.max(at_ms);
            }
            let answer_ms = self.arrived_ms + one_way_ms + self.lose().1;
            self.answered_ms = self.answered_ms.max(answer_ms);
            self.answered_ms
        }

        /// Keeps the window full for some seconds.
        fn carry(mut self, seconds: u64) -> Seen {
            let mut window = Window::new(2 << 20);
            let mut in_flight: VecDeque<(usize, u64, u64)> = VecDeque::new();
            let (mut held, mut acknowledged, mut longest_ms) = (0, 0, 0);
            for now_ms in 0..seconds * 1_000 {
                while let Some((bytes, read_ms, at_ms)) = in_flight.front().copied()
                    && at_ms <= now_ms
                {
                    in_flight.pop_front();
                    held -= bytes;
                    window.acknowledge(bytes, read_ms, now_ms);
                    if now_ms > seconds * 500 {
                        acknowledged += bytes as u64;
                        longest_ms = longest_ms.max(now_ms - read_ms);
                    }
                }
                while held < window.bytes() {
                    let bytes = window.batch_bytes().min(16 << 10);
                    held += bytes;
                    in_flight.push_back((bytes, now_ms, self.send(bytes, now_ms)));
                }
            }
            Seen {
                bytes_per_s: acknowledged * 2 / seconds,
                window: window.bytes(),
                longest_ms,
            }
        }
    }

    #[test]
    fn on_a_slow_network_little_is_in_flight() {
        let seen = Network::new(8_000, 600, 0).carry(600);
        assert!(seen.window <= 20 << 10, "{seen:?}");
        assert!(seen.longest_ms <= 3_500, "{seen:?}");
        assert!(seen.bytes_per_s >= 7_000, "{seen:?}");
    }

    /// A window of 24 KiB, as much as a cheap router keeps, carries some 3,100 bytes a second.
    /// The window took the time of lost segments for a queue, and shrank to one small batch.
    #[test]
    fn segments_that_are_lost_are_no_queue() {
        let seen = Network::new(8_000, 600, 30).carry(1_200);
        assert!(seen.bytes_per_s >= 2_400, "{seen:?}");
        assert!(seen.window <= 64 << 10, "{seen:?}");
    }

    /// Five batches are in flight at most: small ones of well compressed records left a slow
    /// network idle.
    #[test]
    fn batches_are_as_large_when_they_are_compressed() {
        let mut window = Window::new(2 << 20);
        let before = window.batch_bytes();
        for _ in 0..20 {
            let bytes = window.batch_bytes();
            window.join(bytes, bytes / 5);
        }
        let sent = window.batch_bytes() / 5;
        assert!(sent.abs_diff(before) < before / 10, "{sent}, not {before}");
        window.join(1 << 20, 1);
        window.join(1 << 20, 0);
        assert!(window.batch_bytes() <= before * PACKED_MAX / 100);
        for _ in 0..20 {
            window.join(1, 1 << 20);
        }
        assert!(window.batch_bytes() < before + before / 10);
    }

    #[test]
    fn on_a_fast_network_the_window_is_whole() {
        assert_eq!(Network::new(100_000_000, 20, 0).carry(10).window, 2 << 20);
    }
}

//! Heads of frames that a fetch read a moment ago. Consumers of a log catch up side by side, each
//! with partitions of its own, and walk over the same frames.
//!
//! A head that lies here says as well that its frame is in the operating system's memory: that is
//! where it was read from. So none is older than a second.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::api::SegmentId;
use crate::format::FrameHead;
use crate::limits::{RECENT_HEAD_ROWS_MAX, RECENT_HEADS_FOR};

/// A segment, and where the frame before ended.
type Behind = (SegmentId, u64);

/// Where the frame begins, and its head.
type Found = (u64, Arc<FrameHead>);

#[derive(Debug, Default)]
pub(crate) struct RecentHeads(Mutex<Generations>);

/// Two, of which the older goes as a whole.
#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Behind, Found>,
    old: HashMap<Behind, Found>,
    young_rows: usize,
    young_since: Option<Instant>,
}

impl RecentHeads {
    pub fn get(&self, segment: SegmentId, behind: u64, now: Instant) -> Option<Found> {
        let mut heads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heads.age(now);
        let key = (segment, behind);
        heads
            .young
            .get(&key)
            .or_else(|| heads.old.get(&key))
            .cloned()
    }

    pub fn put(&self, segment: SegmentId, behind: u64, found: Found, now: Instant) {
        let mut heads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heads.age(now);
        // Its table, and the head itself.
        heads.young_rows += found.1.entries.len() + 1;
        heads.young_since.get_or_insert(now);
        heads.young.insert((segment, behind), found);
    }
}

impl Generations {
    fn age(&mut self, now: Instant) {
        let for_long = |since: Instant| now.saturating_duration_since(since) > RECENT_HEADS_FOR / 2;
        while self.young_rows > RECENT_HEAD_ROWS_MAX || self.young_since.is_some_and(for_long) {
            let since = self.young_since.take();
            self.young_rows = 0;
            self.old = std::mem::take(&mut self.young);
            // Nobody asked for so long that what was young is old by now.
            if since.is_some_and(|since| now.saturating_duration_since(since) > RECENT_HEADS_FOR) {
                self.old.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::api::Sequence;

    fn head(sequence: u64) -> Arc<FrameHead> {
        Arc::new(FrameHead {
            padding: 0,
            generation: 1,
            sequence: Sequence(sequence),
            append_ms: 0,
            body_bytes: 0,
            body_crc: 0,
            entries: Vec::new(),
        })
    }

    #[test]
    fn a_head_is_found_for_a_moment_only() {
        let heads = RecentHeads::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        heads.put(SegmentId(1), 64, (4096, head(7)), at(0));
        let found = heads.get(SegmentId(1), 64, at(400));
        assert_eq!(found, Some((4096, head(7))));
        assert_eq!(heads.get(SegmentId(1), 4096, at(400)), None);
        assert_eq!(heads.get(SegmentId(2), 64, at(400)), None);

        // The second half of its second, beside newer ones.
        heads.put(SegmentId(1), 8192, (8192, head(8)), at(600));
        assert!(heads.get(SegmentId(1), 64, at(900)).is_some());
        heads.put(SegmentId(1), 9000, (9000, head(9)), at(1_200));
        assert_eq!(heads.get(SegmentId(1), 64, at(1_200)), None);
        assert!(heads.get(SegmentId(1), 8192, at(1_200)).is_some());

        // After a pause nothing is left.
        assert_eq!(heads.get(SegmentId(1), 9000, at(60_000)), None);
        assert_eq!(heads.get(SegmentId(1), 8192, at(60_000)), None);
    }

    #[test]
    fn only_so_many_are_kept() {
        let heads = RecentHeads::default();
        let now = Instant::now();
        let count = 10 * RECENT_HEAD_ROWS_MAX as u64;
        for at in 0..count {
            heads.put(SegmentId(1), at, (at, head(at)), now);
        }
        let kept = (0..count).filter(|at| heads.get(SegmentId(1), *at, now).is_some());
        assert!(kept.count() <= 2 * (RECENT_HEAD_ROWS_MAX + 1));
        assert!(heads.get(SegmentId(1), count - 1, now).is_some());
    }
}

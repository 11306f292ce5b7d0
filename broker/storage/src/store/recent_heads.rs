//! Caches heads of frames that a fetch read a moment ago. Consumers that catch up at the same time,
//! each with its own partitions, walk the same frames.
//!
//! A cached head also shows that its frame is in the page cache, from where it was read. So no head
//! is kept longer than a second.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::error::Error;
use crate::format::FrameHead;
use crate::ids::SegmentId;
use crate::limits::{PLACE_BYTES_MIN, RECENT_HEAD_ROWS_MAX, RECENT_HEADS_FOR};

/// A segment, and where the frame before ended.
type Behind = (SegmentId, u64);

/// Position of a frame, and its head.
type Found = (u64, Arc<FrameHead>);

#[derive(Debug, Default)]
pub(crate) struct RecentHeads(Mutex<Generations>);

/// Two generations; the older is dropped as a whole when the younger is full.
#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Behind, (Instant, Found)>,
    old: HashMap<Behind, (Instant, Found)>,
    young_rows: usize,
}

impl RecentHeads {
    /// Returns the frame behind one that ended at `behind`: from the cache, or by calling `read`.
    /// The head of a small frame is not cached, as it is read together with what lies behind it.
    pub fn get_or_read(
        &self,
        segment: SegmentId,
        behind: u64,
        now: Instant,
        read: impl FnOnce() -> Result<Option<(u64, FrameHead)>, Error>,
    ) -> Result<Option<Found>, Error> {
        let key = (segment, behind);
        if let Some(found) = self.lock().get(key, now) {
            return Ok(Some(found));
        }
        let found = read()?.map(|(position, head)| (position, Arc::new(head)));
        if let Some(found) = &found
            && found.1.frame_bytes() >= PLACE_BYTES_MIN
        {
            self.lock().put(key, found.clone(), now);
        }
        Ok(found)
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn get(&self, key: Behind, now: Instant) -> Option<Found> {
        let (read_at, found) = self.young.get(&key).or_else(|| self.old.get(&key))?;
        let is_recent = now.saturating_duration_since(*read_at) < RECENT_HEADS_FOR;
        is_recent.then(|| found.clone())
    }

    fn put(&mut self, key: Behind, found: Found, now: Instant) {
        // The rows of its table, and the head itself.
        let rows = found.1.entries.len() + 1;
        if self.young_rows + rows > RECENT_HEAD_ROWS_MAX {
            self.old = std::mem::take(&mut self.young);
            self.young_rows = 0;
        }
        self.young_rows += rows;
        self.young.insert(key, (now, found));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ids::Sequence;

    fn head(sequence: u64, body_bytes: u32) -> FrameHead {
        FrameHead {
            padding: 0,
            generation: 1,
            sequence: Sequence(sequence),
            append_ms: 0,
            body_bytes,
            body_crc: 0,
            entries: Vec::new(),
        }
    }

    /// Returns whether the frame behind `behind` has to be read.
    fn is_read(heads: &RecentHeads, behind: u64, body_bytes: u32, now: Instant) -> bool {
        let mut is_read = false;
        let read = || {
            is_read = true;
            Ok(Some((behind, head(behind, body_bytes))))
        };
        let found = heads.get_or_read(SegmentId(1), behind, now, read).unwrap();
        assert_eq!(found, Some((behind, Arc::new(head(behind, body_bytes)))));
        is_read
    }

    #[test]
    fn a_head_is_kept_for_a_moment_only() {
        let heads = RecentHeads::default();
        let start = Instant::now();
        let is_read = |behind, ms| {
            let now = start + Duration::from_millis(ms);
            is_read(&heads, behind, 10_000, now)
        };
        assert!(is_read(64, 0));
        assert!(is_read(8192, 600));
        assert!(!is_read(64, 999));
        assert!(is_read(64, 1_001));
        assert!(!is_read(8192, 1_001));
        assert!(!is_read(64, 1_999));
        assert!(is_read(8192, 60_000));
    }

    #[test]
    fn only_so_many_are_kept_and_none_of_small_frames() {
        let heads = RecentHeads::default();
        let now = Instant::now();
        let count = 10 * RECENT_HEAD_ROWS_MAX as u64;
        for behind in 0..count {
            assert!(is_read(&heads, behind, 10_000, now));
        }
        let generations = heads.lock();
        let kept = generations.young.len() + generations.old.len();
        drop(generations);
        assert!(kept > RECENT_HEAD_ROWS_MAX && kept <= 2 * RECENT_HEAD_ROWS_MAX);
        assert!(!is_read(&heads, count - 1, 10_000, now));

        assert!(is_read(&heads, count, 100, now));
        assert!(is_read(&heads, count, 100, now));
    }
}

//! Selects segments that are rewritten together, to free their dead space and merge each
//! partition's part of them into one piece.

use alloc::vec::Vec;

use super::limits::{
    SMALL_SEGMENTS_MIN, SMALL_SHARE, SPARSE_LIVE_PERCENT, SPARSE_SEGMENTS_MAX, SPARSE_SLICES_MAX,
};

/// Facts about a full or cold segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentFacts {
    pub id: u64,
    pub file_bytes: u64,
    pub live_bytes: u64,
    pub live_slices: u64,
}

impl SegmentFacts {
    fn is_sparse(&self) -> bool {
        self.live_bytes * 100 <= self.file_bytes * SPARSE_LIVE_PERCENT
    }
}

/// Returns the segments to empty: those with the smallest live share, and small ones if there are
/// many. Ascending; empty if none is worth it. Segments without live bytes need no copy and are not
/// included.
#[must_use]
pub fn choose_sparse(segments: &[SegmentFacts], segment_bytes: u64) -> Vec<u64> {
    let alive = segments.iter().filter(|segment| segment.live_slices > 0);
    let is_small = |segment: &SegmentFacts| segment.file_bytes <= segment_bytes / SMALL_SHARE;
    let mut sparse: Vec<SegmentFacts> = alive
        .clone()
        .filter(|segment| segment.is_sparse() && !is_small(segment))
        .copied()
        .collect();
    let small: Vec<SegmentFacts> = alive.filter(|segment| is_small(segment)).copied().collect();
    if small.len() >= SMALL_SEGMENTS_MIN {
        sparse.extend(small);
    }
    // Cross-multiplied: live bytes of one by bytes of the other.
    sparse.sort_by(|one, other| {
        let ratio = |a: &SegmentFacts, b: &SegmentFacts| {
            u128::from(a.live_bytes) * u128::from(b.file_bytes)
        };
        ratio(one, other).cmp(&ratio(other, one))
    });
    let mut slices = 0;
    let mut chosen: Vec<u64> = sparse
        .iter()
        .take(SPARSE_SEGMENTS_MAX)
        .take_while(|segment| {
            let is_first = slices == 0;
            slices += segment.live_slices;
            is_first || slices <= SPARSE_SLICES_MAX
        })
        .map(|segment| segment.id)
        .collect();
    chosen.sort_unstable();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn segment(id: u64, file_bytes: u64, live_percent: u64) -> SegmentFacts {
        SegmentFacts {
            id,
            file_bytes,
            live_bytes: file_bytes * live_percent / 100,
            live_slices: u64::from(live_percent > 0),
        }
    }

    #[test]
    fn what_is_sparse_is_chosen_and_what_is_dead_or_dense_is_not() {
        let check = |segments: &[SegmentFacts], expected: &[u64]| {
            assert_eq!(choose_sparse(segments, 16 * MIB), expected, "{segments:?}");
        };
        check(&[], &[]);
        check(&[segment(1, 16 * MIB, 0)], &[]);
        check(&[segment(1, 16 * MIB, 51)], &[]);
        check(&[segment(1, 16 * MIB, 50)], &[1]);
        check(
            &[
                segment(1, 16 * MIB, 90),
                segment(2, 16 * MIB, 3),
                segment(3, 64 * MIB, 20),
            ],
            &[2, 3],
        );
        // If there are many, those with the fewest live bytes come first.
        let many: Vec<_> = (0..40).map(|id| segment(id, 16 * MIB, 45 - id)).collect();
        let expected: Vec<u64> = (24..40).collect();
        check(&many, &expected);
    }

    #[test]
    fn small_ones_wait_for_company() {
        let small = |count| -> Vec<_> { (0..count).map(|id| segment(id, MIB, 100)).collect() };
        assert!(choose_sparse(&small(7), 16 * MIB).is_empty());
        assert_eq!(choose_sparse(&small(8), 16 * MIB).len(), 8);
    }

    /// If the result could be chosen again, it would be rewritten for ever.
    #[test]
    fn what_comes_out_is_not_chosen_again() {
        let mut segments: Vec<_> = (0..100).map(|id| segment(id, 16 * MIB, 30)).collect();
        let mut next = 100;
        for round in 0..1000 {
            let chosen = choose_sparse(&segments, 16 * MIB);
            if chosen.is_empty() {
                return;
            }
            let is_chosen = |segment: &SegmentFacts| chosen.contains(&segment.id);
            let live: u64 = segments
                .iter()
                .filter(|segment| is_chosen(segment))
                .map(|segment| segment.live_bytes)
                .sum();
            segments.retain(|segment| !is_chosen(segment));
            let mut left = live;
            while left > 0 {
                let bytes = left.min(16 * MIB);
                segments.push(SegmentFacts {
                    live_bytes: bytes * 98 / 100,
                    ..segment(next, bytes, 98)
                });
                next += 1;
                left -= bytes;
            }
            assert!(round < 100);
        }
    }
}

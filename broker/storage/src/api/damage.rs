//! Damaged places, lost offsets, and the scrub that looks for them.

use sedge_protocol::ids::{Offset, PartitionId};

use crate::ids::SegmentId;

/// Offsets of a partition that are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostRange {
    pub partition: PartitionId,
    pub base_offset: Offset,
    pub next_offset: Offset,
}

impl LostRange {
    /// Returns whether `others` together contain all of its offsets.
    pub(crate) fn is_within<'a>(&self, others: impl IntoIterator<Item = &'a Self>) -> bool {
        let mut others: Vec<(Offset, Offset)> = others
            .into_iter()
            .filter(|other| other.partition == self.partition)
            .map(|other| (other.base_offset, other.next_offset))
            .collect();
        others.sort_unstable();
        let mut next = self.base_offset;
        for (base, until) in others {
            if base > next {
                break;
            }
            next = next.max(until);
        }
        next >= self.next_offset
    }
}

/// A stretch of a segment that cannot be trusted, and the offsets that it held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    pub segment: SegmentId,
    pub generation: u64,
    pub position: u64,
    pub end: u64,
    pub lost: Vec<LostRange>,
}

/// The end of a damaged place that reached to the end of a file that is shorter now.
pub(crate) const TO_THE_END: u64 = i64::MAX as u64;

impl Damaged {
    /// Returns a damaged place for missing offsets whose position is not known.
    pub(crate) fn nowhere(lost: LostRange) -> Self {
        Self {
            segment: SegmentId(0),
            generation: 0,
            position: 0,
            end: 0,
            lost: vec![lost],
        }
    }

    /// Returns the number of damaged bytes that are still in the file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self.end {
            TO_THE_END => 0,
            end => end - self.position,
        }
    }
}

/// The position of a scrub's round.
#[derive(Clone, Debug, Default)]
pub struct ScrubCursor {
    /// The newest segment that the current round has begun.
    pub(crate) behind: SegmentId,
    /// The position at which to go on in a segment.
    pub(crate) within: Option<(SegmentId, u64)>,
    /// Picks the segment with which the first round begins.
    pub(crate) begin_at: Option<u64>,
    /// Set between rounds: only segments in which a read reported damage are checked.
    pub is_resting: bool,
}

impl ScrubCursor {
    /// Returns a round that begins with a random segment and ends with the last one. Otherwise, a
    /// device that is switched off every evening would check the first segments again and again.
    #[must_use]
    pub fn somewhere(random: u64) -> Self {
        Self {
            begin_at: Some(random),
            ..Self::default()
        }
    }

    /// Leaves the current segment, which cannot be read: the next step begins with another one.
    pub fn skip_segment(&mut self) {
        self.within = None;
    }
}

/// The result of one step of the scrub.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Bytes that were read.
    pub bytes: u64,
    /// Places that were not known before.
    pub damaged: Vec<Damaged>,
    /// The round has ended: the next step begins another round. While resting: there is nothing to
    /// do.
    pub is_done: bool,
}

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

/// A stretch of a segment that cannot be trusted, and whose records lay there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    pub segment: SegmentId,
    pub generation: u64,
    pub position: u64,
    pub end: u64,
    pub lost: Vec<LostRange>,
}

/// The end of a place that reaches to where the file once ended, which it does not any more.
pub(crate) const TO_THE_END: u64 = i64::MAX as u64;

impl Damaged {
    /// Offsets that are missing, of which it is not known where they lay.
    pub(crate) fn nowhere(lost: LostRange) -> Self {
        Self {
            segment: SegmentId(0),
            generation: 0,
            position: 0,
            end: 0,
            lost: vec![lost],
        }
    }

    /// Bytes that are there and damaged.
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
    /// The segment of the round that was begun last.
    pub(crate) behind: SegmentId,
    /// The position at which to go on in a segment.
    pub(crate) within: Option<(SegmentId, u64)>,
    /// Picks the segment with which the first round begins.
    pub(crate) begin_at: Option<u64>,
    /// Set between rounds: only segments of which a read has complained are looked at.
    pub is_resting: bool,
}

impl ScrubCursor {
    /// A round that begins with any segment (by a random number) and ends with the last. A device
    /// that is switched off every evening would otherwise look at the first ones again and again.
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
    /// The round has ended: the next step is the first of another round. At rest: there is nothing
    /// to do.
    pub is_done: bool,
}

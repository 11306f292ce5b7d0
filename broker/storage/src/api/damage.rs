//! What is damaged or lost, and the scrub that looks for it.

use sedge_protocol::ids::{Offset, PartitionId};

use crate::ids::SegmentId;

/// Offsets of a partition that a hole took.
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

/// Where a round stands.
#[derive(Clone, Debug, Default)]
pub struct ScrubCursor {
    /// The segment of the round that was begun last.
    pub(crate) behind: SegmentId,
    /// Where to go on in a segment.
    pub(crate) within: Option<(SegmentId, u64)>,
    /// Where the first round begins, before that is known.
    pub(crate) begin_at: Option<u64>,
    /// Between rounds only what a read has complained of is looked at.
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

    /// The next step begins with another segment: this one cannot be read.
    pub fn skip_segment(&mut self) {
        self.within = None;
    }
}

/// What a step did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Bytes that were read.
    pub bytes: u64,
    /// What was not known.
    pub damaged: Vec<Damaged>,
    /// There is nothing behind: the next step is the first of another round, or, at rest, there is
    /// nothing to do.
    pub is_done: bool,
}

//! The room on disk that a commit may need, reserved before the commit is planned.

use crate::format::{ENTRY_BYTES, FRAME_HEAD_BYTES};
use crate::limits;

/// The room that a commit may need: its batches, and a row of its table for each part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    pub batch_bytes: u64,
    pub rows: u64,
    pub urgency: Urgency,
}

/// The share of the headroom that a commit may take. Each segment keeps headroom so that a full
/// disk can be emptied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// None of it: the commit does not free space.
    #[default]
    Ordinary,
    /// Half of it: retention and cleaners, which come again and again by themselves.
    Upkeep,
    /// All but a quarter, which freeing segments itself may need: commands of users.
    Command,
}

impl Room {
    /// Returns the room for batches that do not free space.
    #[must_use]
    pub const fn ordinary(batch_bytes: u64, rows: u64) -> Self {
        Self {
            batch_bytes,
            rows,
            urgency: Urgency::Ordinary,
        }
    }

    /// Returns the room for both in one commit.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            batch_bytes: self.batch_bytes.saturating_add(other.batch_bytes),
            rows: self.rows.saturating_add(other.rows),
            urgency: self.urgency.min(other.urgency),
        }
    }

    /// Returns whether the commit writes nothing to the log.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.batch_bytes == 0 && self.rows == 0
    }

    /// Returns the size of the frame in bytes.
    #[must_use]
    pub const fn frame_bytes(&self) -> u64 {
        let table_bytes = self.rows.saturating_mul(ENTRY_BYTES);
        FRAME_HEAD_BYTES
            .saturating_add(table_bytes)
            .saturating_add(self.batch_bytes)
    }

    /// Returns whether one frame can hold the commit.
    pub(crate) fn fits_a_frame(&self) -> bool {
        self.batch_bytes <= limits::COMMIT_BYTES_MAX
            && self.rows <= u64::from(limits::COMMIT_ENTRIES_MAX)
    }
}

impl Urgency {
    /// Returns the bytes that must stay free behind the commit in a segment of this size.
    pub(crate) const fn keeps_bytes(self, segment_bytes: u64) -> u64 {
        let headroom = headroom_bytes(segment_bytes);
        match self {
            Self::Ordinary => headroom,
            Self::Upkeep => headroom / 2,
            Self::Command => headroom / 4,
        }
    }
}

pub(crate) const fn headroom_bytes(segment_bytes: u64) -> u64 {
    segment_bytes / limits::HEADROOM_SHARE
}

/// Sizes of the smallest segment that can be configured, and of the small profile's.
const SMALL_SEGMENT_BYTES: [u64; 2] = [1 << 20, 16 << 20];

const fn chunk_bytes(rows: usize) -> u64 {
    FRAME_HEAD_BYTES + rows as u64 * ENTRY_BYTES
}

const _: () = {
    let [smallest, small] = SMALL_SEGMENT_BYTES;
    assert!(
        chunk_bytes(limits::FREEING_ROWS_MAX)
            <= headroom_bytes(smallest) - Urgency::Upkeep.keeps_bytes(smallest),
        "a chunk of log starts fits what upkeep may take of the headroom"
    );
    assert!(
        chunk_bytes(limits::CARRIED_ROWS_MAX) <= Urgency::Command.keeps_bytes(smallest),
        "a chunk of carried rows fits what is kept for it"
    );
    assert!(
        6_000 * ENTRY_BYTES
            + 6_000_u64.div_ceil(limits::FREEING_ROWS_MAX as u64) * FRAME_HEAD_BYTES
            <= headroom_bytes(small) - Urgency::Upkeep.keeps_bytes(small),
        "thousands of partitions can be moved in the small profile before anything is freed"
    );
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_less_urgent_part_of_a_commit_decides() {
        let log_starts = Room {
            batch_bytes: 0,
            rows: 100,
            urgency: Urgency::Upkeep,
        };
        let both = log_starts.and(Room::ordinary(1000, 2));
        assert_eq!(both, Room::ordinary(1000, 102));
        assert_eq!(both.frame_bytes(), 48 + 102 * 40 + 1000);
        assert!(Room::default().is_empty() && !log_starts.is_empty());
        let huge = Room::ordinary(u64::MAX, u64::MAX);
        assert_eq!(huge.and(huge).frame_bytes(), u64::MAX);
        assert!(!huge.fits_a_frame() && both.fits_a_frame());
    }

    #[test]
    fn the_more_urgent_may_go_further() {
        let keeps = [Urgency::Ordinary, Urgency::Upkeep, Urgency::Command]
            .map(|urgency| urgency.keeps_bytes(16 << 20));
        assert_eq!(keeps, [1 << 20, 512 << 10, 256 << 10]);
    }
}

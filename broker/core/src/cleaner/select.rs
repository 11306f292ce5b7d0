//! Selects the partition that is compacted next, and how far: Kafka's `LogCleanerManager`.

use sedge_protocol::ids::Offset;

use crate::config::TopicConfig;

/// A partition's part of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceFacts {
    pub first_offset: Offset,
    pub next_offset: Offset,
    pub bytes: u64,
    /// When the oldest and the newest record of the slice were appended, by the append clock.
    pub oldest_ms: i64,
    pub newest_ms: i64,
    /// The slice is in the active segment.
    pub is_active: bool,
}

/// The state of a partition's log.
#[derive(Clone, Copy, Debug)]
pub struct LogFacts<'a> {
    /// All slices, oldest first.
    pub slices: &'a [SliceFacts],
    pub log_start: Offset,
    /// The offset at which the last compaction ended.
    pub compacted_until: Offset,
    /// Every record below this offset may be read, and every transaction there is decided.
    pub last_stable_offset: Offset,
}

/// The topic's configuration for compaction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CompactionPolicy {
    pub min_dirty_ratio: f64,
    pub min_lag_ms: i64,
    pub max_lag_ms: i64,
}

impl CompactionPolicy {
    #[must_use]
    pub fn of(config: &TopicConfig) -> Self {
        Self {
            min_dirty_ratio: config.min_cleanable_ratio(),
            min_lag_ms: config.min_compaction_lag_ms(),
            max_lag_ms: config.max_compaction_lag_ms(),
        }
    }
}

/// The range that a compaction of a partition would cover.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Compactable {
    /// First offset of the batches that are read…
    pub start: Offset,
    /// …the first whose keys are new…
    pub first_dirty: Offset,
    /// …and the end of the range.
    pub end: Offset,
    pub clean_bytes: u64,
    pub dirty_bytes: u64,
    /// KIP-354: `max.compaction.lag.ms` has passed for some record of the range.
    pub is_overdue: bool,
    /// The lag has passed for a record in the active segment, which has to be rolled first.
    pub needs_roll: bool,
}

impl Compactable {
    /// Returns the share of the range that is new.
    #[must_use]
    pub fn dirty_ratio(&self) -> f64 {
        let total = self.clean_bytes + self.dirty_bytes;
        if total == 0 {
            return 0.0;
        }
        self.dirty_bytes as f64 / total as f64
    }
}

/// Returns the range to compact.
#[must_use]
pub fn assess(log: &LogFacts<'_>, policy: &CompactionPolicy, append_now_ms: i64) -> Compactable {
    let start = log
        .slices
        .first()
        .map_or(log.log_start, |slice| slice.first_offset);
    let first_dirty = log.compacted_until.max(log.log_start);
    let is_dirty = |slice: &&SliceFacts| slice.next_offset > first_dirty;
    let bytes = |slices: &[SliceFacts]| slices.iter().map(|slice| slice.bytes).sum();
    let clean = log.slices.iter().take_while(|slice| !is_dirty(slice));
    let (clean, dirty) = log.slices.split_at(clean.count());

    let too_young_ms = append_now_ms.saturating_sub(policy.min_lag_ms);
    let may_be_compacted = |slice: &&SliceFacts| {
        let is_too_young = policy.min_lag_ms > 0 && slice.newest_ms > too_young_ms;
        !slice.is_active && !is_too_young && slice.first_offset < log.last_stable_offset
    };
    let count = dirty.iter().take_while(may_be_compacted).count();
    let dirty_now = dirty.get(..count).unwrap_or_default();
    let end = dirty_now.last().map_or(first_dirty, |slice| {
        slice.next_offset.min(log.last_stable_offset)
    });

    let overdue_ms = append_now_ms.saturating_sub(policy.max_lag_ms);
    let is_late = |slice: &SliceFacts| slice.oldest_ms < overdue_ms;
    Compactable {
        start,
        first_dirty,
        end,
        clean_bytes: bytes(clean),
        dirty_bytes: bytes(dirty_now),
        is_overdue: dirty_now.first().is_some_and(is_late),
        needs_roll: dirty.iter().any(|slice| slice.is_active && is_late(slice)),
    }
}

/// Returns whether the range is worth compacting now.
#[must_use]
pub fn is_due(of: &Compactable, policy: &CompactionPolicy) -> bool {
    of.dirty_bytes > 0 && (of.is_overdue || of.dirty_ratio() > policy.min_dirty_ratio)
}

//! Retention: decides where a log starts, by the age and the bytes of its slices.
//!
//! A slice is a partition's part of one segment, and is deleted as a whole. Age is by the broker's
//! append clock, never by the records' own timestamps: a device that boots in 1970 deletes nothing.

use sedge_protocol::ids::Offset;

use crate::config::TopicConfig;

/// A partition's part of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceFacts {
    /// The offset after its last record.
    pub next_offset: Offset,
    pub bytes: u64,
    /// When its newest record was appended, by the append clock.
    pub append_ms: i64,
}

/// The limits of what is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// `None` means for ever.
    pub ms: Option<i64>,
    /// `None` means no limit.
    pub bytes: Option<i64>,
}

impl RetentionPolicy {
    /// Returns the topic's limits; none if its old records are not deleted.
    #[must_use]
    pub fn of(config: &TopicConfig) -> Self {
        if config.is_deleted_by_retention() {
            Self {
                ms: config.retention_ms(),
                bytes: config.retention_bytes(),
            }
        } else {
            Self::default()
        }
    }

    /// Returns whether everything is kept.
    #[must_use]
    pub const fn keeps_all(&self) -> bool {
        self.ms.is_none() && self.bytes.is_none()
    }
}

/// Returns the new start of a log whose slices are given oldest first; `None` if the start stays.
///
/// As in Kafka, a slice is deleted for its bytes only if the rest still has `retention.bytes`.
#[must_use]
pub fn plan_retention(
    slices: &[SliceFacts],
    policy: RetentionPolicy,
    append_now_ms: i64,
) -> Option<Offset> {
    let oldest_ms = policy.ms.map(|ms| append_now_ms.saturating_sub(ms));
    let bytes_max = policy.bytes.map(|bytes| u64::try_from(bytes).unwrap_or(0));
    let mut bytes: u64 = slices.iter().map(|slice| slice.bytes).sum();
    let mut log_start = None;
    for slice in slices {
        let left = bytes.saturating_sub(slice.bytes);
        let is_old = oldest_ms.is_some_and(|oldest| slice.append_ms < oldest);
        let is_over = bytes_max.is_some_and(|max| left >= max);
        if !is_old && !is_over {
            break;
        }
        bytes = left;
        log_start = Some(slice.next_offset);
    }
    log_start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_go_by_age_and_by_bytes() {
        // Ten records and a hundred bytes each, appended at 1000, 2000, 3000.
        let slices = [1, 2, 3].map(|at| SliceFacts {
            next_offset: Offset(at * 10),
            bytes: 100,
            append_ms: at * 1000,
        });
        let check = |ms, bytes, now, expected: Option<i64>| {
            let planned = plan_retention(&slices, RetentionPolicy { ms, bytes }, now);
            assert_eq!(
                planned.map(Offset::get),
                expected,
                "{ms:?} {bytes:?} at {now}"
            );
        };
        check(None, None, i64::MAX, None);
        check(Some(500), None, 1500, None);
        check(Some(500), None, 1501, Some(10));
        check(Some(500), None, 2600, Some(20));
        check(Some(0), None, 5000, Some(30));
        check(None, Some(300), 0, None);
        check(None, Some(201), 0, None);
        check(None, Some(200), 0, Some(10));
        check(None, Some(150), 0, Some(10));
        check(None, Some(0), 0, Some(30));
        check(Some(500), Some(150), 2600, Some(20));
        // A clock that starts again at 0.
        check(Some(500), None, 0, None);
        check(Some(i64::MAX), None, i64::MIN, None);
    }

    #[test]
    fn a_topic_that_is_only_compacted_keeps_all() {
        use alloc::collections::BTreeMap;
        let own = BTreeMap::from([("cleanup.policy".into(), "compact".into())]);
        let config = TopicConfig::effective(&own, &crate::config::BrokerDefaults::default());
        assert!(RetentionPolicy::of(&config).keeps_all());
        assert!(!RetentionPolicy::of(&TopicConfig::default()).keeps_all());
    }
}

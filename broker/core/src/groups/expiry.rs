//! Decides when offsets expire, for every kind of group.
//!
//! Source: Kafka's `OffsetExpirationCondition`; KIP-211.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Bound;

use super::messages::Actions;
use super::{Coordinator, limits};
use crate::machine::Now;
use crate::offsets::{Offsets, OffsetsCommand};
use sedge_protocol::coordinator::{OffsetKey, OffsetValue};

impl Coordinator {
    /// Checks a part of all groups for expired offsets. The next part follows a second later, the
    /// next round at the check interval.
    pub(super) fn expire_offsets(&mut self, now: Now, actions: &mut Actions) {
        let from = self
            .expiry_from
            .take()
            .map_or(Bound::Unbounded, Bound::Included);
        let mut ids = self.groups.range::<Arc<str>, _>((from, Bound::Unbounded));
        let part: Vec<Arc<str>> = ids
            .by_ref()
            .take(limits::EXPIRY_GROUPS_PER_TICK)
            .map(|(id, _)| Arc::clone(id))
            .collect();
        self.expiry_from = ids.next().map(|(id, _)| Arc::clone(id));
        let pause = match self.expiry_from {
            Some(_) => 1_000,
            None => self.config.retention_check_interval_ms.max(1_000),
        };
        self.next_expiry = now.monotonic_ms.saturating_add(pause);
        for group_id in part {
            self.expire_group(now, &group_id, actions);
        }
    }

    fn expire_group(&mut self, now: Now, group_id: &str, actions: &mut Actions) {
        let Some(group) = self.groups.get(group_id).map(|entry| &entry.group) else {
            return;
        };
        if self.in_flight.contains_key(group_id) {
            // A commit in flight renews its offset, and the removal would follow it.
            return;
        }
        let retention = self.config.offsets_retention_ms;
        let Some(expiry) = group.expiry() else {
            return;
        };
        let (keys, all) = expiry.expired(now, group_id, &self.offsets, retention);
        if all && group.is_abandoned() {
            self.delete_group(now, group_id, actions);
        } else if !keys.is_empty() {
            actions.append(
                self.plan_offsets(now, OffsetsCommand::Delete { keys })
                    .actions,
            );
        }
    }
}

/// The state that decides when a group's offsets expire.
#[derive(Debug)]
pub struct Expiry {
    /// Topics that the group consumes: their offsets do not expire.
    pub subscribed: BTreeSet<String>,
    /// When the group lost its last member, by the append clock. `None` if it never had members, or
    /// has some.
    pub emptied_ms: Option<i64>,
}

impl Expiry {
    /// Returns the group's expired offsets, and whether the group has no others.
    fn expired(
        &self,
        now: Now,
        group_id: &str,
        offsets: &Offsets,
        retention_ms: i64,
    ) -> (Vec<OffsetKey>, bool) {
        let mut expired = Vec::new();
        let mut all = true;
        for (topic, partition, offset) in offsets.of_group(group_id) {
            if !self.subscribed.contains(topic) && self.is_over(now, offset, retention_ms) {
                expired.push(OffsetKey {
                    group: group_id.to_owned(),
                    topic: topic.to_owned(),
                    partition,
                });
            } else {
                all = false;
            }
        }
        (expired, all)
    }

    /// Returns whether an offset has expired. The age counts from the commit or, if later, from the
    /// time when a group that had members became empty. Both are times of the append clock.
    fn is_over(&self, now: Now, offset: &OffsetValue, retention_ms: i64) -> bool {
        if let Some(expire_ms) = offset.expire_ms {
            return now.append_ms >= expire_ms;
        }
        let since_ms = offset.commit_ms.max(self.emptied_ms.unwrap_or(i64::MIN));
        now.append_ms.saturating_sub(since_ms) >= retention_ms
    }
}

//! Who may commit, and delete, a group's offsets; when they expire.
//!
//! Source: Kafka's `ClassicGroup.validateOffsetCommit`, `validateOffsetDelete`,
//! `offsetExpirationCondition`; KIP-211 (expiry), KIP-496 (deletion).

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Bound;

use sedge_protocol::ErrorCode;

use super::group::{Group, GroupState};
use super::messages::{Actions, Committer};
use super::{Coordinator, limits};
use crate::machine::Now;
use crate::offsets::{Offsets, OffsetsCommand};
use sedge_protocol::coordinator::{OffsetKey, OffsetValue};

impl Coordinator {
    /// A part of a round over all groups; the next part follows a second later, the next round at
    /// the check interval.
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
        let Some(group) = self.groups.get(group_id) else {
            return;
        };
        if self.in_flight.contains_key(group_id) {
            // A commit on its way makes an offset young, and a removal would come behind it.
            return;
        }
        let retention = self.config.offsets_retention_ms;
        let (keys, all) = group.expired_offsets(now, &self.offsets, retention);
        if all && group.is(GroupState::Empty) && group.pending.is_empty() {
            self.delete_group(now, group_id, actions);
        } else if !keys.is_empty() {
            actions.append(
                self.plan_offsets(now, OffsetsCommand::Delete { keys })
                    .actions,
            );
        }
    }
}

impl Group {
    /// A commit from a member counts as a heartbeat.
    pub(super) fn check_commit(
        &mut self,
        now: Now,
        committer: &Committer,
    ) -> Result<(), ErrorCode> {
        let member_id = committer.member_id.as_str();
        let instance_id = committer.group_instance_id.as_deref();
        if committer.generation_id < 0 && self.is(GroupState::Empty) {
            return Ok(());
        }
        let as_member =
            committer.generation_id >= 0 || !member_id.is_empty() || instance_id.is_some();
        if as_member {
            self.validate(member_id, instance_id)?;
            if committer.generation_id != self.generation {
                return Err(ErrorCode::IllegalGeneration);
            }
        } else if !self.is(GroupState::Empty) {
            return Err(ErrorCode::UnknownMemberId);
        }
        if self.is(GroupState::CompletingRebalance) {
            return Err(ErrorCode::RebalanceInProgress);
        }
        if let Some(member) = self.members.get_mut(member_id) {
            member.beat(now.monotonic_ms);
        }
        Ok(())
    }

    pub(super) fn check_offset_delete(&self) -> Result<(), ErrorCode> {
        if self.is(GroupState::Empty) || self.uses_consumer_protocol() {
            Ok(())
        } else {
            Err(ErrorCode::NonEmptyGroup)
        }
    }

    /// The group's offsets whose time is over, and whether those are all it has.
    pub(super) fn expired_offsets(
        &self,
        now: Now,
        offsets: &Offsets,
        retention_ms: i64,
    ) -> (Vec<OffsetKey>, bool) {
        let is_idle = self.protocol_type.is_none() || self.is(GroupState::Empty);
        let subscribed = self.subscribed_topics();
        let is_readable = self.is(GroupState::Stable) && subscribed.is_some();
        if !is_idle && !is_readable {
            return (Vec::new(), false);
        }
        let subscribed = subscribed.unwrap_or_default();
        let mut expired = Vec::new();
        let mut all = true;
        for (topic, partition, offset) in offsets.of_group(&self.id) {
            if !subscribed.contains(topic) && self.is_over(now, offset, retention_ms) {
                expired.push(OffsetKey {
                    group: String::from(&*self.id),
                    topic: topic.to_owned(),
                    partition,
                });
            } else {
                all = false;
            }
        }
        (expired, all)
    }

    /// The age counts from the commit, or from when a group that had members became empty, if that
    /// came later. Both are times of the append clock.
    fn is_over(&self, now: Now, offset: &OffsetValue, retention_ms: i64) -> bool {
        if let Some(expire_ms) = offset.expire_ms {
            return now.append_ms >= expire_ms;
        }
        let had_members = self.protocol_type.is_some() && self.is(GroupState::Empty);
        let emptied_ms = self.state_timestamp_ms.filter(|_| had_members);
        let since_ms = offset.commit_ms.max(emptied_ms.unwrap_or(i64::MIN));
        now.append_ms.saturating_sub(since_ms) >= retention_ms
    }
}

//! Rebalancing a group: preparing, completing, stable. Every transition that affects more than one
//! member.
//!
//! Source: Kafka's `GroupMetadataManager` (`prepareRebalance`, `completeClassicGroupJoin`,
//! `expirePendingSync`).

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use sedge_protocol::ErrorCode;

use super::group::{ClassicGroup, GroupState, JoinTimer, Member};
use crate::groups::config::GroupConfig;
use crate::groups::limits;
use crate::groups::messages::{Actions, Joined, Synced, Token};
use crate::machine::Now;

impl ClassicGroup {
    /// Continues after a member has joined, changed or left: begins a rebalance, or ends the
    /// preparing if no member is missing any more.
    pub fn rebalance_or_complete(&mut self, now: Now, config: &GroupConfig, actions: &mut Actions) {
        if self.is(GroupState::PreparingRebalance) {
            self.maybe_complete_join(now, actions);
        } else {
            self.prepare_rebalance(now, config, actions);
        }
    }

    /// Begins a rebalance from any state but PreparingRebalance.
    pub fn prepare_rebalance(&mut self, now: Now, config: &GroupConfig, actions: &mut Actions) {
        if self.is(GroupState::CompletingRebalance) {
            self.reset_assignments(now, actions);
        }
        self.sync_timer = None;
        self.prepares_from_empty = self.is(GroupState::Empty);
        self.enter(GroupState::PreparingRebalance, now.append_ms);
        if self.prepares_from_empty {
            // KIP-134: more members may be about to start.
            let delay = config.initial_rebalance_delay_ms;
            let remaining = self.rebalance_timeout_ms().saturating_sub(delay);
            let at = now.monotonic_ms.saturating_add(delay);
            self.new_member_added = false;
            self.join_timer = Some(JoinTimer::Initial {
                at,
                delay,
                remaining,
            });
            if delay == 0 {
                self.complete_join(now, actions);
            }
        } else if self.has_all_joined() {
            self.complete_join(now, actions);
        } else {
            self.wait_for_rejoin(now);
        }
    }

    pub fn maybe_complete_join(&mut self, now: Now, actions: &mut Actions) {
        let waits_for_all = self.is(GroupState::PreparingRebalance) && !self.prepares_from_empty;
        if waits_for_all && self.has_all_joined() {
            self.complete_join(now, actions);
        }
    }

    fn wait_for_rejoin(&mut self, now: Now) {
        let wait = self.rebalance_timeout_ms().max(limits::REJOIN_WAIT_MS_MIN);
        let at = now.monotonic_ms.saturating_add(wait);
        self.join_timer = Some(JoinTimer::Rebalance { at });
    }

    /// The join timer is over.
    pub fn expire_join(&mut self, now: Now, config: &GroupConfig, actions: &mut Actions) {
        match self.join_timer {
            Some(JoinTimer::Initial {
                delay, remaining, ..
            }) if self.new_member_added && remaining != 0 => {
                self.new_member_added = false;
                let next = config.initial_rebalance_delay_ms.min(remaining);
                self.join_timer = Some(JoinTimer::Initial {
                    at: now.monotonic_ms.saturating_add(next),
                    delay: next,
                    remaining: remaining.saturating_sub(delay),
                });
            }
            Some(_) => self.complete_join(now, actions),
            None => {}
        }
    }

    /// Ends the preparing: members that did not rejoin are removed (static members stay until their
    /// session ends), the next generation begins, and all waiting members are answered.
    fn complete_join(&mut self, now: Now, actions: &mut Actions) {
        self.join_timer = None;
        let gone: Vec<String> = self
            .members
            .iter()
            .filter(|(_, member)| member.awaiting_join.is_none() && member.instance_id.is_none())
            .map(|(id, _)| id.clone())
            .collect();
        for member_id in gone {
            self.remove(&member_id);
        }
        if !self.members.is_empty() && !self.elect_joined_leader() {
            // Only static members are left, and none has rejoined: wait until one does or all
            // sessions have expired.
            self.prepares_from_empty = false;
            self.wait_for_rejoin(now);
            return;
        }
        self.begin_generation(now, actions);
    }

    fn begin_generation(&mut self, now: Now, actions: &mut Actions) {
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.prepares_from_empty = false;
        self.pending_sync.clear();
        if self.members.is_empty() {
            self.leader = None;
            self.protocol_name = None;
            self.enter(GroupState::Empty, now.append_ms);
            actions.persist.push(self.record());
            return;
        }
        self.protocol_name = self.select_protocol();
        self.enter(GroupState::CompletingRebalance, now.append_ms);
        self.sync_timer = Some(now.monotonic_ms.saturating_add(self.rebalance_timeout_ms()));
        self.pending_sync = self.members.keys().cloned().collect();
        let waiting: Vec<(String, Token)> = self
            .members
            .iter_mut()
            .filter_map(|(id, member)| {
                member.is_new = false;
                member.beat(now.monotonic_ms);
                Some((id.clone(), member.awaiting_join.take()?))
            })
            .collect();
        for (member_id, token) in waiting {
            let joined = self.joined(&member_id);
            actions.join(token, Ok(joined));
        }
    }

    /// Returns the answer to a member of the current generation.
    pub fn joined(&self, member_id: &str) -> Joined {
        let is_leader = self.is_leader(member_id);
        Joined {
            generation_id: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            member_id: member_id.into(),
            members: if is_leader {
                self.joined_members()
            } else {
                Vec::new()
            },
        }
    }

    /// Returns the answer to a member of a stable group.
    pub fn synced(&self, assignment: Bytes) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            assignment,
        }
    }

    /// Applies the leader's assignment: the group is stable, and all waiting members are answered
    /// once that is durable.
    pub fn settle(&mut self, now: Now, assignments: Vec<(String, Bytes)>, actions: &mut Actions) {
        for member in self.members.values_mut() {
            member.assignment = Bytes::new();
        }
        for (member_id, assignment) in assignments {
            if let Some(member) = self.members.get_mut(&member_id) {
                member.assignment = assignment;
            }
        }
        self.enter(GroupState::Stable, now.append_ms);
        actions.persist.push(self.record());
        let mut waiting = Vec::new();
        for member in self.members.values_mut() {
            if let Some(token) = member.awaiting_sync.take() {
                member.beat(now.monotonic_ms);
                waiting.push((token, member.assignment.clone()));
            }
        }
        for (token, assignment) in waiting {
            let synced = self.synced(assignment);
            actions.sync_then(token, Ok(synced));
        }
    }

    /// Discards the assignments because the rebalance begins anew.
    fn reset_assignments(&mut self, now: Now, actions: &mut Actions) {
        for member in self.members.values_mut() {
            member.assignment = Bytes::new();
            if let Some(token) = member.awaiting_sync.take() {
                member.beat(now.monotonic_ms);
                actions.sync(token, Err(ErrorCode::RebalanceInProgress));
            }
        }
        self.pending_sync.clear();
    }

    /// Removes members that never asked for their assignment, and rebalances again (KAFKA-9752).
    pub fn expire_sync(&mut self, now: Now, config: &GroupConfig, actions: &mut Actions) {
        self.sync_timer = None;
        let missing = core::mem::take(&mut self.pending_sync);
        if missing.is_empty() {
            return;
        }
        for member_id in missing {
            if let Some(member) = self.remove(&member_id) {
                dismiss(&member, actions);
            }
        }
        if !self.is(GroupState::PreparingRebalance) && !self.is(GroupState::Empty) {
            self.prepare_rebalance(now, config, actions);
        }
    }

    pub fn note_sync(&mut self, member_id: &str) {
        self.pending_sync.remove(member_id);
        if self.pending_sync.is_empty() {
            self.sync_timer = None;
        }
    }

    /// Removes a member, whatever it waits for, and lets the others continue.
    pub fn expel(
        &mut self,
        member_id: &str,
        now: Now,
        config: &GroupConfig,
        actions: &mut Actions,
    ) {
        let was_pending = self.pending.remove(member_id).is_some();
        let removed = self.remove(member_id);
        let was_member = removed.is_some();
        if let Some(member) = removed {
            dismiss(&member, actions);
        }
        self.go_on_without(was_member, was_pending, now, config, actions);
    }

    /// Completes a removal: starts a rebalance, or ends the current one if only that member was
    /// missing.
    pub fn go_on_without(
        &mut self,
        member_gone: bool,
        pending_gone: bool,
        now: Now,
        config: &GroupConfig,
        actions: &mut Actions,
    ) {
        match self.state {
            GroupState::Stable | GroupState::CompletingRebalance if member_gone => {
                self.prepare_rebalance(now, config, actions);
            }
            GroupState::PreparingRebalance if member_gone || pending_gone => {
                self.maybe_complete_join(now, actions);
            }
            _ => {}
        }
    }
}

/// Answers a removed member's waiting requests, so that a client that is alive after all joins
/// anew.
pub fn dismiss(member: &Member, actions: &mut Actions) {
    if let Some(token) = member.awaiting_join {
        actions.join_refused(token, ErrorCode::UnknownMemberId, "");
    }
    if let Some(token) = member.awaiting_sync {
        actions.sync(token, Err(ErrorCode::UnknownMemberId));
    }
}

//! The group coordinator: which consumers are in which group, who leads, what was assigned, and
//! which offsets they committed. A group is of one kind (`group`); the classic protocol is one
//! (`classic/`).
//!
//! A sans-io state machine, and a [`Shard`](crate::shard::Shard) of the journal: its module says
//! what the caller does with [`Actions`]. The random part of a new member's id is given by the
//! caller.
//!
//! Groups change at once, offsets when they are durable: a group that the disk does not know costs
//! its members a rebalance after a restart, an offset that the disk does not know would be a lie.
//!
//! At start, the end of the restoring begins the sessions of the members that were restored: they
//! live through a restart.
//!
//! **Invariant:** every token given in is answered once, unless its member waits.
//! **Invariant:** `schedule` has an entry for each group with a deadline, at that deadline or
//! before it.
//! **Invariant:** `groups_bytes` is the sum of the groups' `counted_bytes`.
//!
//! What it is not: KIP-848 groups become another kind of group; share groups and transactions have
//! machines of their own. None of them is there yet.

mod classic;
pub mod config;
mod expiry;
mod group;
pub mod limits;
pub mod messages;
mod restore;
mod shard;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use sedge_protocol::ErrorCode;

use crate::machine::{Machine, Now};
use crate::offsets::{self, InFlight, OffsetToCommit, Offsets, OffsetsCommand};
pub use classic::GroupState;
use classic::{ClassicGroup, Joining};
pub use config::GroupConfig;
use group::{Entry, Group};
pub use messages::{
    Actions, Committer, GroupDescription, GroupListing, HeartbeatRequest, JoinRefused, JoinReply,
    JoinRequest, Joined, JoinedMember, LeaveReply, LeaveRequest, LeavingMember, MemberDescription,
    Planned, Protocol, Reply, ReplyBody, SyncReply, SyncRequest, Synced, Token,
};
use sedge_protocol::coordinator::{CoordinatorRecord, OffsetKey};
use sedge_protocol::ids::{Offset, PartitionIndex};

/// For each topic of an OffsetDelete, each partition's result; or the group's error.
pub type OffsetDeleteReply = Result<Vec<Vec<Result<(), ErrorCode>>>, ErrorCode>;

#[derive(Debug)]
pub struct Coordinator {
    config: GroupConfig,
    groups: BTreeMap<Arc<str>, Entry>,
    offsets: Offsets,
    schedule: BTreeSet<(u64, Arc<str>)>,
    /// Records of offsets that were handed out, and are neither durable nor given up: how many of
    /// each group.
    in_flight: BTreeMap<String, usize>,
    in_flight_total: InFlight,
    /// Of all groups, each as it was when it was settled last.
    groups_bytes: usize,
    next_expiry: u64,
    /// Where the round of expiry under way goes on.
    expiry_from: Option<Arc<str>>,
    /// Groups that may have offsets of topics that are gone, and from when they can be looked at.
    with_gone: BTreeMap<String, u64>,
}

impl Coordinator {
    #[must_use]
    pub fn new(config: GroupConfig, now: Now) -> Self {
        let offsets = Offsets::new(config.offset_metadata_bytes_max);
        let next_expiry = now
            .monotonic_ms
            .saturating_add(config.retention_check_interval_ms);
        Self {
            config,
            groups: BTreeMap::new(),
            offsets,
            schedule: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            in_flight_total: InFlight::default(),
            groups_bytes: 0,
            next_expiry,
            expiry_from: None,
            with_gone: BTreeMap::new(),
        }
    }

    // Getters.

    /// The committed offsets, for OffsetFetch. A group that is not there has none, which is no
    /// error.
    #[must_use]
    pub const fn offsets(&self) -> &Offsets {
        &self.offsets
    }

    /// How many groups are in `state`, for metrics.
    #[must_use]
    pub fn count(&self, state: GroupState) -> usize {
        let groups = self.groups.values();
        groups.filter(|entry| entry.group.is(state)).count()
    }

    /// `None`: there is no such group, which is the state `Dead` before version 6 and
    /// `GROUP_ID_NOT_FOUND` from there.
    #[must_use]
    pub fn describe(&self, group_id: &str) -> Option<GroupDescription> {
        self.group(group_id).map(Group::describe)
    }

    /// The groups in one of `states` and of one of `types`, whatever the case; an empty filter lets
    /// all pass.
    #[must_use]
    pub fn list(&self, states: &[String], types: &[String]) -> Vec<GroupListing> {
        let passes = |filter: &[String], value: &str| {
            filter.is_empty()
                || filter
                    .iter()
                    .any(|wanted| wanted.eq_ignore_ascii_case(value))
        };
        let listings = self.groups.values().map(|entry| entry.group.listing());
        listings
            .filter(|group| passes(states, group.state) && passes(types, group.group_type))
            .collect()
    }

    /// When to call [`tick`](Self::tick) next, on the monotonic clock.
    #[must_use]
    pub fn next_deadline(&self) -> u64 {
        let scheduled = self.schedule.first().map_or(u64::MAX, |(at, _)| *at);
        scheduled.min(self.next_expiry)
    }

    // Requests.

    /// JoinGroup. `suffix` makes a new member's id unique: a random UUID.
    pub fn handle_join(
        &mut self,
        now: Now,
        request: JoinRequest,
        token: Token,
        suffix: &str,
    ) -> Actions {
        let mut actions = Actions::default();
        let group_id: Arc<str> = request.group_id.as_str().into();
        if let Err(error) = classic::check_request(&request, &self.config) {
            actions.join_refused(token, error, &request.member_id);
            return actions;
        }
        if !self.groups.contains_key(&group_id) {
            if !request.member_id.is_empty() {
                actions.join_refused(token, ErrorCode::UnknownMemberId, &request.member_id);
                return actions;
            }
            if self.groups.len() >= limits::GROUPS_MAX {
                actions.join_refused(token, ErrorCode::GroupMaxSizeReached, "");
                return actions;
            }
        }
        let known = self.group(&group_id).map(Group::classic);
        let known = known.and_then(|group| group.members.get(&request.member_id));
        let grows = match known {
            Some(member) => request.metadata_bytes() > member.metadata_bytes(),
            None => true,
        };
        if grows && self.groups_bytes + request.metadata_bytes() > limits::GROUPS_BYTES_MAX {
            actions.join_refused(token, ErrorCode::GroupMaxSizeReached, &request.member_id);
            return actions;
        }
        let config = &self.config;
        let new_group = || Entry::new(Group::new(Arc::clone(&group_id), now.append_ms));
        let entry = self
            .groups
            .entry(Arc::clone(&group_id))
            .or_insert_with(new_group);
        Joining {
            now,
            config,
            request,
            token,
            suffix,
        }
        .run(entry.group.classic_mut(), &mut actions);
        self.settle_group(&group_id);
        actions
    }

    /// SyncGroup.
    pub fn handle_sync(&mut self, now: Now, request: SyncRequest, token: Token) -> Actions {
        let mut actions = Actions::default();
        let group_id = request.group_id.clone();
        let bytes: usize = request.assignments.iter().map(|(_, of)| of.len()).sum();
        let others = self.groups_bytes;
        let synced = self.known(&group_id).and_then(|group| {
            let before = group.assignment_bytes();
            if bytes > before && others + bytes - before > limits::GROUPS_BYTES_MAX {
                return Err(ErrorCode::GroupMaxSizeReached);
            }
            group.sync(now, request, token, &mut actions);
            Ok(())
        });
        if let Err(error) = synced {
            actions.sync(token, Err(error));
        }
        self.settle_group(&group_id);
        actions
    }

    /// Heartbeat: known at once, and nothing to write.
    pub fn handle_heartbeat(
        &mut self,
        now: Now,
        request: &HeartbeatRequest,
    ) -> Result<(), ErrorCode> {
        // A deadline that moves on needs no new entry in the schedule.
        self.known(&request.group_id)?.heartbeat(now, request)
    }

    /// LeaveGroup.
    pub fn handle_leave(&mut self, now: Now, request: &LeaveRequest) -> Planned<LeaveReply> {
        let mut actions = Actions::default();
        let config = self.config.clone();
        let reply = self
            .known(&request.group_id)
            .map(|group| group.leave(now, &config, &request.members, &mut actions));
        let reply = match reply {
            // As Kafka does: each member is told, not the group.
            Err(ErrorCode::UnknownMemberId) => {
                let unknown = Err(ErrorCode::UnknownMemberId);
                Ok(request.members.iter().map(|_| unknown).collect())
            }
            reply => reply,
        };
        self.settle_group(&request.group_id);
        Planned { reply, actions }
    }

    /// OffsetCommit: each offset's result, in order. The offsets hold when their records are
    /// [applied](Self::apply).
    pub fn handle_offset_commit(
        &mut self,
        now: Now,
        committer: &Committer,
        offsets: Vec<OffsetToCommit>,
    ) -> Planned<Vec<Result<(), ErrorCode>>> {
        if let Err(error) = self.check_commit(now, committer) {
            return Planned::only(offsets.iter().map(|_| Err(error)).collect());
        }
        let group_id = committer.group_id.clone();
        // What is on its way could be what this commit takes back.
        let is_settled = !self.in_flight.contains_key(&group_id);
        let refresh_ms = limits::COMMIT_REFRESH_MS.min(self.config.offsets_retention_ms / 2);
        let command = OffsetsCommand::Commit {
            group_id,
            offsets,
            refresh_ms: is_settled.then_some(refresh_ms),
            in_flight: self.in_flight_total,
        };
        self.plan_offsets(now, command)
    }

    /// OffsetDelete, for topics that the group does not consume.
    pub fn handle_offset_delete(
        &mut self,
        now: Now,
        group_id: &str,
        topics: &[(String, Vec<i32>)],
    ) -> Planned<OffsetDeleteReply> {
        let Some(group) = self.group(group_id) else {
            return Planned::only(Err(ErrorCode::GroupIdNotFound));
        };
        if let Err(error) = group.check_offset_delete() {
            return Planned::only(Err(error));
        }
        let subscribed = group.subscribed_topics();
        let mut keys = Vec::new();
        let mut results = Vec::new();
        for (topic, partitions) in topics {
            // A group whose subscriptions cannot be read may consume anything.
            let is_subscribed = subscribed
                .as_ref()
                .is_none_or(|topics| topics.contains(topic));
            results.push(
                partitions
                    .iter()
                    .map(|partition| {
                        if is_subscribed {
                            return Err(ErrorCode::GroupSubscribedToTopic);
                        }
                        keys.push(OffsetKey {
                            group: group_id.to_owned(),
                            topic: topic.clone(),
                            partition: PartitionIndex(*partition),
                        });
                        Ok(())
                    })
                    .collect(),
            );
        }
        let Planned { actions, .. } = self.plan_offsets(now, OffsetsCommand::Delete { keys });
        Planned {
            reply: Ok(results),
            actions,
        }
    }

    /// DeleteGroups: each group's result, in order.
    pub fn handle_delete_groups(
        &mut self,
        now: Now,
        group_ids: &[String],
    ) -> Planned<Vec<Result<(), ErrorCode>>> {
        let mut actions = Actions::default();
        let reply = group_ids
            .iter()
            .map(|group_id| match self.group(group_id) {
                None => Err(ErrorCode::GroupIdNotFound),
                Some(group) if !group.is_empty() => Err(ErrorCode::NonEmptyGroup),
                Some(_) => {
                    self.delete_group(now, group_id, &mut actions);
                    Ok(())
                }
            })
            .collect();
        Planned { reply, actions }
    }

    // Time, and what became of the records.

    /// Ends sessions, rebalances and offsets whose time is over.
    pub fn tick(&mut self, now: Now) -> Actions {
        let mut actions = Actions::default();
        let due = |(at, _): &&(u64, Arc<str>)| *at <= now.monotonic_ms;
        let due: Vec<_> = self.schedule.iter().take_while(due).cloned().collect();
        for entry in due {
            self.schedule.remove(&entry);
            let (_, group_id) = entry;
            if let Some(entry) = self.groups.get_mut(&group_id) {
                entry.scheduled_at = None;
                entry.group.tick(now, &self.config, &mut actions);
            }
            self.settle_group(&group_id);
        }
        if now.monotonic_ms >= self.next_expiry {
            self.expire_offsets(now, &mut actions);
        }
        actions
    }

    /// A record is durable. In the order of the log.
    pub fn apply(&mut self, now: Now, record: &CoordinatorRecord) {
        self.offsets.apply(Offset::ZERO, record);
        self.landed(record);
        if let CoordinatorRecord::Offset {
            key,
            value: Some(_),
        } = record
            && !self.groups.contains_key(key.group.as_str())
        {
            // The group went while its commit was on its way.
            let group_id: Arc<str> = key.group.as_str().into();
            let group = Group::new(Arc::clone(&group_id), now.append_ms);
            self.groups.insert(group_id, Entry::new(group));
        }
    }

    /// These records could not be written. Offsets were never taken; groups are offered again until
    /// they are.
    pub fn handle_save_failed(&mut self, now: Now, records: &[CoordinatorRecord]) {
        for record in records {
            self.landed(record);
            self.mark_unremoved(now, record);
            if let CoordinatorRecord::Group {
                group: group_id, ..
            } = record
                && let Some(entry) = self.groups.get_mut(group_id.as_str())
            {
                entry.group.handle_save_failed(now);
                self.settle_group(group_id);
            }
        }
    }

    // Private.

    fn group(&self, group_id: &str) -> Option<&Group> {
        self.groups.get(group_id).map(|entry| &entry.group)
    }

    /// The group that a member of the classic protocol names.
    fn known(&mut self, group_id: &str) -> Result<&mut ClassicGroup, ErrorCode> {
        if group_id.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        self.groups
            .get_mut(group_id)
            .map(|entry| entry.group.classic_mut())
            .ok_or(ErrorCode::UnknownMemberId)
    }

    fn check_commit(&mut self, now: Now, committer: &Committer) -> Result<(), ErrorCode> {
        if let Some(entry) = self.groups.get_mut(committer.group_id.as_str()) {
            return entry.group.check_commit(now, committer);
        }
        if committer.group_id.len() > limits::TEXT_BYTES_MAX {
            return Err(ErrorCode::InvalidGroupId);
        }
        if committer.generation_id >= 0 {
            return Err(if committer.knows_group_id_not_found {
                ErrorCode::GroupIdNotFound
            } else {
                ErrorCode::IllegalGeneration
            });
        }
        if self.groups.len() >= limits::GROUPS_MAX {
            // What a JoinGroup is told by the same bound.
            return Err(ErrorCode::GroupMaxSizeReached);
        }
        // A consumer outside group management, or an administrator: the group only keeps offsets.
        // It comes to be with its first offset.
        Ok(())
    }

    fn plan_offsets(
        &mut self,
        now: Now,
        command: OffsetsCommand,
    ) -> Planned<Vec<Result<(), ErrorCode>>> {
        match self.offsets.plan(now, command) {
            Ok(plan) => {
                for record in &plan.records {
                    self.left(record);
                }
                Planned {
                    reply: plan.reply,
                    actions: Actions::persist(plan.records),
                }
            }
            // The table refuses offsets one by one, never a command.
            Err(_) => Planned::only(Vec::new()),
        }
    }

    /// A record is handed out.
    fn left(&mut self, record: &CoordinatorRecord) {
        if let CoordinatorRecord::Offset { key, value } = record {
            let of_group = self.in_flight.entry(key.group.clone()).or_default();
            *of_group += 1;
            self.in_flight_total.records += 1;
            self.in_flight_total.bytes += offsets::cost_max(key, value.as_ref());
        }
    }

    /// It is durable, or it was given up.
    fn landed(&mut self, record: &CoordinatorRecord) {
        if let CoordinatorRecord::Offset { key, value } = record
            && let Some(of_group) = self.in_flight.get_mut(&key.group)
        {
            *of_group -= 1;
            if *of_group == 0 {
                self.in_flight.remove(&key.group);
            }
            self.in_flight_total.records -= 1;
            self.in_flight_total.bytes -= offsets::cost_max(key, value.as_ref());
        }
    }

    fn delete_group(&mut self, now: Now, group_id: &str, actions: &mut Actions) {
        let command = OffsetsCommand::DeleteGroup {
            group_id: group_id.to_owned(),
        };
        actions.append(self.plan_offsets(now, command).actions);
        actions.persist.push(CoordinatorRecord::Group {
            group: group_id.to_owned(),
            value: None,
        });
        self.forget(group_id);
    }

    fn forget(&mut self, group_id: &str) {
        let Some((id, entry)) = self.groups.remove_entry(group_id) else {
            return;
        };
        self.groups_bytes -= entry.counted_bytes;
        if let Some(at) = entry.scheduled_at {
            self.schedule.remove(&(at, id));
        }
    }

    /// After a step: the schedule follows the group's deadlines, and a group that came to nothing
    /// goes.
    fn settle_group(&mut self, group_id: &str) {
        let Some(entry) = self.groups.get_mut(group_id) else {
            return;
        };
        if entry.group.came_to_nothing() && !self.offsets.has_group(group_id) {
            self.forget(group_id);
            return;
        }
        self.groups_bytes -= entry.counted_bytes;
        entry.counted_bytes = entry.group.bytes();
        self.groups_bytes += entry.counted_bytes;
        let next = entry.group.next_deadline();
        let is_covered = match (next, entry.scheduled_at) {
            (Some(next), Some(scheduled)) => scheduled <= next,
            (None, None) => true,
            _ => false,
        };
        if is_covered {
            return;
        }
        if let Some(at) = entry.scheduled_at.take() {
            self.schedule.remove(&(at, Arc::clone(entry.group.id())));
        }
        if let Some(at) = next {
            entry.scheduled_at = Some(at);
            self.schedule.insert((at, Arc::clone(entry.group.id())));
        }
    }
}

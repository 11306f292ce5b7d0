//! The group coordinator: members and leaders of consumer groups, their assignments, and their
//! committed offsets. A group is of one kind (`group`); the classic protocol is one of them
//! (`classic/`).
//!
//! A sans-io state machine, and a [`Shard`](crate::shard::Shard) of the journal, whose module says
//! what the caller does with [`Actions`]. The caller provides the random part of a new member's id.
//!
//! Groups change at once, offsets when they are durable. If a restart has lost a change of a group,
//! its members rebalance. An offset that a restart would lose must not be acknowledged.
//!
//! If a topic is deleted, its offsets are forgotten, in each group as soon as no commit of the
//! group is on its way.
//!
//! At start, the end of the restore begins the sessions of the restored members: they survive a
//! restart.
//!
//! **Invariant:** every token passed in is answered once, unless its member waits.
//! **Invariant:** `schedule` has an entry for each group with a deadline, at that deadline or
//! before it.
//! **Invariant:** `groups_bytes` is the sum of the groups' `counted_bytes`. The memory of all
//! offsets and of all members is bounded (`OFFSETS_BYTES_MAX`, `GROUPS_BYTES_MAX`).
//!
//! KIP-848 groups will be another kind of group; share groups will have a state machine of their
//! own. Neither exists yet.

mod classic;
pub mod config;
mod expiry;
mod group;
pub mod limits;
pub mod messages;
mod pending;
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
use pending::PendingOffsets;
use sedge_protocol::coordinator::{CoordinatorRecord, OffsetKey};
use sedge_protocol::ids::{Offset, PartitionIndex};

/// The result of each partition of each topic of an OffsetDelete; or the group's error.
pub type OffsetDeleteReply = Result<Vec<Vec<Result<(), ErrorCode>>>, ErrorCode>;

#[derive(Debug)]
pub struct Coordinator {
    config: GroupConfig,
    groups: BTreeMap<Arc<str>, Entry>,
    offsets: Offsets,
    schedule: BTreeSet<(u64, Arc<str>)>,
    /// By group, the number of offset records that were handed out and are neither durable nor
    /// given up.
    in_flight: BTreeMap<String, usize>,
    in_flight_total: InFlight,
    /// The sum over all groups, each as it was when it was last settled.
    groups_bytes: usize,
    next_expiry: u64,
    /// The group with which the current round of expiry continues.
    expiry_from: Option<Arc<str>>,
    /// Groups that may have offsets of deleted topics, with the time from which they can be
    /// examined.
    with_gone: BTreeMap<String, u64>,
    pending: PendingOffsets,
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
            pending: PendingOffsets::new(),
        }
    }

    // Getters.

    /// Returns the committed offsets, for OffsetFetch. A group that does not exist has none, which
    /// is not an error.
    #[must_use]
    pub const fn offsets(&self) -> &Offsets {
        &self.offsets
    }

    /// Returns the number of groups in `state`, for metrics.
    #[must_use]
    pub fn count(&self, state: GroupState) -> usize {
        let groups = self.groups.values();
        groups.filter(|entry| entry.group.is(state)).count()
    }

    /// Describes a group. `None` means that it does not exist: the state `Dead` before version 6
    /// and `GROUP_ID_NOT_FOUND` from there on.
    #[must_use]
    pub fn describe(&self, group_id: &str) -> Option<GroupDescription> {
        self.group(group_id).map(Group::describe)
    }

    /// Returns the groups in one of `states` and of one of `types`, ignoring case; an empty filter
    /// accepts all.
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

    /// Returns when to call [`tick`](Self::tick) next, on the monotonic clock.
    #[must_use]
    pub fn next_deadline(&self) -> u64 {
        let scheduled = self.schedule.first().map_or(u64::MAX, |(at, _)| *at);
        scheduled.min(self.next_expiry)
    }

    // Requests.

    /// Handles JoinGroup. `suffix` makes a new member's id unique: a random UUID.
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

    /// Handles SyncGroup.
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

    /// Handles Heartbeat: the answer is known at once, and nothing is written.
    pub fn handle_heartbeat(
        &mut self,
        now: Now,
        request: &HeartbeatRequest,
    ) -> Result<(), ErrorCode> {
        // A deadline that only moves later needs no new entry in the schedule.
        self.known(&request.group_id)?.heartbeat(now, request)
    }

    /// Handles LeaveGroup.
    pub fn handle_leave(&mut self, now: Now, request: &LeaveRequest) -> Planned<LeaveReply> {
        let mut actions = Actions::default();
        let config = self.config.clone();
        let reply = self
            .known(&request.group_id)
            .map(|group| group.leave(now, &config, &request.members, &mut actions));
        let reply = match reply {
            // As in Kafka, the error is reported for each member, not for the group.
            Err(ErrorCode::UnknownMemberId) => {
                let unknown = Err(ErrorCode::UnknownMemberId);
                Ok(request.members.iter().map(|_| unknown).collect())
            }
            reply => reply,
        };
        self.settle_group(&request.group_id);
        Planned { reply, actions }
    }

    /// Handles OffsetCommit. Returns each offset's result, in order. The offsets are visible when
    /// their records are [applied](Self::apply).
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
        // A commit in flight could have changed the offset that this one repeats.
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

    /// Handles OffsetDelete, for topics that the group does not consume.
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
            // A group whose subscriptions cannot be decoded may consume anything.
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

    /// Handles DeleteGroups. Returns each group's result, in order.
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

    // Time, and outcomes of records.

    /// Ends sessions, rebalances and offsets whose deadline has passed.
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

    /// Applies a durable record. Call it in the order of the log.
    pub fn apply(&mut self, now: Now, record: &CoordinatorRecord) {
        self.offsets.apply(Offset::ZERO, record);
        self.landed(record);
        self.apply_pending(record);
        if let CoordinatorRecord::Offset {
            key,
            value: Some(_),
        } = record
            && !self.groups.contains_key(key.group.as_str())
        {
            // The group was deleted while its commit was in flight.
            let group_id: Arc<str> = key.group.as_str().into();
            let group = Group::new(Arc::clone(&group_id), now.append_ms);
            self.groups.insert(group_id, Entry::new(group));
        }
    }

    /// Handles records that could not be written. Offsets were never applied; groups are retried
    /// until they are written.
    pub fn handle_save_failed(&mut self, now: Now, records: &[CoordinatorRecord]) {
        for record in records {
            self.landed(record);
            self.forget_unwritten(record);
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

    // Private functions.

    fn group(&self, group_id: &str) -> Option<&Group> {
        self.groups.get(group_id).map(|entry| &entry.group)
    }

    /// Returns the group that a member of the classic protocol names.
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
            // The error that a JoinGroup gets for the same bound.
            return Err(ErrorCode::GroupMaxSizeReached);
        }
        // A consumer outside group management, or an administrator: the group only stores offsets,
        // and is created with its first one.
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
            // The table refuses single offsets, never a whole command.
            Err(_) => Planned::only(Vec::new()),
        }
    }

    /// Counts a record that was handed out.
    fn left(&mut self, record: &CoordinatorRecord) {
        if let CoordinatorRecord::Offset { key, value } = record {
            let of_group = self.in_flight.entry(key.group.clone()).or_default();
            *of_group += 1;
            self.in_flight_total.records += 1;
            self.in_flight_total.bytes += offsets::cost_max(key, value.as_ref());
        }
    }

    /// Uncounts a record that became durable or was given up.
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

    /// Settles a group after a step: updates the schedule, and removes a group that has become
    /// empty.
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

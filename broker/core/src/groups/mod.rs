//! The group coordinator: members and leaders of consumer groups, their assignments, and their
//! committed offsets. A group is of one kind (`group`); the classic protocol is one of them
//! (`classic/`), the consumer protocol of KIP-848 another (`consumer/`).
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
//! Share groups will have a state machine of their own, which does not exist yet.

mod assign;
mod classic;
mod commits;
pub mod config;
mod consumer;
mod consumer_requests;
mod embedded;
mod expiry;
mod group;
pub mod limits;
pub mod messages;
mod migration;
mod pending;
mod restore;
mod saves;
mod shard;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use sedge_protocol::ErrorCode;

use crate::machine::{Machine, Now};
use crate::metadata::Image;
use crate::offsets::{InFlight, Offsets, OffsetsCommand};
pub use assign::{Assignment, TopicId};
use classic::{ClassicGroup, Joining};
pub use config::GroupConfig;
pub use consumer::messages::{
    ConsumerBeat, ConsumerGroupDescription, ConsumerHeartbeat, ConsumerMemberDescription, Refused,
};
use group::{Entry, Group};
pub use messages::{
    Actions, Asker, Committer, GroupDescription, GroupListing, HeartbeatRequest, JoinRefused,
    JoinReply, JoinRequest, Joined, JoinedMember, LeaveReply, LeaveRequest, LeavingMember,
    MemberDescription, Planned, Protocol, Reply, ReplyBody, SyncReply, SyncRequest, Synced, Token,
};
use pending::PendingOffsets;
use saves::Unsaved;
use sedge_protocol::coordinator::CoordinatorRecord;
use sedge_protocol::ids::Offset;

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
    unsaved: Unsaved,
    /// Counts the changes of the metadata, so that a group learns that its topics may be others.
    topics_number: u64,
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
            unsaved: Unsaved::default(),
            topics_number: 1,
        }
    }

    // Getters.

    /// Returns the committed offsets, for OffsetFetch. A group that does not exist has none, which
    /// is not an error.
    #[must_use]
    pub const fn offsets(&self) -> &Offsets {
        &self.offsets
    }

    /// Describes a classic group.
    ///
    /// # Errors
    /// `GROUP_ID_NOT_FOUND` (the state `Dead` before version 6): there is no such group, or it is
    /// of the consumer protocol.
    pub fn describe(&self, group_id: &str) -> Result<GroupDescription, Refused> {
        let refused = |why| Refused::new(ErrorCode::GroupIdNotFound, why);
        match self.group(group_id) {
            Some(Group::Classic(group)) => Ok(group.describe()),
            Some(Group::Consumer(_)) => {
                Err(refused(format!("Group {group_id} is not a classic group.")))
            }
            None => Err(refused(format!("Group {group_id} not found."))),
        }
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
        scheduled.min(self.next_expiry).min(self.unsaved.due())
    }

    // Requests.

    /// Handles JoinGroup. `suffix` makes a new member's id unique: a random UUID.
    pub fn handle_join(
        &mut self,
        asker: Asker<'_>,
        request: JoinRequest,
        token: Token,
        suffix: &str,
    ) -> Actions {
        let now = asker.now;
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
        let known = self.group(&group_id).and_then(Group::as_classic);
        let known = known.and_then(|group| group.members.get(&request.member_id));
        let grows = match known {
            Some(member) => request.metadata_bytes() > member.metadata_bytes(),
            None => true,
        };
        if grows && self.groups_bytes + request.metadata_bytes() > limits::GROUPS_BYTES_MAX {
            actions.join_refused(token, ErrorCode::GroupMaxSizeReached, &request.member_id);
            return actions;
        }
        let group = self.group(&group_id);
        if group.is_some_and(|group| group.as_consumer().is_some() && !group.is_empty()) {
            return self.join_consumer(asker, &request, token, suffix);
        }
        let config = &self.config;
        let new_group = || ClassicGroup::new(Arc::clone(&group_id), now.append_ms);
        let entry = self.groups.entry(Arc::clone(&group_id));
        let entry = entry.or_insert_with(|| Entry::new(Group::Classic(new_group())));
        if entry.group.as_consumer().is_some() {
            // An empty group of the consumer protocol is of any kind again.
            actions.persist.extend(entry.group.removals());
            entry.group = Group::Classic(new_group());
        }
        if let Group::Classic(group) = &mut entry.group {
            Joining {
                now,
                config,
                request,
                token,
                suffix,
            }
            .run(group, &mut actions);
        }
        actions.persist.extend(self.save_again_of(&group_id));
        self.settle_group(&group_id);
        actions
    }

    /// Handles SyncGroup.
    pub fn handle_sync(
        &mut self,
        now: Now,
        image: &Image,
        request: SyncRequest,
        token: Token,
    ) -> Actions {
        let mut actions = Actions::default();
        let group_id = request.group_id.clone();
        let bytes: usize = request.assignments.iter().map(|(_, of)| of.len()).sum();
        let others = self.groups_bytes;
        let synced = self.known(&group_id).and_then(|group| {
            let group = match group {
                Group::Classic(group) => group,
                Group::Consumer(group) => {
                    let synced = group.sync_classic(now, image, &request)?;
                    actions.sync_then(token, Ok(synced));
                    return Ok(());
                }
            };
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
        match self.known(&request.group_id)? {
            // A deadline that only moves later needs no new entry in the schedule.
            Group::Classic(group) => group.heartbeat(now, request),
            Group::Consumer(group) => {
                let beat = group.heartbeat_classic(now, request);
                self.settle_group(&request.group_id);
                beat
            }
        }
    }

    /// Handles LeaveGroup.
    pub fn handle_leave(
        &mut self,
        now: Now,
        image: &Image,
        request: &LeaveRequest,
    ) -> Planned<LeaveReply> {
        let mut actions = Actions::default();
        let config = self.config.clone();
        let reply = self.known(&request.group_id).map(|group| match group {
            Group::Classic(group) => group.leave(now, &config, &request.members, &mut actions),
            Group::Consumer(group) => {
                group.leave_classic(image, &request.members, &mut actions.persist)
            }
        });
        let reply = match reply {
            // As in Kafka, the error is reported for each member, not for the group.
            Err(ErrorCode::UnknownMemberId) => {
                let unknown = Err(ErrorCode::UnknownMemberId);
                Ok(request.members.iter().map(|_| unknown).collect())
            }
            reply => reply,
        };
        self.finish_consumer(now, image, &request.group_id, &mut actions);
        self.settle_group(&request.group_id);
        Planned { reply, actions }
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
    pub fn tick(&mut self, now: Now, image: &Image) -> Actions {
        let mut actions = Actions::default();
        let due = |(at, _): &&(u64, Arc<str>)| *at <= now.monotonic_ms;
        let due: Vec<_> = self.schedule.iter().take_while(due).cloned().collect();
        for entry in due {
            self.schedule.remove(&entry);
            let (_, group_id) = entry;
            if let Some(entry) = self.groups.get_mut(&group_id) {
                entry.scheduled_at = None;
                match &mut entry.group {
                    Group::Classic(group) => group.tick(now, &self.config, &mut actions),
                    Group::Consumer(group) => group.tick(now, image, &mut actions.persist),
                }
            }
            self.finish_consumer(now, image, &group_id, &mut actions);
            self.settle_group(&group_id);
        }
        if now.monotonic_ms >= self.next_expiry {
            self.expire_offsets(now, &mut actions);
        }
        actions.persist.extend(self.save_again(now));
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
            self.mark_unsaved(now, record);
        }
    }

    // Private functions.

    fn group(&self, group_id: &str) -> Option<&Group> {
        self.groups.get(group_id).map(|entry| &entry.group)
    }

    /// Returns the group that a member of the classic protocol names.
    fn known(&mut self, group_id: &str) -> Result<&mut Group, ErrorCode> {
        if group_id.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        let entry = self.groups.get_mut(group_id);
        let group = entry.map(|entry| &mut entry.group);
        group.ok_or(ErrorCode::UnknownMemberId)
    }

    fn delete_group(&mut self, now: Now, group_id: &str, actions: &mut Actions) {
        let command = OffsetsCommand::DeleteGroup {
            group_id: group_id.to_owned(),
        };
        actions.append(self.plan_offsets(now, command).actions);
        let removals = self.group(group_id).map(Group::removals);
        actions.persist.extend(removals.unwrap_or_default());
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

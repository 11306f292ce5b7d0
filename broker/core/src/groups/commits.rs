//! The coordinator's requests about committed offsets, and offsets on their way to the log.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use sedge_protocol::ErrorCode;
use sedge_protocol::coordinator::{CoordinatorRecord, OffsetKey};
use sedge_protocol::ids::PartitionIndex;

use super::messages::{Actions, Committer, Planned};
use super::{Coordinator, OffsetDeleteReply, limits};
use crate::machine::{Machine as _, Now};
use crate::offsets::{self, OffsetToCommit, OffsetsCommand};

impl Coordinator {
    /// Handles OffsetCommit. Returns each offset's result, in order. The offsets are visible when
    /// their records are [applied](Self::apply).
    pub fn handle_offset_commit(
        &mut self,
        now: Now,
        committer: &Committer,
        offsets: Vec<OffsetToCommit>,
    ) -> Planned<Vec<Result<(), ErrorCode>>> {
        if let Err(error) = self.check_commit(now, committer, false, &offsets) {
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

    pub(super) fn check_commit(
        &mut self,
        now: Now,
        committer: &Committer,
        is_transactional: bool,
        offsets: &[OffsetToCommit],
    ) -> Result<(), ErrorCode> {
        if let Some(entry) = self.groups.get_mut(committer.group_id.as_str()) {
            let group = &mut entry.group;
            return group.check_commit(now, committer, is_transactional, offsets);
        }
        if committer.group_id.len() > limits::TEXT_BYTES_MAX {
            return Err(ErrorCode::InvalidGroupId);
        }
        if committer.generation_id >= 0 {
            return Err(if committer.knows_member_epochs {
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

    pub(super) fn plan_offsets(
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
    pub(super) fn left(&mut self, record: &CoordinatorRecord) {
        if let CoordinatorRecord::Offset { key, value } = record {
            let of_group = self.in_flight.entry(key.group.clone()).or_default();
            *of_group += 1;
            self.in_flight_total.records += 1;
            self.in_flight_total.bytes += offsets::cost_max(key, value.as_ref());
        }
    }

    /// Uncounts a record that became durable or was given up.
    pub(super) fn landed(&mut self, record: &CoordinatorRecord) {
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
}

//! Decides who may commit and delete a classic group's offsets, and how they age.
//!
//! Source: Kafka's `ClassicGroup.validateOffsetCommit`, `validateOffsetDelete`,
//! `offsetExpirationCondition`; KIP-211 (expiry), KIP-496 (deletion).

use sedge_protocol::ErrorCode;

use super::group::{ClassicGroup, GroupState};
use crate::groups::expiry::Expiry;
use crate::groups::messages::Committer;
use crate::machine::Now;

impl ClassicGroup {
    /// Checks a commit. A member's commit counts as a heartbeat.
    pub fn check_commit(&mut self, now: Now, committer: &Committer) -> Result<(), ErrorCode> {
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

    pub fn check_offset_delete(&self) -> Result<(), ErrorCode> {
        if self.is(GroupState::Empty) || self.uses_consumer_protocol() {
            Ok(())
        } else {
            Err(ErrorCode::NonEmptyGroup)
        }
    }

    /// Returns how the group's offsets age; `None` if they do not age in its current state.
    pub fn expiry(&self) -> Option<Expiry> {
        let is_idle = self.protocol_type.is_none() || self.is(GroupState::Empty);
        let subscribed = self.subscribed_topics();
        let is_readable = self.is(GroupState::Stable) && subscribed.is_some();
        if !is_idle && !is_readable {
            return None;
        }
        let had_members = self.protocol_type.is_some() && self.is(GroupState::Empty);
        Some(Expiry {
            subscribed: subscribed.unwrap_or_default(),
            emptied_ms: self.state_timestamp_ms.filter(|_| had_members),
        })
    }
}

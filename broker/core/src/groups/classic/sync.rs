//! SyncGroup, Heartbeat and LeaveGroup: the requests of a member that has joined.
//!
//! Source: Kafka's `classicGroupSyncToClassicGroup`, `classicGroupHeartbeatToClassicGroup`,
//! `classicGroupLeaveToClassicGroup`.

use alloc::vec::Vec;

use sedge_protocol::ErrorCode;

use super::group::{ClassicGroup, GroupState};
use super::rebalance::dismiss;
use crate::groups::config::GroupConfig;
use crate::groups::limits::GROUP_ASSIGNMENT_BYTES_MAX;
use crate::groups::messages::{Actions, HeartbeatRequest, LeavingMember, SyncRequest, Token};
use crate::machine::Now;

impl ClassicGroup {
    pub fn sync(&mut self, now: Now, request: SyncRequest, token: Token, actions: &mut Actions) {
        if let Err(error) = self.check_sync(&request) {
            actions.sync(token, Err(error));
            return;
        }
        match self.state {
            GroupState::Empty => actions.sync(token, Err(ErrorCode::UnknownMemberId)),
            GroupState::PreparingRebalance => {
                actions.sync(token, Err(ErrorCode::RebalanceInProgress));
            }
            GroupState::CompletingRebalance => {
                self.note_sync(&request.member_id);
                self.wait_for_leader(&request, token, actions);
                if self.is_leader(&request.member_id) {
                    self.settle(now, request.assignments, actions);
                }
            }
            GroupState::Stable => {
                self.note_sync(&request.member_id);
                if let Some(member) = self.members.get_mut(&request.member_id) {
                    member.beat(now.monotonic_ms);
                    let assignment = member.assignment.clone();
                    let synced = self.synced(assignment);
                    actions.sync_then(token, Ok(synced));
                }
            }
        }
    }

    fn check_sync(&self, request: &SyncRequest) -> Result<(), ErrorCode> {
        self.validate(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        let differs =
            |asked: &Option<_>, has: &Option<_>| asked.is_some() && has.is_some() && asked != has;
        if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol_name, &self.protocol_name)
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        let bytes: usize = request
            .assignments
            .iter()
            .map(|(_, bytes)| bytes.len())
            .sum();
        if bytes > GROUP_ASSIGNMENT_BYTES_MAX {
            return Err(ErrorCode::InvalidRequest);
        }
        Ok(())
    }

    fn wait_for_leader(&mut self, request: &SyncRequest, token: Token, actions: &mut Actions) {
        if let Some(member) = self.members.get_mut(&request.member_id)
            && let Some(former) = member.awaiting_sync.replace(token)
        {
            // The client has given up this request and sent a new one.
            actions.sync(former, Err(ErrorCode::RebalanceInProgress));
        }
    }

    pub fn heartbeat(&mut self, now: Now, request: &HeartbeatRequest) -> Result<(), ErrorCode> {
        self.validate(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        if let Some(member) = self.members.get_mut(&request.member_id) {
            member.beat(now.monotonic_ms);
        }
        match self.state {
            GroupState::Empty => Err(ErrorCode::UnknownMemberId),
            GroupState::PreparingRebalance => Err(ErrorCode::RebalanceInProgress),
            GroupState::CompletingRebalance | GroupState::Stable => Ok(()),
        }
    }

    /// Removes members. Returns each one's result, in order; the group continues once for all of
    /// them.
    pub fn leave(
        &mut self,
        now: Now,
        config: &GroupConfig,
        leaving: &[LeavingMember],
        actions: &mut Actions,
    ) -> Vec<Result<(), ErrorCode>> {
        let (mut member_gone, mut pending_gone) = (false, false);
        let results = leaving.iter().map(|one| {
            if self.pending.remove(&one.member_id).is_some() {
                pending_gone = true;
                return Ok(());
            }
            let member_id = self.leaving_id(one)?;
            if let Some(member) = self.remove(&member_id) {
                dismiss(&member, actions);
                member_gone = true;
            }
            Ok(())
        });
        let results = results.collect();
        self.go_on_without(member_gone, pending_gone, now, config, actions);
        results
    }

    /// Returns a member's id; an administrator names a static member by its instance id alone.
    fn leaving_id(&self, leaving: &LeavingMember) -> Result<alloc::string::String, ErrorCode> {
        let instance_id = leaving.group_instance_id.as_deref();
        if leaving.member_id.is_empty() {
            let known = instance_id.and_then(|instance_id| self.static_members.get(instance_id));
            return known.cloned().ok_or(ErrorCode::UnknownMemberId);
        }
        self.validate(&leaving.member_id, instance_id)?;
        Ok(leaving.member_id.clone())
    }
}

//! JoinGroup: decides whether a member may join, under which id, and whether the group rebalances.
//!
//! Source: Kafka's `classicGroupJoinToClassicGroup` and what it calls; KIP-345 (static members),
//! KIP-394 (known member ids), KIP-814 (static leaders skip the assignment).

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;

use bytes::Bytes;
use sedge_protocol::ErrorCode;

use super::group::{ClassicGroup, GroupState, Member, millis};
use crate::groups::config::GroupConfig;
use crate::groups::limits;
use crate::groups::messages::{Actions, JoinRequest, Joined, Token};
use crate::machine::Now;

/// One JoinGroup being processed in its group.
pub struct Joining<'a> {
    pub now: Now,
    pub config: &'a GroupConfig,
    pub request: JoinRequest,
    pub token: Token,
    /// Random text from the caller that makes a new member's id unique.
    pub suffix: &'a str,
}

/// Checks a request as far as this is possible without the group.
pub fn check_request(request: &JoinRequest, config: &GroupConfig) -> Result<(), ErrorCode> {
    if request.group_id.is_empty() || request.group_id.len() > limits::TEXT_BYTES_MAX {
        return Err(ErrorCode::InvalidGroupId);
    }
    let names = request.protocols.iter().map(|offered| &offered.name);
    let texts = [
        &request.member_id,
        &request.client_id,
        &request.protocol_type,
    ];
    let mut texts = texts
        .into_iter()
        .chain(names)
        .chain(&request.group_instance_id);
    if texts.any(|text| text.len() > limits::TEXT_BYTES_MAX) {
        return Err(ErrorCode::InvalidRequest);
    }
    let timeouts = config.min_session_timeout_ms..=config.max_session_timeout_ms;
    if !timeouts.contains(&request.session_timeout_ms) {
        return Err(ErrorCode::InvalidSessionTimeout);
    }
    if request.protocols.len() > limits::MEMBER_PROTOCOLS_MAX
        || request.metadata_bytes() > limits::MEMBER_METADATA_BYTES_MAX
    {
        return Err(ErrorCode::InvalidRequest);
    }
    Ok(())
}

impl Joining<'_> {
    pub fn run(self, group: &mut ClassicGroup, actions: &mut Actions) {
        if !self.accepts(group) {
            group.remove(&self.request.member_id);
            actions.join_refused(self.token, ErrorCode::GroupMaxSizeReached, "");
        } else if !group.supports(&self.request.protocol_type, &self.request.protocols) {
            self.refuse(ErrorCode::InconsistentGroupProtocol, actions);
        } else if self.request.member_id.is_empty() {
            self.join_new(group, actions);
        } else {
            self.join_existing(group, actions);
        }
    }

    fn refuse(&self, error: ErrorCode, actions: &mut Actions) {
        actions.join_refused(self.token, error, &self.request.member_id);
    }

    /// Checks `group.max.size` and the bound on all members' metadata.
    fn accepts(&self, group: &ClassicGroup) -> bool {
        let member = group.members.get(&self.request.member_id);
        let max = self.config.max_size.min(limits::GROUP_MEMBERS_MAX);
        let has_room = match group.state {
            GroupState::Empty => true,
            GroupState::PreparingRebalance => {
                member.is_some_and(|member| member.awaiting_join.is_some())
                    || group.awaiting_join() < max
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                member.is_some() || group.members.len() < max
            }
        };
        has_room && (member.is_some() || group.metadata_bytes() < limits::GROUP_METADATA_BYTES_MAX)
    }

    fn join_new(self, group: &mut ClassicGroup, actions: &mut Actions) {
        let prefix = self
            .request
            .group_instance_id
            .as_deref()
            .unwrap_or(&self.request.client_id);
        let member_id = format!("{prefix}-{}", self.suffix);
        if let Some(instance_id) = self.request.group_instance_id.clone() {
            match group.static_members.get(&instance_id).cloned() {
                Some(old_id) => {
                    self.replace_static(group, &instance_id, &old_id, &member_id, actions);
                }
                None => self.add(group, member_id, actions),
            }
        } else if !self.request.requires_known_member_id {
            self.add(group, member_id, actions);
        } else if group.pending.len() >= limits::GROUP_PENDING_MEMBERS_MAX {
            self.refuse(ErrorCode::GroupMaxSizeReached, actions);
        } else {
            let timeout = millis(self.request.session_timeout_ms);
            group.pending.insert(
                member_id.clone(),
                self.now.monotonic_ms.saturating_add(timeout),
            );
            actions.join_refused(self.token, ErrorCode::MemberIdRequired, &member_id);
        }
    }

    fn join_existing(self, group: &mut ClassicGroup, actions: &mut Actions) {
        let member_id = self.request.member_id.clone();
        if group.pending.contains_key(&member_id) && self.request.group_instance_id.is_none() {
            self.add(group, member_id, actions);
            return;
        }
        let instance_id = self.request.group_instance_id.as_deref();
        if let Err(error) = group.validate(&member_id, instance_id) {
            self.refuse(error, actions);
            return;
        }
        let same = group
            .members
            .get(&member_id)
            .is_some_and(|member| member.protocols == self.request.protocols);
        match group.state {
            // A repeated request: the first answer may have been lost, and nothing changes for the
            // other members.
            GroupState::CompletingRebalance if same => self.answer_again(group, actions),
            // A leader that joins again asks for a rebalance, because its subscription's partitions
            // may have changed.
            GroupState::Stable if same && !group.is_leader(&member_id) => {
                self.answer_again(group, actions);
            }
            GroupState::Empty => self.refuse(ErrorCode::UnknownMemberId, actions),
            _ => self.update(group, actions),
        }
    }

    fn answer_again(self, group: &mut ClassicGroup, actions: &mut Actions) {
        if let Some(member) = group.members.get_mut(&self.request.member_id) {
            member.beat(self.now.monotonic_ms);
        }
        let joined = group.joined(&self.request.member_id);
        actions.join_then(self.token, Ok(joined));
    }

    fn add(self, group: &mut ClassicGroup, member_id: String, actions: &mut Actions) {
        if group.is(GroupState::PreparingRebalance) && group.prepares_from_empty {
            group.new_member_added = true;
        }
        if group.members.is_empty() {
            group.protocol_type = Some(self.request.protocol_type.clone());
        }
        let deadline = self
            .now
            .monotonic_ms
            .saturating_add(limits::NEW_MEMBER_JOIN_TIMEOUT_MS);
        let member = Member {
            instance_id: self.request.group_instance_id,
            client_id: self.request.client_id,
            client_host: self.request.client_host,
            session_timeout_ms: self.request.session_timeout_ms,
            rebalance_timeout_ms: self.request.rebalance_timeout_ms,
            protocols: self.request.protocols,
            assignment: Bytes::new(),
            awaiting_join: Some(self.token),
            awaiting_sync: None,
            is_new: true,
            session_deadline: deadline,
        };
        group.insert(member_id, member);
        group.rebalance_or_complete(self.now, self.config, actions);
    }

    fn update(self, group: &mut ClassicGroup, actions: &mut Actions) {
        let member_id = self.request.member_id.clone();
        let (now, config) = (self.now, self.config);
        self.renew(group, &member_id, actions);
        group.rebalance_or_complete(now, config, actions);
    }

    /// Updates everything that a member may change, and lets the member wait for the rebalance.
    fn renew(self, group: &mut ClassicGroup, member_id: &str, actions: &mut Actions) {
        group.set_protocols(member_id, self.request.protocols);
        let Some(member) = group.members.get_mut(member_id) else {
            return;
        };
        member.session_timeout_ms = self.request.session_timeout_ms;
        member.rebalance_timeout_ms = self.request.rebalance_timeout_ms;
        member.client_id = self.request.client_id;
        member.client_host = self.request.client_host;
        member.beat(self.now.monotonic_ms);
        if let Some(former) = member.awaiting_join.replace(self.token) {
            // The client has given up this request and sent a new one.
            actions.join_refused(former, ErrorCode::RebalanceInProgress, member_id);
        }
    }

    /// KIP-345: a static member returns after a restart. It gets a new id, which fences its former
    /// self.
    fn replace_static(
        self,
        group: &mut ClassicGroup,
        instance_id: &str,
        old_id: &str,
        new_id: &str,
        actions: &mut Actions,
    ) {
        let former_leader = group.leader.clone().unwrap_or_default();
        let (join, sync) = group.replace_static(instance_id, old_id, new_id);
        if let Some(token) = join {
            actions.join_refused(token, ErrorCode::FencedInstanceId, old_id);
        }
        if let Some(token) = sync {
            actions.sync(token, Err(ErrorCode::FencedInstanceId));
        }
        let (now, config, token) = (self.now, self.config, self.token);
        let may_skip = self.request.supports_skipping_assignment;
        self.renew(group, new_id, actions);
        let keeps_protocol = group.protocol_name == group.select_protocol();
        match group.state {
            GroupState::Stable if keeps_protocol => {
                // Nothing changes for the other members, so there is no rebalance.
                if let Some(member) = group.members.get_mut(new_id) {
                    member.awaiting_join = None;
                }
                actions.persist.push(group.record());
                let joined = static_answer(group, new_id, &former_leader, may_skip);
                actions.join_then(token, Ok(joined));
            }
            GroupState::PreparingRebalance => group.maybe_complete_join(now, actions),
            // The leader may have been told the former id, and its assignment would be lost.
            _ => group.prepare_rebalance(now, config, actions),
        }
    }
}

/// KIP-814: the static leader is told that it leads, with all members and nothing to assign. Before
/// version 9 it would then assign, so it is told that its former self leads.
fn static_answer(
    group: &ClassicGroup,
    new_id: &str,
    former_leader: &str,
    may_skip: bool,
) -> Joined {
    let joined = group.joined(new_id);
    if may_skip {
        let skip_assignment = group.is_leader(new_id);
        Joined {
            skip_assignment,
            ..joined
        }
    } else {
        Joined {
            leader: former_leader.to_owned(),
            members: alloc::vec![],
            ..joined
        }
    }
}

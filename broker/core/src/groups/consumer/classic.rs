//! Members of the classic protocol in a group of the consumer protocol. Their JoinGroup is what a
//! heartbeat with all fields is to others, their SyncGroup gets their partitions, and their
//! Heartbeat tells them when to join again.
//!
//! Source: Kafka's `classicGroupJoinToConsumerGroup`, `classicGroupSyncToConsumerGroup`,
//! `classicGroupHeartbeatToConsumerGroup`, `classicGroupLeaveToConsumerGroup`.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use sedge_protocol::ErrorCode;
use sedge_protocol::coordinator::CoordinatorRecord;
use sedge_protocol::coordinator::consumer::ClassicProtocols;

use super::context::Context;
use super::group::ConsumerGroup;
use super::heartbeat::Change;
use super::member::{Member, MemberState};
use super::records::Part;
use crate::groups::embedded::{self, CONSUMER, Subscription};
use crate::groups::messages::{
    HeartbeatRequest, JoinRequest, Joined, LeavingMember, Protocol, SyncRequest, Synced,
};
use crate::machine::Now;
use crate::metadata::Image;

/// Where a joining member comes from.
enum Origin {
    Known,
    New,
    Replaces(String),
}

impl ConsumerGroup {
    /// Handles JoinGroup. `member_id` is the request's, or a new one.
    ///
    /// # Errors
    /// As in a classic group. Nothing has changed then.
    pub fn join_classic(
        &mut self,
        context: Context<'_>,
        request: &JoinRequest,
        member_id: &str,
        persist: &mut Vec<CoordinatorRecord>,
    ) -> Result<Joined, ErrorCode> {
        let first = self.check_protocols(request, member_id)?;
        let subscription = Subscription::read(&first.metadata);
        let subscription = subscription.ok_or(ErrorCode::InconsistentGroupProtocol)?;
        let is_dynamic = request.group_instance_id.is_none();
        if request.member_id.is_empty() && is_dynamic && request.requires_known_member_id {
            self.check_size(context.config)
                .map_err(|refused| refused.code)?;
            return Err(ErrorCode::MemberIdRequired);
        }
        match self.classic_origin(context, request, member_id)? {
            Origin::Known | Origin::New => {}
            Origin::Replaces(former) => self.replace(&former, member_id, persist),
        }
        let owned = subscription.owned(context.image);
        let change = self.subscribe_classic(request, subscription, member_id, persist);
        self.proceed(context, member_id, Some(&owned), change, persist);
        let member = self.members.get_mut(member_id);
        let member = member.ok_or(ErrorCode::UnknownMemberId)?;
        member.beat_classic(context.now.monotonic_ms);
        // Until it has asked for its partitions.
        member.await_classic(context.now.monotonic_ms);
        Ok(Joined {
            generation_id: member.epoch,
            protocol_type: Some(CONSUMER.to_owned()),
            protocol_name: Some(first.name.clone()),
            leader: String::new(),
            skip_assignment: false,
            member_id: member_id.to_owned(),
            members: Vec::new(),
        })
    }

    /// Returns the first protocol of the request.
    fn check_protocols<'a>(
        &self,
        request: &'a JoinRequest,
        member_id: &str,
    ) -> Result<&'a Protocol, ErrorCode> {
        let inconsistent = ErrorCode::InconsistentGroupProtocol;
        let first = request.protocols.first().ok_or(inconsistent)?;
        let others = self.members.iter().filter(|(id, _)| *id != member_id);
        let classic: Vec<&Member> = others
            .map(|(_, member)| member)
            .filter(|member| member.classic.is_some())
            .collect();
        let is_common = |protocol: &Protocol| {
            let mut members = classic.iter();
            members.all(|member| {
                member
                    .protocols()
                    .iter()
                    .any(|(name, _)| *name == protocol.name)
            })
        };
        if request.protocol_type != CONSUMER || !request.protocols.iter().any(is_common) {
            return Err(inconsistent);
        }
        Ok(first)
    }

    fn classic_origin(
        &self,
        context: Context<'_>,
        request: &JoinRequest,
        member_id: &str,
    ) -> Result<Origin, ErrorCode> {
        let check_size = || {
            let checked = self.check_size(context.config);
            checked
                .map(|()| Origin::New)
                .map_err(|refused| refused.code)
        };
        let Some(instance_id) = &request.group_instance_id else {
            return if self.members.contains_key(member_id) {
                Ok(Origin::Known)
            } else {
                check_size()
            };
        };
        let is_new = request.member_id.is_empty();
        match self.static_member(instance_id) {
            None if is_new => check_size(),
            None => Err(ErrorCode::UnknownMemberId),
            Some((id, _)) if is_new => Ok(Origin::Replaces(id.clone())),
            Some((id, _)) if id == member_id => Ok(Origin::Known),
            Some(_) => Err(ErrorCode::FencedInstanceId),
        }
    }

    fn subscribe_classic(
        &mut self,
        request: &JoinRequest,
        subscription: Subscription,
        member_id: &str,
        persist: &mut Vec<CoordinatorRecord>,
    ) -> Change {
        let before = self.members.get(member_id).map(Member::subscribed);
        let (change, former) = self.update(member_id, |member| {
            let change = Change {
                topics: member.topics != subscription.topics,
                regex: member.regex.is_some(),
            };
            member.instance_id.clone_from(&request.group_instance_id);
            member.rack_id = subscription.rack_id.or(member.rack_id.take());
            member.client_id.clone_from(&request.client_id);
            member.client_host.clone_from(&request.client_host);
            member.rebalance_timeout_ms = request.rebalance_timeout_ms;
            member.topics = subscription.topics;
            let protocols = request.protocols.iter();
            member.classic = Some(ClassicProtocols {
                session_timeout_ms: request.session_timeout_ms,
                protocols: protocols
                    .map(|of| (of.name.clone(), of.metadata.to_vec()))
                    .collect(),
            });
            (change, member.regex.take())
        });
        if before != self.members.get(member_id).map(Member::subscribed) {
            persist.push(self.record(Part::Member(member_id.to_owned())));
        }
        self.drop_former(member_id, change, former.as_slice(), persist)
    }

    /// Handles SyncGroup: returns the member's partitions.
    ///
    /// # Errors
    /// The member or its generation is unknown, or it is to join again.
    pub fn sync_classic(
        &mut self,
        now: Now,
        image: &Image,
        request: &SyncRequest,
    ) -> Result<Synced, ErrorCode> {
        let instance_id = request.group_instance_id.as_deref();
        self.check_classic(&request.member_id, instance_id, request.generation_id)?;
        let epoch = self.epoch;
        let member = self.members.get_mut(&request.member_id);
        let member = member.ok_or(ErrorCode::UnknownMemberId)?;
        let (name, metadata) = member.protocols().first().cloned().unwrap_or_default();
        let differs =
            |asked: &Option<String>, has: &str| asked.as_ref().is_some_and(|asked| asked != has);
        if differs(&request.protocol_type, CONSUMER) || differs(&request.protocol_name, &name) {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        if member.epoch < epoch && member.state != MemberState::Unrevoked {
            member.await_again(now.monotonic_ms);
            return Err(ErrorCode::RebalanceInProgress);
        }
        member.rebalance_deadline = None;
        member.beat_classic(now.monotonic_ms);
        let version = Subscription::read(&metadata).map_or(0, |read| read.version);
        Ok(Synced {
            protocol_type: Some(CONSUMER.to_owned()),
            protocol_name: Some(name),
            assignment: embedded::assignment(version, &member.assigned, image),
        })
    }

    /// Handles Heartbeat.
    ///
    /// # Errors
    /// The member or its generation is unknown; `REBALANCE_IN_PROGRESS` if it is to join again:
    /// because the group is at another epoch, because it has to give partitions back, or because
    /// those that it waited for are free.
    pub fn heartbeat_classic(
        &mut self,
        now: Now,
        request: &HeartbeatRequest,
    ) -> Result<(), ErrorCode> {
        let member_id = request.member_id.as_str();
        let instance_id = request.group_instance_id.as_deref();
        self.check_classic(member_id, instance_id, request.generation_id)?;
        let member = self.members.get(member_id);
        let member = member.ok_or(ErrorCode::UnknownMemberId)?;
        let is_to_join = member.epoch < self.epoch
            || match member.state {
                MemberState::Stable => false,
                MemberState::Unrevoked => true,
                MemberState::Unreleased => !self.waits_for_others(member_id, member),
            };
        if let Some(member) = self.members.get_mut(member_id) {
            member.beat_classic(now.monotonic_ms);
            if is_to_join {
                member.await_again(now.monotonic_ms);
                return Err(ErrorCode::RebalanceInProgress);
            }
        }
        Ok(())
    }

    /// Handles LeaveGroup. Returns each member's result, in order.
    pub fn leave_classic(
        &mut self,
        image: &Image,
        leaving: &[LeavingMember],
        persist: &mut Vec<CoordinatorRecord>,
    ) -> Vec<Result<(), ErrorCode>> {
        let mut gone = Vec::new();
        let results = leaving.iter().map(|one| {
            let member_id = self.leaving_classic(one)?;
            if !gone.contains(&member_id) {
                gone.push(member_id);
            }
            Ok(())
        });
        let results = results.collect();
        if !gone.is_empty() {
            self.remove(&gone, image, persist);
        }
        results
    }

    /// Returns the id of a member that leaves by LeaveGroup.
    ///
    /// # Errors
    /// There is no such member of the classic protocol, or another one has its instance id.
    fn leaving_classic(&self, leaving: &LeavingMember) -> Result<String, ErrorCode> {
        let unknown = ErrorCode::UnknownMemberId;
        let instance_id = leaving.group_instance_id.as_deref();
        let owner = instance_id.and_then(|instance_id| self.static_member(instance_id));
        if leaving.member_id.is_empty() {
            // An administrator names a static member, of any protocol, by its instance id alone.
            return owner.map(|(id, _)| id.clone()).ok_or(unknown);
        }
        if instance_id.is_some() {
            let (id, _) = owner.ok_or(unknown)?;
            if *id != leaving.member_id {
                return Err(ErrorCode::FencedInstanceId);
            }
        }
        let member = self.members.get(&leaving.member_id).ok_or(unknown)?;
        member.classic.as_ref().ok_or(unknown)?;
        Ok(leaving.member_id.clone())
    }

    /// Checks that a request comes from a current member of the classic protocol.
    fn check_classic(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<(), ErrorCode> {
        if let Some(instance_id) = instance_id {
            match self.static_member(instance_id) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some((id, _)) if id != member_id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        let member = self.members.get(member_id);
        match member.filter(|member| member.classic.is_some()) {
            None => Err(ErrorCode::UnknownMemberId),
            Some(member) if member.epoch != generation => Err(ErrorCode::IllegalGeneration),
            Some(_) => Ok(()),
        }
    }
}

impl Member {
    /// Begins the session of a member of the classic protocol anew.
    pub fn beat_classic(&mut self, now_ms: u64) {
        let timeout_ms = self
            .classic
            .as_ref()
            .map_or(0, |classic| classic.session_timeout_ms);
        let timeout_ms = u64::try_from(timeout_ms).unwrap_or(0);
        self.session_deadline = now_ms.saturating_add(timeout_ms);
    }

    /// Sets the time until which the member must ask for its partitions, or join again.
    fn await_classic(&mut self, now_ms: u64) {
        let timeout_ms = u64::try_from(self.rebalance_timeout_ms).unwrap_or(0);
        self.rebalance_deadline = Some(now_ms.saturating_add(timeout_ms));
    }

    /// Sets that time, unless the member is awaited already.
    fn await_again(&mut self, now_ms: u64) {
        if self.rebalance_deadline.is_none() {
            self.await_classic(now_ms);
        }
    }
}

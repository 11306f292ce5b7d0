//! Groups that change their protocol.
//!
//! A group without members is of any kind: the first member decides. A group of the classic
//! protocol becomes one of the consumer protocol when the first member of that protocol joins; the
//! others stay, as members of the classic protocol. It becomes a classic group again when the last
//! member of the consumer protocol is gone. `group.consumer.migration.policy` allows both.
//!
//! Source: KIP-848; Kafka's `convertToConsumerGroup`, `convertToClassicGroup`,
//! `validateOnlineUpgrade`, `validateOnlineDowngradeWithFencedMembers`.

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use sedge_protocol::ErrorCode;
use sedge_protocol::coordinator::CoordinatorRecord;
use sedge_protocol::coordinator::consumer::ClassicProtocols;

use super::Coordinator;
use super::assign::Assignment;
use super::classic::{ClassicGroup, GroupState, Member as ClassicMember};
use super::config::GroupConfig;
use super::consumer::messages::Refused;
use super::consumer::{ConsumerGroup, Context, Member};
use super::embedded::{self, CONSUMER, Subscription};
use super::group::Group;
use super::messages::{Actions, Asker, JoinRequest, Protocol, Token};
use crate::machine::Now;
use crate::metadata::Image;

impl Coordinator {
    /// Handles a JoinGroup to a group of the consumer protocol that has members.
    pub(super) fn join_consumer(
        &mut self,
        asker: Asker<'_>,
        request: &JoinRequest,
        token: Token,
        suffix: &str,
    ) -> Actions {
        let mut actions = Actions::default();
        let context = Context {
            now: asker.now,
            config: &self.config,
            image: asker.image,
            topics_number: self.topics_number,
            may_describe: asker.may_describe,
        };
        let entry = self.groups.get_mut(request.group_id.as_str());
        let Some(Group::Consumer(group)) = entry.map(|entry| &mut entry.group) else {
            return actions;
        };
        let member_id = match (request.member_id.as_str(), &request.group_instance_id) {
            ("", Some(prefix)) => format!("{prefix}-{suffix}"),
            ("", None) => format!("{}-{suffix}", request.client_id),
            (id, _) => id.to_owned(),
        };
        match group.join_classic(context, request, &member_id, &mut actions.persist) {
            Ok(joined) => actions.join_then(token, Ok(joined)),
            Err(error) => actions.join_refused(token, error, &member_id),
        }
        self.finish_consumer(asker.now, asker.image, &request.group_id, &mut actions);
        self.settle_group(&request.group_id);
        actions
    }

    /// Ends a step that may have removed members: the group becomes a classic one if it is due, and
    /// what was not written before is written with the step.
    pub(super) fn finish_consumer(
        &mut self,
        now: Now,
        image: &Image,
        group_id: &str,
        actions: &mut Actions,
    ) {
        actions.append(self.downgrade(now, image, group_id));
        actions.persist.extend(self.save_again_of(group_id));
    }

    /// Makes a classic group of a group of the consumer protocol whose members all use the classic
    /// one, if that is allowed, and lets them join again.
    fn downgrade(&mut self, now: Now, image: &Image, group_id: &str) -> Actions {
        let mut actions = Actions::default();
        let entry = self.groups.get_mut(group_id);
        let Some(entry) = entry else { return actions };
        let Group::Consumer(group) = &entry.group else {
            return actions;
        };
        let mut members = group.members.values();
        let is_due = !group.members.is_empty()
            && self.config.migration_policy.downgrades
            && group.members.len() <= self.config.max_size
            && members.all(|member| member.classic.is_some());
        if !is_due {
            return actions;
        }
        actions.persist.extend(group.removals());
        let mut classic = to_classic(now, group, image);
        actions.persist.push(classic.record());
        classic.prepare_rebalance(now, &self.config, &mut actions);
        entry.group = Group::Classic(classic);
        actions
    }
}

/// Makes a group of the consumer protocol of a classic one with members, whose waiting members are
/// told to join again.
///
/// # Errors
/// `GROUP_ID_NOT_FOUND`: it is not allowed, or not possible.
pub fn upgraded(
    now: Now,
    config: &GroupConfig,
    image: &Image,
    group: &ClassicGroup,
) -> Result<ConsumerGroup, Refused> {
    let id = &group.id;
    let refused = |why: &str| {
        let why = format!("Cannot upgrade classic group {id} to consumer group because {why}.");
        Err(Refused::new(ErrorCode::GroupIdNotFound, why))
    };
    if !config.migration_policy.upgrades {
        return refused("online upgrade is disabled");
    }
    if !group.uses_consumer_protocol() {
        return refused("the group does not use the consumer embedded protocol");
    }
    if group.members.len() > config.consumer_max_size {
        return refused("the group size exceeds the consumer group maximum size");
    }
    let protocol = group
        .protocol_name
        .clone()
        .or_else(|| group.select_protocol());
    let mut upgraded = ConsumerGroup::new(Arc::clone(id));
    upgraded.epoch = group.generation.max(1);
    upgraded.target_epoch = upgraded.epoch;
    for (member_id, member) in &group.members {
        let metadata = member.metadata(protocol.as_deref().unwrap_or_default());
        let read = Subscription::read(&metadata).zip(embedded::assigned(&member.assignment, image));
        let Some((subscription, assigned)) = read else {
            return refused(
                "the embedded consumer protocol is malformed or an unsupported custom assignor is \
                 in use",
            );
        };
        let mut of = Member {
            instance_id: member.instance_id.clone(),
            rack_id: subscription.rack_id,
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            topics: subscription.topics,
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            classic: Some(ClassicProtocols {
                session_timeout_ms: member.session_timeout_ms,
                protocols: wire(&member.protocols),
            }),
            epoch: group.generation,
            previous_epoch: group.generation,
            ..Member::default()
        };
        // A member that the leader gave what another one has gets it by the next assignment.
        let assigned: Assignment = assigned
            .iter()
            .filter(|(topic, partition)| !upgraded.is_owned(*topic, *partition))
            .collect();
        of.set_held(assigned, Assignment::new(), group.generation);
        of.beat_classic(now.monotonic_ms);
        upgraded
            .target
            .insert(member_id.clone(), of.assigned.clone());
        upgraded.insert(member_id, of);
    }
    Ok(upgraded)
}

/// Answers the members that wait, so that they join again.
pub fn dismiss_waiting(group: &mut ClassicGroup, actions: &mut Actions) {
    for (member_id, member) in &mut group.members {
        if let Some(token) = member.awaiting_join.take() {
            actions.join_refused(token, ErrorCode::RebalanceInProgress, member_id);
        }
        if let Some(token) = member.awaiting_sync.take() {
            actions.sync(token, Err(ErrorCode::RebalanceInProgress));
        }
    }
}

/// Returns the records of a group that has just been made.
pub fn records(group: &ConsumerGroup) -> Vec<CoordinatorRecord> {
    group.parts().map(|part| group.record(part)).collect()
}

fn wire(protocols: &[Protocol]) -> Vec<(String, Vec<u8>)> {
    let protocols = protocols.iter();
    protocols
        .map(|of| (of.name.clone(), of.metadata.to_vec()))
        .collect()
}

fn to_classic(now: Now, group: &ConsumerGroup, image: &Image) -> ClassicGroup {
    let mut classic = ClassicGroup::new(Arc::clone(&group.id), now.append_ms);
    classic.protocol_type = Some(CONSUMER.to_owned());
    // The epoch of the members, so that those which run are told to join again, and are not fenced.
    let epochs = group.members.values().map(|member| member.epoch);
    classic.generation = epochs.max().unwrap_or(group.epoch);
    for (member_id, member) in &group.members {
        let protocols = member.protocols().iter().map(|(name, metadata)| Protocol {
            name: name.clone(),
            metadata: Bytes::from(metadata.clone()),
        });
        let protocols: Vec<Protocol> = protocols.collect();
        let metadata = protocols.first().map(|first| first.metadata.clone());
        let version = Subscription::read(&metadata.unwrap_or_default());
        let version = version.map_or(0, |read| read.version);
        let timeout_ms = member
            .classic
            .as_ref()
            .map_or(0, |of| of.session_timeout_ms);
        let mut of = ClassicMember {
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            session_timeout_ms: timeout_ms,
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            protocols,
            assignment: embedded::assignment(version, &group.target_of(member_id), image),
            awaiting_join: None,
            awaiting_sync: None,
            is_new: false,
            session_deadline: 0,
        };
        of.beat(now.monotonic_ms);
        classic.insert(member_id.clone(), of);
    }
    classic.protocol_name = classic.select_protocol();
    classic.enter(GroupState::Stable, now.append_ms);
    classic
}

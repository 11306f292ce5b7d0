//! The coordinator's requests about groups of the consumer protocol.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::slice;

use sedge_protocol::ErrorCode;

use super::consumer::messages::{
    ConsumerBeat, ConsumerGroupDescription, ConsumerHeartbeat, Refused,
};
use super::consumer::{
    ConsumerGroup, Context, JOIN_EPOCH, LEAVE_EPOCH, LEAVE_STATIC_EPOCH, check_request,
};
use super::group::{Entry, Group};
use super::messages::{Actions, Asker, Planned};
use super::migration::{self, dismiss_waiting, upgraded};
use super::{Coordinator, limits};

impl Coordinator {
    /// Returns whether groups may use the consumer protocol.
    #[must_use]
    pub const fn has_consumer_protocol(&self) -> bool {
        self.config.has_consumer_protocol
    }

    /// Describes a consumer group.
    ///
    /// # Errors
    /// `GROUP_ID_NOT_FOUND`: there is no such group, or it is of the classic protocol.
    pub fn describe_consumer(&self, group_id: &str) -> Result<ConsumerGroupDescription, Refused> {
        match self.group(group_id) {
            Some(Group::Consumer(group)) => Ok(group.describe(&self.config)),
            Some(Group::Classic(_)) => Err(not_consumer(group_id)),
            None => Err(not_found(group_id)),
        }
    }

    /// Checks who fetches a group's offsets.
    ///
    /// # Errors
    /// The client names a member that does not exist or has another epoch.
    pub fn check_fetch(
        &self,
        group_id: &str,
        member_id: Option<&str>,
        epoch: i32,
    ) -> Result<(), ErrorCode> {
        match self.group(group_id) {
            Some(Group::Consumer(group)) => group.check_fetch(member_id, epoch),
            _ => Ok(()),
        }
    }

    /// Handles ConsumerGroupHeartbeat. `new_id` is the id of a new member that has none: a random
    /// UUID.
    pub fn handle_consumer_heartbeat(
        &mut self,
        asker: Asker<'_>,
        request: &ConsumerHeartbeat,
        new_id: &str,
    ) -> Planned<Result<ConsumerBeat, Refused>> {
        let mut actions = Actions::default();
        let reply = self.consumer_heartbeat(asker, request, new_id, &mut actions);
        self.finish_consumer(asker.now, asker.image, &request.group_id, &mut actions);
        // Otherwise, deadlines have only moved later.
        if !actions.is_empty() {
            self.settle_group(&request.group_id);
        }
        Planned { reply, actions }
    }

    fn consumer_heartbeat(
        &mut self,
        asker: Asker<'_>,
        request: &ConsumerHeartbeat,
        new_id: &str,
        actions: &mut Actions,
    ) -> Result<ConsumerBeat, Refused> {
        check_request(request, &self.config)?;
        if matches!(request.member_epoch, LEAVE_EPOCH | LEAVE_STATIC_EPOCH) {
            return self.leave_consumer(asker, request, actions);
        }
        self.check_room(request)?;
        let member_id = match request.member_id.as_str() {
            "" => new_id,
            id => id,
        };
        let context = Context {
            now: asker.now,
            config: &self.config,
            image: asker.image,
            topics_number: self.topics_number,
            may_describe: asker.may_describe,
        };
        let group_id = request.group_id.as_str();
        let joins = request.member_epoch == JOIN_EPOCH;
        match self.groups.get_mut(group_id).map(|entry| &mut entry.group) {
            Some(Group::Consumer(group)) => {
                group.heartbeat(context, request, member_id, &mut actions.persist)
            }
            Some(Group::Classic(_)) if !joins => Err(not_consumer(group_id)),
            None if !joins => Err(not_found(group_id)),
            None => {
                let id: Arc<str> = group_id.into();
                let mut group = ConsumerGroup::new(Arc::clone(&id));
                let persist = &mut actions.persist;
                let beat = group.heartbeat(context, request, member_id, persist)?;
                self.groups.insert(id, Entry::new(Group::Consumer(group)));
                Ok(beat)
            }
            Some(former) if former.is_abandoned() => {
                // An empty group of the classic protocol is of any kind again.
                let mut group = ConsumerGroup::new(Arc::clone(former.id()));
                let mut persist = former.removals();
                let beat = group.heartbeat(context, request, member_id, &mut persist)?;
                actions.persist.append(&mut persist);
                *former = Group::Consumer(group);
                Ok(beat)
            }
            Some(former) => {
                let Group::Classic(classic) = former else {
                    return Err(not_consumer(group_id));
                };
                let mut group = upgraded(asker.now, &self.config, asker.image, classic)?;
                let mut persist = migration::records(&group);
                let beat = group.heartbeat(context, request, member_id, &mut persist)?;
                dismiss_waiting(classic, actions);
                actions.persist.extend(former.removals());
                actions.persist.append(&mut persist);
                *former = Group::Consumer(group);
                Ok(beat)
            }
        }
    }

    /// Checks that there is room for what a request brings.
    fn check_room(&self, request: &ConsumerHeartbeat) -> Result<(), Refused> {
        let topics = request.topics.iter().flatten().map(String::len);
        let topics = topics.sum::<usize>() + request.regex.as_ref().map_or(0, String::len);
        let bytes = limits::MEMBER_BYTES + topics;
        let joins = request.member_epoch == JOIN_EPOCH;
        let is_new = !self.groups.contains_key(request.group_id.as_str());
        let has_room = self.groups_bytes + bytes <= limits::GROUPS_BYTES_MAX;
        let is_full = joins && is_new && self.groups.len() >= limits::GROUPS_MAX;
        if is_full || !has_room && (joins || topics > 0) {
            let why = "The coordinator has no room for more groups, members or subscriptions.";
            return Err(Refused::new(ErrorCode::GroupMaxSizeReached, why));
        }
        Ok(())
    }

    fn leave_consumer(
        &mut self,
        asker: Asker<'_>,
        request: &ConsumerHeartbeat,
        actions: &mut Actions,
    ) -> Result<ConsumerBeat, Refused> {
        let group_id = request.group_id.as_str();
        let group = match self.groups.get_mut(group_id).map(|entry| &mut entry.group) {
            Some(Group::Consumer(group)) => group,
            Some(Group::Classic(_)) => return Err(not_consumer(group_id)),
            None => return Err(not_found(group_id)),
        };
        let member_id = group.leaving(request)?;
        if request.member_epoch == LEAVE_STATIC_EPOCH {
            group.let_go(&member_id, &mut actions.persist);
        } else {
            group.remove(
                slice::from_ref(&member_id),
                asker.image,
                &mut actions.persist,
            );
        }
        Ok(ConsumerBeat {
            member_id,
            member_epoch: request.member_epoch,
            heartbeat_interval_ms: 0,
            assignment: None,
        })
    }
}

fn not_found(group_id: &str) -> Refused {
    let why = format!("Group {group_id} not found.");
    Refused::new(ErrorCode::GroupIdNotFound, why)
}

fn not_consumer(group_id: &str) -> Refused {
    let why = format!("Group {group_id} is not a consumer group.");
    Refused::new(ErrorCode::GroupIdNotFound, why)
}

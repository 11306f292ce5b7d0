//! ConsumerGroupHeartbeat: a member joins, says what it subscribes to and what it has, and learns
//! what it is to have.
//!
//! Source: Kafka's `consumerGroupHeartbeat` and `throwIfConsumerGroupHeartbeatRequestIsInvalid`.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use sedge_protocol::ErrorCode;
use sedge_protocol::coordinator::CoordinatorRecord;

use super::context::Context;
use super::group::ConsumerGroup;
use super::member::Member;
use super::messages::{ConsumerBeat, ConsumerHeartbeat, Refused};
use super::records::Part;
use super::{JOIN_EPOCH, LEAVE_EPOCH, LEAVE_STATIC_EPOCH, subscription};
use crate::groups::assign::Assignment;
use crate::groups::config::GroupConfig;
use crate::groups::limits;

/// Checks a request as far as this is possible without the group.
///
/// # Errors
/// `INVALID_REQUEST`, `UNSUPPORTED_ASSIGNOR` or `INVALID_REGULAR_EXPRESSION`.
pub fn check_request(request: &ConsumerHeartbeat, config: &GroupConfig) -> Result<(), Refused> {
    let invalid = |why: &str| Err(Refused::new(ErrorCode::InvalidRequest, why));
    let epoch = request.member_epoch;
    let needs_id = request.requires_member_id || epoch > JOIN_EPOCH || epoch == LEAVE_EPOCH;
    if needs_id && request.member_id.trim().is_empty() {
        return invalid("MemberId can't be empty.");
    }
    if request.group_id.trim().is_empty() {
        return invalid("GroupId can't be empty.");
    }
    let is_blank = |text: &Option<String>| text.as_ref().is_some_and(|text| text.trim().is_empty());
    if is_blank(&request.instance_id) {
        return invalid("InstanceId can't be empty.");
    }
    if is_blank(&request.rack_id) {
        return invalid("RackId can't be empty.");
    }
    let texts = [Some(&request.group_id), Some(&request.member_id)];
    let more = [&request.instance_id, &request.rack_id, &request.assignor];
    let mut texts = texts
        .into_iter()
        .flatten()
        .chain(more.into_iter().flatten());
    if texts.any(|text| text.len() > limits::TEXT_BYTES_MAX)
        || request.client_id.len() > limits::TEXT_BYTES_MAX
    {
        return invalid("An id is too long.");
    }
    if epoch == JOIN_EPOCH {
        if request.rebalance_timeout_ms.is_none() {
            return invalid("RebalanceTimeoutMs must be provided in first request.");
        }
        if request.owned.as_ref().is_none_or(|owned| !owned.is_empty()) {
            return invalid("TopicPartitions must be empty when (re-)joining.");
        }
        if request.topics.is_none() && request.regex.is_none() {
            return invalid(
                "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when \
                 (re-)joining.",
            );
        }
    } else if epoch == LEAVE_STATIC_EPOCH && request.instance_id.is_none() {
        return invalid("InstanceId can't be null.");
    } else if epoch < LEAVE_STATIC_EPOCH {
        return invalid("MemberEpoch is invalid.");
    }
    if let Some(name) = &request.assignor
        && !config
            .consumer_assignors
            .iter()
            .any(|known| known.name() == name)
    {
        let known: Vec<&str> = config
            .consumer_assignors
            .iter()
            .map(|known| known.name())
            .collect();
        let why = format!(
            "ServerAssignor {name} is not supported. Supported assignors: {}.",
            known.join(", ")
        );
        return Err(Refused::new(ErrorCode::UnsupportedAssignor, why));
    }
    match request.regex.as_deref().filter(|regex| !regex.is_empty()) {
        Some(regex) => subscription::compile(regex).map(|_| ()),
        None => Ok(()),
    }
}

/// Where a request's member comes from.
enum Origin {
    Known,
    New,
    /// A static member that takes the place of its former self.
    Replaces(String),
}

impl ConsumerGroup {
    /// Handles a request that does not leave. `member_id` is the request's, or a new one.
    ///
    /// # Errors
    /// The member is not known or fenced, its instance id belongs to another member, or the group
    /// is full. Nothing has changed then.
    pub fn heartbeat(
        &mut self,
        context: Context<'_>,
        request: &ConsumerHeartbeat,
        member_id: &str,
        persist: &mut Vec<CoordinatorRecord>,
    ) -> Result<ConsumerBeat, Refused> {
        let is_new = match self.origin(request, member_id, context.config)? {
            Origin::Known => false,
            Origin::New => true,
            Origin::Replaces(former) => {
                self.replace(&former, member_id, persist);
                false
            }
        };
        let change = self.subscribe(request, member_id, is_new, persist);
        let owned = request.owned.as_ref();
        let has_changed = self.proceed(context, member_id, owned, change, persist);
        let timeouts = context.config.timeouts(context.image, &self.id);
        let beat = self.members.get_mut(member_id).map(|member| {
            member.begin_session(context.now.monotonic_ms, timeouts);
            let joins = request.member_epoch == JOIN_EPOCH;
            let shows = joins || request.is_full() || has_changed;
            ConsumerBeat {
                member_id: member_id.to_owned(),
                member_epoch: member.epoch,
                heartbeat_interval_ms: timeouts.heartbeat_ms.cast_signed(),
                assignment: shows.then(|| member.assigned.clone()),
            }
        });
        beat.ok_or_else(|| unknown(member_id, &self.id))
    }

    /// Takes the group, and a member that said that it has `owned`, as far as they get. Returns
    /// whether the member's partitions have changed.
    pub(super) fn proceed(
        &mut self,
        context: Context<'_>,
        member_id: &str,
        owned: Option<&Assignment>,
        change: Change,
        persist: &mut Vec<CoordinatorRecord>,
    ) -> bool {
        let resolved = self.resolve_regexes(context, persist);
        let bumps = self.epoch == 0 || change.topics || resolved;
        self.advance(context, bumps, persist);
        self.assign(context, persist);
        self.reconcile(context, member_id, owned, change.any(), persist)
    }

    fn origin(
        &self,
        request: &ConsumerHeartbeat,
        member_id: &str,
        config: &GroupConfig,
    ) -> Result<Origin, Refused> {
        let joins = request.member_epoch == JOIN_EPOCH;
        let Some(instance_id) = &request.instance_id else {
            return match self.members.get(member_id) {
                Some(member) => check_epoch(member, request).map(|()| Origin::Known),
                None if joins => self.check_size(config).map(|()| Origin::New),
                None => Err(unknown(member_id, &self.id)),
            };
        };
        match self.static_member(instance_id) {
            None if !joins => Err(Refused::new(
                ErrorCode::UnknownMemberId,
                format!("Instance id {instance_id} is unknown."),
            )),
            None if self.members.contains_key(member_id) => Ok(Origin::Known),
            None => self.check_size(config).map(|()| Origin::New),
            Some((id, member)) if joins => {
                if id == member_id && !member.is_away() {
                    // The answer to the same request was lost.
                    return Ok(Origin::Known);
                }
                if !member.is_away() && member.classic.is_none() {
                    return Err(Refused::new(
                        ErrorCode::UnreleasedInstanceId,
                        format!(
                            "Static member {member_id} with instance id {instance_id} cannot join \
                             the group because the instance id is owned by member {id}."
                        ),
                    ));
                }
                Ok(Origin::Replaces(id.clone()))
            }
            Some((id, member)) => {
                check_instance(id, member_id, instance_id)?;
                check_epoch(member, request).map(|()| Origin::Known)
            }
        }
    }

    pub(super) fn check_size(&self, config: &GroupConfig) -> Result<(), Refused> {
        let max = config.consumer_max_size;
        if self.members.len() < max {
            return Ok(());
        }
        let why = format!("The consumer group has reached its maximum capacity of {max} members.");
        Err(Refused::new(ErrorCode::GroupMaxSizeReached, why))
    }

    /// Gives a static member its next id, with all that it had.
    pub(super) fn replace(
        &mut self,
        former: &str,
        member_id: &str,
        persist: &mut Vec<CoordinatorRecord>,
    ) {
        let Some(mut member) = self.take(former) else {
            return;
        };
        let target = self.target.remove(former);
        for part in [Part::Current, Part::Target, Part::Member] {
            persist.push(self.record(part(former.to_owned())));
        }
        member.epoch = JOIN_EPOCH;
        member.previous_epoch = JOIN_EPOCH;
        member.rebalance_deadline = None;
        self.insert(member_id, member);
        self.target
            .extend(target.map(|target| (member_id.to_owned(), target)));
        for part in [Part::Member, Part::Target, Part::Current] {
            persist.push(self.record(part(member_id.to_owned())));
        }
    }

    /// Takes what the request says about the member.
    fn subscribe(
        &mut self,
        request: &ConsumerHeartbeat,
        member_id: &str,
        is_new: bool,
        persist: &mut Vec<CoordinatorRecord>,
    ) -> Change {
        let was = self.members.get(member_id);
        let says_other = was.is_none_or(|member| says_other(request, member));
        if !is_new && !says_other {
            return Change::default();
        }
        let (change, former) = self.update(member_id, |member| {
            let former = member.regex.clone();
            let mut change = Change::default();
            member.client_id.clone_from(&request.client_id);
            member.client_host.clone_from(&request.client_host);
            member.classic = None;
            take_over(request.instance_id.as_ref(), &mut member.instance_id);
            take_over(request.rack_id.as_ref(), &mut member.rack_id);
            take_over(request.assignor.as_ref(), &mut member.assignor);
            if let Some(timeout_ms) = request.rebalance_timeout_ms {
                member.rebalance_timeout_ms = timeout_ms;
            }
            if let Some(topics) = &request.topics {
                let topics: BTreeSet<String> = topics.iter().cloned().collect();
                change.topics = topics != member.topics;
                member.topics = topics;
            }
            if let Some(regex) = &request.regex {
                let regex = Some(regex.clone()).filter(|regex| !regex.is_empty());
                change.regex = regex != member.regex;
                member.regex = regex;
            }
            (change, former)
        });
        persist.push(self.record(Part::Member(member_id.to_owned())));
        self.drop_former(member_id, change, former.as_slice(), persist)
    }

    /// Forgets a member's former regular expression, if it has another one now. Returns what has
    /// changed with that.
    pub(super) fn drop_former(
        &mut self,
        member_id: &str,
        change: Change,
        former: &[String],
        persist: &mut Vec<CoordinatorRecord>,
    ) -> Change {
        if !change.regex {
            return change;
        }
        // The topics of an expression that is resolved are the member's from now on; so is the lack
        // of those of the former one.
        let member = self.members.get(member_id);
        let regex = member.and_then(|member| member.regex.as_ref());
        let is_resolved = regex.is_none_or(|regex| self.regexes.contains_key(regex));
        self.forget_regexes(former, persist);
        Change {
            topics: change.topics || is_resolved,
            regex: true,
        }
    }
}

/// What has changed of a member's subscription.
#[derive(Clone, Copy, Default)]
pub(super) struct Change {
    /// The topics, so far as they are known.
    pub topics: bool,
    pub regex: bool,
}

impl Change {
    const fn any(self) -> bool {
        self.topics || self.regex
    }
}

/// Returns whether the request says anything else than what is known of the member.
fn says_other(request: &ConsumerHeartbeat, member: &Member) -> bool {
    let differs = |said: &Option<String>, known: &Option<String>| said.is_some() && said != known;
    let regex = request.regex.as_deref();
    let topics = request.topics.as_ref().is_some_and(|topics| {
        let topics: BTreeSet<&String> = topics.iter().collect();
        !topics.into_iter().eq(member.topics.iter())
    });
    let timeout_ms = request.rebalance_timeout_ms;
    topics
        || member.classic.is_some()
        || request.client_id != member.client_id
        || request.client_host != member.client_host
        || differs(&request.instance_id, &member.instance_id)
        || differs(&request.rack_id, &member.rack_id)
        || differs(&request.assignor, &member.assignor)
        || regex.is_some_and(|regex| regex != member.regex.as_deref().unwrap_or_default())
        || timeout_ms.is_some_and(|timeout_ms| timeout_ms != member.rebalance_timeout_ms)
}

fn take_over(said: Option<&String>, known: &mut Option<String>) {
    if said.is_some() {
        *known = said.cloned();
    }
}

/// Checks the epoch with which a known member comes. A member whose last answer was lost comes with
/// its epoch before, and may have no more than what it is assigned now.
fn check_epoch(member: &Member, request: &ConsumerHeartbeat) -> Result<(), Refused> {
    let epoch = request.member_epoch;
    if epoch == JOIN_EPOCH || epoch == member.epoch {
        return Ok(());
    }
    let has_less = |owned: &Assignment| {
        owned
            .iter()
            .all(|(id, of)| member.assigned.contains(id, of))
    };
    let is_behind = epoch < member.epoch && epoch == member.previous_epoch;
    if is_behind && request.owned.as_ref().is_some_and(has_less) {
        return Ok(());
    }
    let relation = if epoch > member.epoch {
        "greater"
    } else {
        "smaller"
    };
    Err(Refused::new(
        ErrorCode::FencedMemberEpoch,
        format!(
            "The consumer group member has a {relation} member epoch ({epoch}) than the one known \
             by the group coordinator ({}). The member must abandon all its partitions and rejoin.",
            member.epoch
        ),
    ))
}

/// Checks that an instance id belongs to the member that names it.
pub(super) fn check_instance(
    owner: &str,
    member_id: &str,
    instance_id: &str,
) -> Result<(), Refused> {
    if owner == member_id {
        return Ok(());
    }
    let why = format!(
        "Static member {member_id} with instance id {instance_id} was fenced by member {owner}."
    );
    Err(Refused::new(ErrorCode::FencedInstanceId, why))
}

pub(super) fn unknown(member_id: &str, group_id: &str) -> Refused {
    let why = format!("Member {member_id} is not a member of group {group_id}.");
    Refused::new(ErrorCode::UnknownMemberId, why)
}

//! Reconciling a member: from what it has to what it is to have.
//!
//! A member first gives back what it is no longer to have; it stays in its epoch until it has said
//! so. Then it goes to the epoch of the target assignment, and gets the partitions that belong to
//! nobody. The others follow when their members have given them back.
//!
//! Source: Kafka's `CurrentAssignmentBuilder`.

use alloc::vec::Vec;

use sedge_protocol::coordinator::CoordinatorRecord;

use super::context::Context;
use super::group::ConsumerGroup;
use super::member::{Member, MemberState};
use super::records::Part;
use crate::groups::assign::{Assignment, TopicId};

/// The next step of a member.
struct Next {
    state: MemberState,
    epoch: i32,
    assigned: Assignment,
    to_revoke: Assignment,
}

impl ConsumerGroup {
    /// Takes the next step of a member that said that it has `owned`. `subscribes_anew` is whether
    /// its subscription has just changed. Returns whether its partitions have changed.
    pub(super) fn reconcile(
        &mut self,
        context: Context<'_>,
        member_id: &str,
        owned: Option<&Assignment>,
        subscribes_anew: bool,
        persist: &mut Vec<CoordinatorRecord>,
    ) -> bool {
        let Some(member) = self.members.get(member_id) else {
            return false;
        };
        if !subscribes_anew && member.is_reconciled_to(self.target_epoch) {
            return false;
        }
        let topics = self.topic_ids_of(member, context.image);
        let Some(next) = self.next(member_id, member, owned, subscribes_anew, &topics) else {
            return false;
        };
        let is_same = next.state == member.state
            && next.epoch == member.epoch
            && next.to_revoke == member.to_revoke
            && next.assigned == member.assigned;
        if is_same {
            return false;
        }
        let has_changed = next.assigned != member.assigned;
        self.update(member_id, |member| {
            member.previous_epoch = member.epoch;
            member.epoch = next.epoch;
            member.state = next.state;
            member.set_held(next.assigned, next.to_revoke, next.epoch);
            member.begin_to_revoke(context.now.monotonic_ms);
        });
        persist.push(self.record(Part::Current(member_id.into())));
        has_changed
    }

    fn next(
        &self,
        member_id: &str,
        member: &Member,
        owned: Option<&Assignment>,
        subscribes_anew: bool,
        topics: &[TopicId],
    ) -> Option<Next> {
        let waits = match member.state {
            MemberState::Stable => member.epoch == self.target_epoch,
            MemberState::Unrevoked => has_any(owned, &member.to_revoke),
            MemberState::Unreleased => false,
        };
        if !waits {
            return Some(self.towards_target(member_id, member, owned, topics));
        }
        subscribes_anew
            .then(|| without_others(member, owned, topics))
            .flatten()
    }

    /// Returns the next step towards the target assignment.
    fn towards_target(
        &self,
        member_id: &str,
        member: &Member,
        owned: Option<&Assignment>,
        topics: &[TopicId],
    ) -> Next {
        let target = self.target.get(member_id);
        let target = target.into_iter().flat_map(Assignment::iter);
        // A topic that the member no longer subscribes to counts as gone from the target.
        let target: Assignment = target
            .filter(|(topic, _)| topics.binary_search(topic).is_ok())
            .collect();
        let has = member.assigned.iter();
        let (mut kept, to_revoke): (Vec<_>, Vec<_>) =
            has.partition(|(topic, partition)| target.contains(*topic, *partition));
        let to_revoke: Assignment = to_revoke.into_iter().collect();
        if !to_revoke.is_empty() && has_any(owned, &to_revoke) {
            return Next {
                state: MemberState::Unrevoked,
                epoch: member.epoch,
                assigned: kept.into_iter().collect(),
                to_revoke,
            };
        }
        let mut is_complete = true;
        for (topic, partition) in target.iter() {
            if member.assigned.contains(topic, partition) {
                continue;
            }
            // What the member itself was to give back is free by now.
            let is_free =
                member.to_revoke.contains(topic, partition) || !self.is_owned(topic, partition);
            if is_free {
                kept.push((topic, partition));
            } else {
                is_complete = false;
            }
        }
        Next {
            state: if is_complete {
                MemberState::Stable
            } else {
                MemberState::Unreleased
            },
            epoch: self.target_epoch,
            assigned: kept.into_iter().collect(),
            to_revoke: Assignment::new(),
        }
    }

    /// Returns whether a member waits for partitions that still belong to others.
    pub(super) fn waits_for_others(&self, member_id: &str, member: &Member) -> bool {
        let target = self.target.get(member_id);
        let mut target = target.into_iter().flat_map(Assignment::iter);
        member.state == MemberState::Unreleased
            && target.any(|(topic, partition)| {
                !member.assigned.contains(topic, partition) && self.is_owned(topic, partition)
            })
    }
}

/// Takes away what the member no longer subscribes to; `None` if that is nothing.
fn without_others(member: &Member, owned: Option<&Assignment>, topics: &[TopicId]) -> Option<Next> {
    let has = member.assigned.iter();
    let (kept, gone): (Vec<_>, Vec<_>) =
        has.partition(|(topic, _)| topics.binary_search(topic).is_ok());
    if gone.is_empty() {
        return None;
    }
    let to_revoke: Assignment = member.to_revoke.iter().chain(gone).collect();
    let assigned = kept.into_iter().collect();
    let must_revoke = has_any(owned, &to_revoke);
    Some(Next {
        state: if must_revoke {
            MemberState::Unrevoked
        } else {
            member.state
        },
        epoch: member.epoch,
        assigned,
        to_revoke: if must_revoke {
            to_revoke
        } else {
            member.to_revoke.clone()
        },
    })
}

/// Returns whether the member has any of these partitions, or did not say what it has.
fn has_any(owned: Option<&Assignment>, partitions: &Assignment) -> bool {
    owned.is_none_or(|owned| {
        owned
            .iter()
            .any(|(topic, of)| partitions.contains(topic, of))
    })
}

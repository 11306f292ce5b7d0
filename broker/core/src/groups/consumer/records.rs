//! The records of a group. Each has a part of the group's state, and is made from the state as it
//! is: a part that is no longer there gives a record that removes it.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use sedge_protocol::coordinator::CoordinatorRecord;
use sedge_protocol::coordinator::consumer::{
    ConsumerEpoch, ConsumerRecord, ConsumerState, ResolvedRegex,
};

use super::group::{ConsumerGroup, Resolved};
use super::member::Member;
use crate::groups::assign::Assignment;

/// A part of a group's state that has a record of its own. Parts of members and expressions have
/// their name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Member(String),
    Regex(String),
    Epoch,
    Target(String),
    TargetEpoch,
    Current(String),
}

impl Part {
    /// Returns the part that a record has.
    pub fn of(state: &ConsumerState) -> Self {
        match state {
            ConsumerState::Epoch(_) => Self::Epoch,
            ConsumerState::Member(id, _) => Self::Member(id.clone()),
            ConsumerState::TargetEpoch(_) => Self::TargetEpoch,
            ConsumerState::Target(id, _) => Self::Target(id.clone()),
            ConsumerState::Current(id, _) => Self::Current(id.clone()),
            ConsumerState::Regex(text, _) => Self::Regex(text.clone()),
        }
    }

    /// Returns the record that removes the part.
    pub fn removal(&self, group_id: &str) -> CoordinatorRecord {
        let state = match self {
            Self::Epoch => ConsumerState::Epoch(None),
            Self::Member(id) => ConsumerState::Member(id.clone(), None),
            Self::TargetEpoch => ConsumerState::TargetEpoch(None),
            Self::Target(id) => ConsumerState::Target(id.clone(), None),
            Self::Current(id) => ConsumerState::Current(id.clone(), None),
            Self::Regex(text) => ConsumerState::Regex(text.clone(), None),
        };
        record(group_id, state)
    }
}

fn record(group_id: &str, state: ConsumerState) -> CoordinatorRecord {
    CoordinatorRecord::Consumer(ConsumerRecord {
        group: group_id.to_owned(),
        state,
    })
}

impl ConsumerGroup {
    /// Returns the record of a part, as it is now.
    pub fn record(&self, part: Part) -> CoordinatorRecord {
        let state = match part {
            Part::Epoch => ConsumerState::Epoch(Some(ConsumerEpoch {
                epoch: self.epoch,
                topics_hash: self.topics_hash,
            })),
            Part::TargetEpoch => ConsumerState::TargetEpoch(Some(self.target_epoch)),
            Part::Member(id) => {
                let member = self.members.get(&id).map(Member::subscribed);
                ConsumerState::Member(id, member)
            }
            Part::Target(id) => {
                let target = self.target.get(&id).map(Assignment::to_wire);
                ConsumerState::Target(id, target)
            }
            Part::Current(id) => {
                let current = self.members.get(&id).map(Member::current);
                ConsumerState::Current(id, current)
            }
            Part::Regex(text) => {
                let resolved = self.regexes.get(&text).map(|resolved| ResolvedRegex {
                    topics: resolved.topics.iter().cloned().collect(),
                    version: 0,
                    at_ms: resolved.at_ms,
                });
                ConsumerState::Regex(text, resolved)
            }
        };
        record(&self.id, state)
    }

    /// Returns all parts of the group, in the order in which they are written.
    pub fn parts(&self) -> impl Iterator<Item = Part> + '_ {
        let members = self.members.keys().cloned().map(Part::Member);
        let regexes = self.regexes.keys().cloned().map(Part::Regex);
        let targets = self.target.keys().cloned().map(Part::Target);
        let current = self.members.keys().cloned().map(Part::Current);
        let epoch = core::iter::once(Part::Epoch);
        let target_epoch = core::iter::once(Part::TargetEpoch);
        let parts = members.chain(regexes).chain(epoch);
        parts.chain(targets).chain(target_epoch).chain(current)
    }

    /// Returns the records that remove the group.
    pub fn removals(&self) -> Vec<CoordinatorRecord> {
        let parts: Vec<Part> = self.parts().collect();
        let last_first = parts.into_iter().rev();
        last_first.map(|part| part.removal(&self.id)).collect()
    }

    /// Takes a record found at start. The records of a group come in any order.
    pub fn restore(&mut self, state: &ConsumerState) {
        match state {
            ConsumerState::Epoch(Some(value)) => {
                self.epoch = value.epoch;
                self.topics_hash = value.topics_hash;
            }
            ConsumerState::Epoch(None) => (self.epoch, self.topics_hash) = (0, 0),
            ConsumerState::TargetEpoch(epoch) => self.target_epoch = epoch.unwrap_or(0),
            ConsumerState::Member(id, Some(value)) => {
                self.update(id, |member| member.subscribe(value.clone()));
            }
            ConsumerState::Member(id, None) => {
                self.take(id);
            }
            ConsumerState::Target(id, Some(value)) => {
                self.target.insert(id.clone(), Assignment::from_wire(value));
            }
            ConsumerState::Target(id, None) => {
                self.target.remove(id);
            }
            ConsumerState::Current(id, Some(value)) => {
                self.update(id, |member| member.set_current(value));
            }
            ConsumerState::Current(id, None) => {
                if self.members.contains_key(id) {
                    self.update(id, |member| member.set_current(&<_>::default()));
                }
            }
            ConsumerState::Regex(text, Some(value)) => {
                let topics = value.topics.iter().cloned().collect();
                let at_ms = value.at_ms;
                self.regexes
                    .insert(text.clone(), Resolved { topics, at_ms });
            }
            ConsumerState::Regex(text, None) => {
                self.regexes.remove(text);
            }
        }
    }
}

//! One group of the consumer protocol: its members and its epochs. Other files decide.
//!
//! **Invariant:** a member of `static_members` is a member, under the id noted there.
//! **Invariant:** `owners` counts, for each partition, the members that it belongs to.

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;

use super::member::Member;
use crate::groups::assign::{Assignment, TopicId};

/// The state of a group. Kafka's fifth state, `Dead`, is a group that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsumerGroupState {
    /// No members, possibly committed offsets.
    Empty,
    /// The target assignment is of an earlier epoch.
    Assigning,
    /// Some member does not have what it is to have.
    Reconciling,
    Stable,
}

impl ConsumerGroupState {
    /// Kafka's name of the state.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Stable => "Stable",
        }
    }
}

/// The topics that a regular expression matched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    pub topics: BTreeSet<String>,
    /// When they were found, by the wall clock.
    pub at_ms: i64,
}

#[derive(Clone, Debug)]
pub struct ConsumerGroup {
    pub id: Arc<str>,
    pub epoch: i32,
    /// The hash of the topics at the group's epoch.
    pub topics_hash: i64,
    /// The epoch of the target assignment.
    pub target_epoch: i32,
    pub members: BTreeMap<String, Member>,
    pub static_members: BTreeMap<String, String>,
    /// By member id, what the member is to have.
    pub target: BTreeMap<String, Assignment>,
    pub regexes: BTreeMap<String, Resolved>,
    /// The coordinator's number of the metadata of which the group has the hash.
    pub seen_topics: u64,
    /// The same for the regular expressions.
    pub seen_by_regexes: u64,
    /// When the regular expressions were resolved last, by the monotonic clock.
    pub resolved_at: Option<u64>,
    owners: BTreeMap<(TopicId, i32), u32>,
}

impl ConsumerGroup {
    pub fn new(id: Arc<str>) -> Self {
        Self {
            id,
            epoch: 0,
            topics_hash: 0,
            target_epoch: 0,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            target: BTreeMap::new(),
            regexes: BTreeMap::new(),
            seen_topics: 0,
            seen_by_regexes: 0,
            resolved_at: None,
            owners: BTreeMap::new(),
        }
    }

    pub fn state(&self) -> ConsumerGroupState {
        if self.members.is_empty() {
            return ConsumerGroupState::Empty;
        }
        if self.epoch > self.target_epoch {
            return ConsumerGroupState::Assigning;
        }
        let is_done = |member: &Member| member.is_reconciled_to(self.target_epoch);
        if self.members.values().all(is_done) {
            ConsumerGroupState::Stable
        } else {
            ConsumerGroupState::Reconciling
        }
    }

    /// Returns the member that has the instance id.
    pub fn static_member(&self, instance_id: &str) -> Option<(&String, &Member)> {
        let id = self.static_members.get(instance_id)?;
        self.members.get_key_value(id)
    }

    /// Returns whether the partition belongs to a member.
    pub fn is_owned(&self, topic: TopicId, partition: i32) -> bool {
        self.owners.contains_key(&(topic, partition))
    }

    /// Changes a member with `change`, or inserts it. Returns what `change` returns.
    pub fn update<R>(&mut self, member_id: &str, change: impl FnOnce(&mut Member) -> R) -> R {
        let mut member = self.take(member_id).unwrap_or_default();
        let changed = change(&mut member);
        self.insert(member_id, member);
        changed
    }

    pub fn insert(&mut self, member_id: &str, member: Member) {
        for partition in member.owned() {
            *self.owners.entry(partition).or_default() += 1;
        }
        if let Some(instance_id) = &member.instance_id {
            self.static_members
                .insert(instance_id.clone(), member_id.to_owned());
        }
        self.members.insert(member_id.to_owned(), member);
    }

    /// Removes and returns a member; what it is to have stays.
    pub fn take(&mut self, member_id: &str) -> Option<Member> {
        let member = self.members.remove(member_id)?;
        for partition in member.owned() {
            if let Some(count) = self.owners.get_mut(&partition) {
                *count -= 1;
                if *count == 0 {
                    self.owners.remove(&partition);
                }
            }
        }
        if let Some(instance_id) = &member.instance_id
            && self.static_members.get(instance_id).map(String::as_str) == Some(member_id)
        {
            self.static_members.remove(instance_id);
        }
        Some(member)
    }

    /// Returns what the member is to have.
    pub fn target_of(&self, member_id: &str) -> Assignment {
        self.target.get(member_id).cloned().unwrap_or_default()
    }

    /// Returns the bytes that the members hold, as
    /// [`GROUPS_BYTES_MAX`](crate::groups::limits::GROUPS_BYTES_MAX) counts.
    pub fn bytes(&self) -> usize {
        let members = self.members.iter().map(|(id, member)| {
            let target = self.target.get(id).map_or(0, Assignment::len);
            id.len() + member.bytes(target)
        });
        let regexes = self.regexes.iter().map(|(regex, resolved)| {
            let topics = resolved.topics.iter().map(|topic| 40 + topic.len());
            regex.len() + topics.sum::<usize>()
        });
        members.sum::<usize>() + regexes.sum::<usize>()
    }

    /// When the group next needs a tick.
    pub fn next_deadline(&self) -> Option<u64> {
        let members = self.members.values();
        members.flat_map(Member::deadlines).min()
    }

    /// Returns the largest count of members that a partition belongs to.
    #[cfg(test)]
    pub fn owners_max(&self) -> u32 {
        self.owners.values().copied().max().unwrap_or(0)
    }
}

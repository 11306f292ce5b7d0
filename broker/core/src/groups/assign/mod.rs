//! Assignors: how the partitions of topics are distributed over the members of a group.
//!
//! | module | assignor |
//! | --- | --- |
//! | `uniform` | all members have equally many partitions, as far as their subscriptions allow it |
//! | `range` | of each topic, all subscribers have equally many partitions |
//!
//! Both keep what members have, as far as the balance allows it.
//!
//! **Invariant:** each partition of a topic that somebody subscribes to is assigned to one
//! subscriber (`tests.rs`).
//! **Invariant:** an assignment depends on the input alone, and assigning again changes nothing.

mod assignment;
mod range;
#[cfg(test)]
mod tests;
mod uniform;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

pub use assignment::{Assignment, TopicId};

/// A server-side assignor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignor {
    Uniform,
    Range,
}

impl Assignor {
    pub const ALL: [Self; 2] = [Self::Uniform, Self::Range];

    /// Kafka's name of the assignor.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    /// The name of Kafka's class.
    #[must_use]
    pub const fn class(self) -> &'static str {
        match self {
            Self::Uniform => "UniformAssignor",
            Self::Range => "RangeAssignor",
        }
    }

    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// Assigns all partitions of `topics`. Returns the assignments in the order of the members.
    #[must_use]
    pub fn assign(self, members: &[Candidate<'_>], topics: &Topics) -> Vec<Assignment> {
        let mut subscribers: BTreeMap<TopicId, Vec<usize>> = BTreeMap::new();
        for (number, member) in members.iter().enumerate() {
            let known = member.topics.iter().filter(|id| topics.contains_key(*id));
            for id in known {
                subscribers.entry(*id).or_default().push(number);
            }
        }
        match self {
            Self::Uniform => uniform::assign(members, topics, &subscribers),
            Self::Range => range::assign(members, topics, &subscribers),
        }
    }
}

/// The number of partitions of each topic.
pub type Topics = BTreeMap<TopicId, i32>;

/// A member, as an assignor sees it.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// The topics that the member subscribes to, each once.
    pub topics: Vec<TopicId>,
    /// What the member was assigned before.
    pub had: &'a Assignment,
}

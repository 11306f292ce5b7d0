//! A member of a group of the consumer protocol.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use sedge_protocol::coordinator::consumer::{
    ClassicProtocols, ConsumerMember, CurrentAssignment, HeldPartitions,
};

use super::LEAVE_STATIC_EPOCH;
use crate::groups::assign::{Assignment, TopicId};
use crate::groups::config::Timeouts;
use crate::groups::limits::MEMBER_BYTES;

/// How far a member is on its way to the target assignment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemberState {
    /// The member has what it is to have at its epoch.
    #[default]
    Stable,
    /// The member has yet to give partitions back.
    Unrevoked,
    /// The member waits for partitions that others have yet to give back.
    Unreleased,
}

impl MemberState {
    /// Kafka's number of the state.
    const fn number(self) -> i8 {
        match self {
            Self::Stable => 0,
            Self::Unrevoked => 1,
            Self::Unreleased => 2,
        }
    }

    /// An unknown number is of a later version; the member is then reconciled again.
    const fn numbered(number: i8) -> Self {
        match number {
            0 => Self::Stable,
            1 => Self::Unrevoked,
            _ => Self::Unreleased,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Member {
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    /// The names of topics that the member subscribes to.
    pub topics: BTreeSet<String>,
    /// A regular expression that the member subscribes to; never empty.
    pub regex: Option<String>,
    pub rebalance_timeout_ms: i32,
    pub assignor: Option<String>,
    /// What a member of the classic protocol has besides.
    pub classic: Option<ClassicProtocols>,

    pub epoch: i32,
    /// The epoch before, with which a member may come whose answer was lost.
    pub previous_epoch: i32,
    pub state: MemberState,
    pub assigned: Assignment,
    pub to_revoke: Assignment,
    /// The epoch at which each of these was assigned to the member (KIP-1251).
    pub epochs: BTreeMap<(TopicId, i32), i32>,

    /// When the session expires.
    pub session_deadline: u64,
    /// When the member must have given back what it is to give back.
    pub rebalance_deadline: Option<u64>,
}

impl Member {
    /// Returns the record of the member, and what it subscribes to.
    pub fn subscribed(&self) -> ConsumerMember {
        ConsumerMember {
            instance_id: self.instance_id.clone(),
            rack_id: self.rack_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            topics: self.topics.iter().cloned().collect(),
            regex: self.regex.clone(),
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            assignor: self.assignor.clone(),
            classic: self.classic.clone(),
        }
    }

    /// Takes such a record.
    pub fn subscribe(&mut self, value: ConsumerMember) {
        self.instance_id = value.instance_id;
        self.rack_id = value.rack_id;
        self.client_id = value.client_id;
        self.client_host = value.client_host;
        self.topics = value.topics.into_iter().collect();
        self.regex = value.regex.filter(|regex| !regex.is_empty());
        self.rebalance_timeout_ms = value.rebalance_timeout_ms;
        self.assignor = value.assignor;
        self.classic = value.classic;
    }

    /// Returns the record of what the member has.
    pub fn current(&self) -> CurrentAssignment {
        CurrentAssignment {
            epoch: self.epoch,
            previous_epoch: self.previous_epoch,
            state: self.state.number(),
            assigned: self.held(&self.assigned),
            to_revoke: self.held(&self.to_revoke),
        }
    }

    /// Takes such a record.
    pub fn set_current(&mut self, value: &CurrentAssignment) {
        self.epoch = value.epoch;
        self.previous_epoch = value.previous_epoch;
        self.state = MemberState::numbered(value.state);
        self.epochs = BTreeMap::new();
        self.assigned = self.hold(&value.assigned);
        self.to_revoke = self.hold(&value.to_revoke);
    }

    fn held(&self, partitions: &Assignment) -> HeldPartitions {
        let topics = partitions.topics().map(|topic| {
            let partitions = partitions.of_topic(topic);
            let partitions = partitions.map(|of| (of, self.epoch_of(topic, of).unwrap_or(0)));
            (topic.into(), partitions.collect())
        });
        topics.collect()
    }

    fn hold(&mut self, topics: &HeldPartitions) -> Assignment {
        let mut partitions = Assignment::new();
        for (id, of_topic) in topics {
            for (partition, epoch) in of_topic {
                partitions.insert((*id).into(), *partition);
                self.epochs.insert(((*id).into(), *partition), *epoch);
            }
        }
        partitions
    }

    /// Returns the epoch at which a partition was assigned to the member; `None` if the member does
    /// not have it.
    pub fn epoch_of(&self, topic: TopicId, partition: i32) -> Option<i32> {
        self.epochs.get(&(topic, partition)).copied()
    }

    /// Sets what the member has and must give back; what is new was assigned at `epoch`.
    pub fn set_held(&mut self, assigned: Assignment, to_revoke: Assignment, epoch: i32) {
        let kept = |topic, partition| self.assigned.contains(topic, partition);
        let gained = assigned.iter().map(|(topic, partition)| {
            let since = self.epoch_of(topic, partition);
            let since = since.filter(|_| kept(topic, partition)).unwrap_or(epoch);
            ((topic, partition), since)
        });
        let left = to_revoke.iter().map(|(topic, partition)| {
            let since = self.epoch_of(topic, partition).unwrap_or(epoch);
            ((topic, partition), since)
        });
        let epochs = gained.chain(left).collect();
        self.epochs = epochs;
        self.assigned = assigned;
        self.to_revoke = to_revoke;
    }

    pub fn begin_session(&mut self, now_ms: u64, timeouts: Timeouts) {
        self.session_deadline = now_ms.saturating_add(u64::from(timeouts.session_ms));
    }

    /// Sets or clears the time until which the member must have given back what it is to give back.
    pub fn begin_to_revoke(&mut self, now_ms: u64) {
        // A member of the classic protocol has a time to join instead.
        let is_awaited = self.state == MemberState::Unrevoked && self.classic.is_none();
        let timeout_ms = u64::try_from(self.rebalance_timeout_ms).unwrap_or(0);
        self.rebalance_deadline = is_awaited.then(|| now_ms.saturating_add(timeout_ms));
    }

    pub fn is_reconciled_to(&self, epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == epoch
    }

    /// Returns whether the member is a static one that has left and will come back.
    pub const fn is_away(&self) -> bool {
        self.epoch == LEAVE_STATIC_EPOCH
    }

    /// Returns all that belongs to the member.
    pub fn owned(&self) -> impl Iterator<Item = (TopicId, i32)> + '_ {
        self.assigned.iter().chain(self.to_revoke.iter())
    }

    /// Returns the times at which the member is removed, unless it does what it is to do.
    pub fn deadlines(&self) -> impl Iterator<Item = u64> + use<> {
        core::iter::once(self.session_deadline).chain(self.rebalance_deadline)
    }

    /// Returns the bytes that the member holds; `target` is what it is to have.
    pub fn bytes(&self, target: usize) -> usize {
        /// Bytes of a partition in a set.
        const PARTITION_BYTES: usize = 12;
        /// The same, with its epoch.
        const HELD_BYTES: usize = 48;
        /// Bytes of a name in a set, besides its text.
        const NAME_BYTES: usize = 40;
        let partitions = target * PARTITION_BYTES + self.epochs.len() * HELD_BYTES;
        let names: usize = self.topics.iter().map(|name| NAME_BYTES + name.len()).sum();
        let texts = [
            &self.instance_id,
            &self.rack_id,
            &self.regex,
            &self.assignor,
        ];
        let texts = texts.into_iter().flatten().map(String::len).sum::<usize>();
        let classic = self.classic.iter().flat_map(|classic| &classic.protocols);
        let classic: usize = classic
            .map(|(name, of)| NAME_BYTES + name.len() + of.len())
            .sum();
        let client = self.client_id.len() + self.client_host.len();
        MEMBER_BYTES + partitions + names + texts + classic + client
    }

    /// Returns the member's protocols of the classic protocol.
    pub fn protocols(&self) -> &[(String, Vec<u8>)] {
        self.classic
            .as_ref()
            .map_or(&[], |classic| &classic.protocols)
    }
}

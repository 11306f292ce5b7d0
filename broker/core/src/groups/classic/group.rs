//! One group of the classic protocol: its members and its state. Other files decide on timers and
//! the wording of replies.
//!
//! **Invariant:** a group with members has a leader, and the leader is a member.
//! **Invariant:** `supported` counts, for each protocol name, the members that offer it.
//! **Invariant:** a member of `static_members` is a member, under the id noted there.
//! Source: Kafka's `ClassicGroup`.

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use sedge_protocol::ErrorCode;

use crate::groups::embedded::{self, CONSUMER};
use crate::groups::limits::MEMBER_BYTES;
use crate::groups::messages::{JoinedMember, Protocol, Token};
use crate::machine::Now;
use sedge_protocol::coordinator::{CoordinatorRecord, GroupMember, GroupValue};

/// The state of a group. Kafka's fifth state, `Dead`, is a group that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    /// No members, possibly committed offsets.
    Empty,
    /// Waiting for the members to join again.
    PreparingRebalance,
    /// Waiting for the leader's assignment.
    CompletingRebalance,
    Stable,
}

impl GroupState {
    /// Kafka's name of the state.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

#[derive(Debug)]
pub struct Member {
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout_ms: i32,
    pub rebalance_timeout_ms: i32,
    pub protocols: Vec<Protocol>,
    pub assignment: Bytes,
    /// The JoinGroup that waits for the rebalance, if any.
    pub awaiting_join: Option<Token>,
    /// The SyncGroup that waits for the leader, if any.
    pub awaiting_sync: Option<Token>,
    /// The member has not had its first answer yet, so it cannot send heartbeats.
    pub is_new: bool,
    /// When the member's session expires.
    pub session_deadline: u64,
}

impl Member {
    pub fn metadata(&self, protocol: &str) -> Bytes {
        let found = self
            .protocols
            .iter()
            .find(|offered| offered.name == protocol);
        found
            .map(|offered| offered.metadata.clone())
            .unwrap_or_default()
    }

    pub fn metadata_bytes(&self) -> usize {
        self.protocols
            .iter()
            .map(|offered| offered.metadata.len())
            .sum()
    }

    /// Returns whether the member's session may expire. A member that waits for the group is alive,
    /// but a new one is still bounded by its join timeout.
    pub fn may_expire(&self) -> bool {
        self.is_new || (self.awaiting_join.is_none() && self.awaiting_sync.is_none())
    }

    pub fn beat(&mut self, now: u64) {
        self.session_deadline = now.saturating_add(millis(self.session_timeout_ms));
    }
}

/// The condition that ends the preparing of a rebalance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinTimer {
    /// KIP-134: the first rebalance of an empty group waits a little for more members, as long as
    /// more come.
    Initial { at: u64, delay: u64, remaining: u64 },
    /// When all members have joined, or at the rebalance timeout.
    Rebalance { at: u64 },
}

impl JoinTimer {
    pub const fn at(self) -> u64 {
        match self {
            Self::Initial { at, .. } | Self::Rebalance { at } => at,
        }
    }
}

#[derive(Debug)]
pub struct ClassicGroup {
    pub id: Arc<str>,
    pub state: GroupState,
    /// When the group entered its state, by the append clock.
    pub state_timestamp_ms: Option<i64>,
    pub protocol_type: Option<String>,
    pub protocol_name: Option<String>,
    pub generation: i32,
    pub leader: Option<String>,
    pub members: BTreeMap<String, Member>,
    pub static_members: BTreeMap<String, String>,
    /// KIP-394: ids that were handed out and not used yet, with their deadlines.
    pub pending: BTreeMap<String, u64>,
    /// Members that have not asked for their assignment in this generation.
    pub pending_sync: BTreeSet<String>,
    pub join_timer: Option<JoinTimer>,
    pub sync_timer: Option<u64>,
    /// When to retry writing the record that could not be written.
    pub save_at: Option<u64>,
    /// A member joined while the first rebalance waited.
    pub new_member_added: bool,
    /// The current rebalance began in the state Empty.
    pub prepares_from_empty: bool,
    supported: BTreeMap<String, usize>,
}

impl ClassicGroup {
    pub fn new(id: Arc<str>, append_ms: i64) -> Self {
        Self {
            id,
            state: GroupState::Empty,
            state_timestamp_ms: Some(append_ms),
            protocol_type: None,
            protocol_name: None,
            generation: 0,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending: BTreeMap::new(),
            pending_sync: BTreeSet::new(),
            join_timer: None,
            sync_timer: None,
            save_at: None,
            new_member_added: false,
            prepares_from_empty: false,
            supported: BTreeMap::new(),
        }
    }

    /// Restores the group from its record: stable if it has members, whose sessions begin anew at
    /// `now`.
    pub fn restored(id: Arc<str>, metadata: &GroupValue, now: Now) -> Self {
        let mut group = Self::new(id, 0);
        // A version that wrote the wall clock may have been ahead of the append clock.
        group.state_timestamp_ms = metadata
            .state_ms
            .map(|state_ms| state_ms.min(now.append_ms));
        group.protocol_type = Some(metadata.protocol_type.clone()).filter(|name| !name.is_empty());
        group.protocol_name.clone_from(&metadata.protocol);
        group.generation = metadata.generation;
        for member in &metadata.members {
            let restored = restored_member(metadata, member, now.monotonic_ms);
            group.insert(member.id.clone(), restored);
        }
        if let Some(leader) = &metadata.leader
            && group.members.contains_key(leader)
        {
            group.leader = Some(leader.clone());
        }
        if !group.members.is_empty() {
            group.state = GroupState::Stable;
        }
        group
    }

    /// Returns the group's record for `__consumer_offsets`.
    pub fn record(&self) -> CoordinatorRecord {
        let members = self.members.iter().map(|(id, member)| GroupMember {
            id: id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: member.session_timeout_ms,
            subscription: member
                .metadata(self.protocol_name.as_deref().unwrap_or_default())
                .to_vec(),
            assignment: member.assignment.to_vec(),
        });
        CoordinatorRecord::Group {
            group: (*self.id).to_owned(),
            value: Some(GroupValue {
                protocol_type: self.protocol_type.clone().unwrap_or_default(),
                generation: self.generation,
                protocol: self.protocol_name.clone(),
                leader: self.leader.clone(),
                state_ms: self.state_timestamp_ms,
                members: members.collect(),
            }),
        }
    }

    pub fn enter(&mut self, state: GroupState, append_ms: i64) {
        self.state = state;
        self.state_timestamp_ms = Some(append_ms);
    }

    pub fn is(&self, state: GroupState) -> bool {
        self.state == state
    }

    pub fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    pub fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// Returns whether a member that offers these protocols may join: one protocol must be common
    /// to all.
    pub fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.is(GroupState::Empty) || self.members.is_empty() {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols
                .iter()
                .any(|offered| self.is_common(&offered.name))
    }

    fn is_common(&self, protocol: &str) -> bool {
        self.supported.get(protocol) == Some(&self.members.len())
    }

    /// Checks that a request comes from a current member.
    ///
    /// # Errors
    /// `UNKNOWN_MEMBER_ID`; `FENCED_INSTANCE_ID` if another member has taken the instance id since
    /// (KIP-345).
    pub fn validate(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance_id) = instance_id {
            match self.static_members.get(instance_id) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(current) if current != member_id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) {
            Ok(())
        } else {
            Err(ErrorCode::UnknownMemberId)
        }
    }

    pub fn insert(&mut self, member_id: String, member: Member) {
        self.pending.remove(&member_id);
        self.count_protocols(&member.protocols);
        if let Some(instance_id) = &member.instance_id {
            self.static_members
                .insert(instance_id.clone(), member_id.clone());
        }
        self.leader.get_or_insert_with(|| member_id.clone());
        self.members.insert(member_id, member);
    }

    /// Removes and returns the member, including its unanswered requests.
    pub fn remove(&mut self, member_id: &str) -> Option<Member> {
        self.pending.remove(member_id);
        self.pending_sync.remove(member_id);
        let member = self.members.remove(member_id)?;
        self.discount_protocols(&member.protocols);
        if let Some(instance_id) = &member.instance_id
            && self
                .static_members
                .get(instance_id)
                .is_some_and(|id| id == member_id)
        {
            self.static_members.remove(instance_id);
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(member)
    }

    /// Gives a static member its next id. Returns the unanswered requests of the former holder of
    /// the instance id.
    pub fn replace_static(
        &mut self,
        instance_id: &str,
        old_id: &str,
        new_id: &str,
    ) -> (Option<Token>, Option<Token>) {
        let Some(mut member) = self.members.remove(old_id) else {
            return (None, None);
        };
        let owed = (member.awaiting_join.take(), member.awaiting_sync.take());
        self.members.insert(new_id.to_owned(), member);
        self.static_members
            .insert(instance_id.to_owned(), new_id.to_owned());
        if self.pending_sync.remove(old_id) {
            self.pending_sync.insert(new_id.to_owned());
        }
        if self.is_leader(old_id) {
            self.leader = Some(new_id.to_owned());
        }
        owed
    }

    pub fn set_protocols(&mut self, member_id: &str, protocols: Vec<Protocol>) {
        if !self.members.contains_key(member_id) {
            return;
        }
        self.count_protocols(&protocols);
        let member = self.members.get_mut(member_id);
        let former = member.map(|member| core::mem::replace(&mut member.protocols, protocols));
        self.discount_protocols(&former.unwrap_or_default());
    }

    fn count_protocols(&mut self, protocols: &[Protocol]) {
        for name in distinct(protocols) {
            *self.supported.entry(name.to_owned()).or_default() += 1;
        }
    }

    fn discount_protocols(&mut self, protocols: &[Protocol]) {
        for name in distinct(protocols) {
            if let Some(count) = self.supported.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    self.supported.remove(name);
                }
            }
        }
    }

    /// Selects a protocol: each member votes for the first of its protocols that all members
    /// support; the most votes win, and the first by name among equals.
    pub fn select_protocol(&self) -> Option<String> {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let vote = member
                .protocols
                .iter()
                .find(|offered| self.is_common(&offered.name))?;
            *votes.entry(&vote.name).or_default() += 1;
        }
        let most = votes.values().copied().max()?;
        votes
            .into_iter()
            .find(|(_, count)| *count == most)
            .map(|(name, _)| name.to_owned())
    }

    pub fn awaiting_join(&self) -> usize {
        self.members
            .values()
            .filter(|member| member.awaiting_join.is_some())
            .count()
    }

    pub fn has_all_joined(&self) -> bool {
        self.pending.is_empty() && self.awaiting_join() == self.members.len()
    }

    pub fn metadata_bytes(&self) -> usize {
        self.members.values().map(Member::metadata_bytes).sum()
    }

    /// Returns the bytes that the members hold, as
    /// [`GROUPS_BYTES_MAX`](crate::groups::limits::GROUPS_BYTES_MAX) counts.
    pub fn bytes(&self) -> usize {
        self.members.len() * MEMBER_BYTES + self.metadata_bytes() + self.assignment_bytes()
    }

    pub fn assignment_bytes(&self) -> usize {
        let assignments = self.members.values().map(|member| member.assignment.len());
        assignments.sum()
    }

    /// Returns the longest of the members' rebalance timeouts.
    pub fn rebalance_timeout_ms(&self) -> u64 {
        let timeouts = self
            .members
            .values()
            .map(|member| millis(member.rebalance_timeout_ms));
        timeouts.max().unwrap_or(0)
    }

    /// Makes one of the waiting members the leader, unless the leader itself is waiting. Returns
    /// false if no member is waiting.
    pub fn elect_joined_leader(&mut self) -> bool {
        let waits = |member: &Member| member.awaiting_join.is_some();
        let leader = self
            .leader
            .as_ref()
            .and_then(|leader| self.members.get(leader));
        if leader.is_some_and(waits) {
            return true;
        }
        let next = self.members.iter().find(|(_, member)| waits(member));
        match next.map(|(id, _)| id.clone()) {
            Some(id) => {
                self.leader = Some(id);
                true
            }
            None => false,
        }
    }

    /// Returns all members with their metadata for the chosen protocol, for the leader's answer.
    pub fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol_name.as_deref().unwrap_or_default();
        let members = self.members.iter().map(|(id, member)| JoinedMember {
            member_id: id.clone(),
            group_instance_id: member.instance_id.clone(),
            metadata: member.metadata(protocol),
        });
        members.collect()
    }

    /// Returns the topics that the members consume; `None` if that cannot be determined.
    pub fn subscribed_topics(&self) -> Option<BTreeSet<String>> {
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        if !self.uses_consumer_protocol() {
            return None;
        }
        let protocol = self.protocol_name.as_deref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            topics.extend(embedded::topics(&member.metadata(protocol))?);
        }
        Some(topics)
    }

    /// When the group next needs a tick.
    pub fn next_deadline(&self) -> Option<u64> {
        let sessions = self.members.values().filter(|member| member.may_expire());
        let sessions = sessions.map(|member| member.session_deadline);
        let pending = self.pending.values().copied();
        let timers = [
            self.join_timer.map(JoinTimer::at),
            self.sync_timer,
            self.save_at,
        ];
        sessions
            .chain(pending)
            .chain(timers.into_iter().flatten())
            .min()
    }
}

fn restored_member(group: &GroupValue, member: &GroupMember, now: u64) -> Member {
    let protocols = group.protocol.iter().map(|name| Protocol {
        name: name.clone(),
        metadata: Bytes::from(member.subscription.clone()),
    });
    let mut restored = Member {
        instance_id: member.instance_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        session_timeout_ms: member.session_timeout_ms,
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        protocols: protocols.collect(),
        assignment: Bytes::from(member.assignment.clone()),
        awaiting_join: None,
        awaiting_sync: None,
        is_new: false,
        session_deadline: 0,
    };
    restored.beat(now);
    restored
}

/// Returns the distinct names: a client may name a protocol twice, and it counts once.
fn distinct(protocols: &[Protocol]) -> BTreeSet<&str> {
    protocols
        .iter()
        .map(|offered| offered.name.as_str())
        .collect()
}

pub fn millis(timeout_ms: i32) -> u64 {
    u64::try_from(timeout_ms).unwrap_or(0)
}

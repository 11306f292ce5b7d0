//! A group of any kind: what the coordinator, administrators, offsets and expiry ask of it.
//!
//! An id belongs to one group, and so to one kind. A new kind of group is a variant here, a folder
//! beside `classic/`, and handlers of its own requests.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::sync::Arc;

use sedge_protocol::ErrorCode;
use sedge_protocol::coordinator::GroupValue;

use super::classic::{ClassicGroup, GroupState};
use super::config::GroupConfig;
use super::expiry::Expiry;
use super::limits;
use super::messages::{Actions, Committer, GroupDescription, GroupListing};
use crate::machine::Now;

/// A group, and what the coordinator notes of it.
#[derive(Debug)]
pub struct Entry {
    pub group: Group,
    /// The group's time in the coordinator's schedule; may be early, never late.
    pub scheduled_at: Option<u64>,
    /// What the coordinator has counted of [`Group::bytes`].
    pub counted_bytes: usize,
}

impl Entry {
    pub fn new(group: Group) -> Self {
        Self {
            group,
            scheduled_at: None,
            counted_bytes: 0,
        }
    }
}

/// A group, by its kind.
#[derive(Debug)]
pub enum Group {
    Classic(ClassicGroup),
}

impl Group {
    /// A group without members, which only keeps offsets. It is of the classic kind until members
    /// of another one join.
    pub fn new(id: Arc<str>, append_ms: i64) -> Self {
        Self::Classic(ClassicGroup::new(id, append_ms))
    }

    /// The group as its record has it.
    pub fn restored(id: Arc<str>, value: &GroupValue, now: Now) -> Self {
        Self::Classic(ClassicGroup::restored(id, value, now))
    }

    pub fn id(&self) -> &Arc<str> {
        let Self::Classic(group) = self;
        &group.id
    }

    pub fn classic(&self) -> &ClassicGroup {
        let Self::Classic(group) = self;
        group
    }

    pub fn classic_mut(&mut self) -> &mut ClassicGroup {
        let Self::Classic(group) = self;
        group
    }

    // What administrators ask.

    pub fn describe(&self) -> GroupDescription {
        let Self::Classic(group) = self;
        group.describe()
    }

    pub fn listing(&self) -> GroupListing {
        let Self::Classic(group) = self;
        group.listing()
    }

    pub fn is(&self, state: GroupState) -> bool {
        let Self::Classic(group) = self;
        group.is(state)
    }

    /// Whether the group has no members: only then may it be deleted.
    pub fn is_empty(&self) -> bool {
        let Self::Classic(group) = self;
        group.is(GroupState::Empty)
    }

    // What offsets and their expiry ask.

    /// # Errors
    /// The committer is not a member, or not of this generation; or a rebalance is under way.
    pub fn check_commit(&mut self, now: Now, committer: &Committer) -> Result<(), ErrorCode> {
        let Self::Classic(group) = self;
        group.check_commit(now, committer)
    }

    /// # Errors
    /// `NON_EMPTY_GROUP`: what the members consume is not known.
    pub fn check_offset_delete(&self) -> Result<(), ErrorCode> {
        let Self::Classic(group) = self;
        group.check_offset_delete()
    }

    /// Returns the topics that the members consume; `None` if that cannot be known.
    pub fn subscribed_topics(&self) -> Option<BTreeSet<String>> {
        let Self::Classic(group) = self;
        group.subscribed_topics()
    }

    /// Returns how the group's offsets age; `None` if they do not while the group is as it is.
    pub fn expiry(&self) -> Option<Expiry> {
        let Self::Classic(group) = self;
        group.expiry()
    }

    /// Whether the group has no members, and nobody is about to become one.
    pub fn is_abandoned(&self) -> bool {
        let Self::Classic(group) = self;
        group.is(GroupState::Empty) && group.pending.is_empty()
    }

    /// Whether the group is abandoned and never had members.
    pub fn came_to_nothing(&self) -> bool {
        let Self::Classic(group) = self;
        group.generation == 0 && self.is_abandoned()
    }

    // What the coordinator asks.

    /// What the members hold, as [`limits::GROUPS_BYTES_MAX`] counts.
    pub fn bytes(&self) -> usize {
        let Self::Classic(group) = self;
        group.bytes()
    }

    /// When the group next needs a tick.
    pub fn next_deadline(&self) -> Option<u64> {
        let Self::Classic(group) = self;
        group.next_deadline()
    }

    pub fn tick(&mut self, now: Now, config: &GroupConfig, actions: &mut Actions) {
        let Self::Classic(group) = self;
        group.tick(now, config, actions);
    }

    /// The group's record could not be written: a later tick offers it again.
    pub fn handle_save_failed(&mut self, now: Now) {
        let Self::Classic(group) = self;
        group.save_at = Some(now.monotonic_ms.saturating_add(limits::SAVE_RETRY_MS));
    }
}

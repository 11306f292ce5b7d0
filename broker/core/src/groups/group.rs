//! A group of any kind: the operations that the coordinator, administrators, offsets and expiry
//! need.
//!
//! An id belongs to one group, and so to one kind. A new kind of group needs a variant here, a
//! folder beside `classic/`, and handlers for its requests.

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

/// A group, with the coordinator's notes about it.
#[derive(Debug)]
pub struct Entry {
    pub group: Group,
    /// The group's time in the coordinator's schedule; may be early, never late.
    pub scheduled_at: Option<u64>,
    /// The last [`Group::bytes`] that the coordinator has counted.
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
    /// Creates a group without members, which only stores offsets. It is of the classic kind until
    /// members of another kind join.
    pub fn new(id: Arc<str>, append_ms: i64) -> Self {
        Self::Classic(ClassicGroup::new(id, append_ms))
    }

    /// Restores a group from its record.
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

    // For administrators.

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

    /// Returns whether the group has no members. Only such a group may be deleted.
    pub fn is_empty(&self) -> bool {
        let Self::Classic(group) = self;
        group.is(GroupState::Empty)
    }

    // For offsets and their expiry.

    /// Checks a commit.
    ///
    /// # Errors
    /// The committer is not a member, or not of this generation; or a rebalance is in progress.
    pub fn check_commit(&mut self, now: Now, committer: &Committer) -> Result<(), ErrorCode> {
        let Self::Classic(group) = self;
        group.check_commit(now, committer)
    }

    /// Checks that offsets may be deleted.
    ///
    /// # Errors
    /// `NON_EMPTY_GROUP`: the topics that the members consume are not known.
    pub fn check_offset_delete(&self) -> Result<(), ErrorCode> {
        let Self::Classic(group) = self;
        group.check_offset_delete()
    }

    /// Returns the topics that the members consume; `None` if that cannot be determined.
    pub fn subscribed_topics(&self) -> Option<BTreeSet<String>> {
        let Self::Classic(group) = self;
        group.subscribed_topics()
    }

    /// Returns how the group's offsets age; `None` if they do not age in its current state.
    pub fn expiry(&self) -> Option<Expiry> {
        let Self::Classic(group) = self;
        group.expiry()
    }

    /// Returns whether the group has no members, and no client is about to join.
    pub fn is_abandoned(&self) -> bool {
        let Self::Classic(group) = self;
        group.is(GroupState::Empty) && group.pending.is_empty()
    }

    /// Returns whether the group is abandoned and never had members.
    pub fn came_to_nothing(&self) -> bool {
        let Self::Classic(group) = self;
        group.generation == 0 && self.is_abandoned()
    }

    // For the coordinator.

    /// Returns the bytes that the members hold, as [`limits::GROUPS_BYTES_MAX`] counts.
    pub fn bytes(&self) -> usize {
        let Self::Classic(group) = self;
        group.bytes()
    }

    /// Returns when the group next needs a tick.
    pub fn next_deadline(&self) -> Option<u64> {
        let Self::Classic(group) = self;
        group.next_deadline()
    }

    pub fn tick(&mut self, now: Now, config: &GroupConfig, actions: &mut Actions) {
        let Self::Classic(group) = self;
        group.tick(now, config, actions);
    }

    /// Schedules another try to write the group's record after a failure.
    pub fn handle_save_failed(&mut self, now: Now) {
        let Self::Classic(group) = self;
        group.save_at = Some(now.monotonic_ms.saturating_add(limits::SAVE_RETRY_MS));
    }
}

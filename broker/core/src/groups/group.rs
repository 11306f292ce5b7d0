//! A group of any kind: the operations that the coordinator, administrators, offsets and expiry
//! need.
//!
//! An id belongs to one group, and so to one kind. A new kind of group needs a variant here, a
//! folder beside `classic/`, and handlers for its requests.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use sedge_protocol::ErrorCode;
use sedge_protocol::coordinator::{CoordinatorRecord, GroupValue};

use super::classic::{ClassicGroup, GroupState};
use super::consumer::ConsumerGroup;
use super::expiry::Expiry;
#[cfg(doc)]
use super::limits;
use super::messages::{Committer, GroupListing};
use crate::machine::Now;
use crate::offsets::OffsetToCommit;

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
    Consumer(ConsumerGroup),
}

impl Group {
    /// Creates a group without members, which only stores offsets. It is of the classic kind until
    /// members of another kind join.
    pub fn new(id: Arc<str>, append_ms: i64) -> Self {
        Self::Classic(ClassicGroup::new(id, append_ms))
    }

    /// Restores a classic group from its record.
    pub fn restored(id: Arc<str>, value: &GroupValue, now: Now) -> Self {
        Self::Classic(ClassicGroup::restored(id, value, now))
    }

    pub const fn id(&self) -> &Arc<str> {
        match self {
            Self::Classic(group) => &group.id,
            Self::Consumer(group) => &group.id,
        }
    }

    pub const fn as_classic(&self) -> Option<&ClassicGroup> {
        match self {
            Self::Classic(group) => Some(group),
            Self::Consumer(_) => None,
        }
    }

    pub const fn as_consumer(&self) -> Option<&ConsumerGroup> {
        match self {
            Self::Classic(_) => None,
            Self::Consumer(group) => Some(group),
        }
    }

    // For administrators.

    pub fn listing(&self) -> GroupListing {
        match self {
            Self::Classic(group) => group.listing(),
            Self::Consumer(group) => group.listing(),
        }
    }

    /// Returns whether the group has no members. Only such a group may be deleted.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Classic(group) => group.is(GroupState::Empty),
            Self::Consumer(group) => group.members.is_empty(),
        }
    }

    /// Returns the records that remove the group.
    pub fn removals(&self) -> Vec<CoordinatorRecord> {
        match self {
            Self::Classic(group) => vec![CoordinatorRecord::Group {
                group: (*group.id).to_owned(),
                value: None,
            }],
            Self::Consumer(group) => group.removals(),
        }
    }

    // For offsets and their expiry.

    /// Checks a commit.
    ///
    /// # Errors
    /// The committer is not a member, or not of this generation; or a rebalance is in progress.
    pub fn check_commit(
        &mut self,
        now: Now,
        committer: &Committer,
        is_transactional: bool,
        offsets: &[OffsetToCommit],
    ) -> Result<(), ErrorCode> {
        match self {
            Self::Classic(group) => group.check_commit(now, committer),
            Self::Consumer(group) => group.check_commit(committer, is_transactional, offsets),
        }
    }

    /// Checks that offsets may be deleted.
    ///
    /// # Errors
    /// `NON_EMPTY_GROUP`: the topics that the members consume are not known.
    pub fn check_offset_delete(&self) -> Result<(), ErrorCode> {
        match self {
            Self::Classic(group) => group.check_offset_delete(),
            Self::Consumer(_) => Ok(()),
        }
    }

    /// Returns the topics that the members consume; `None` if that cannot be determined.
    pub fn subscribed_topics(&self) -> Option<BTreeSet<String>> {
        match self {
            Self::Classic(group) => group.subscribed_topics(),
            Self::Consumer(group) => {
                let topics = group.subscribed_topics().into_iter();
                Some(topics.map(ToOwned::to_owned).collect())
            }
        }
    }

    /// Returns how the group's offsets age; `None` if they do not age in its current state.
    pub fn expiry(&self) -> Option<Expiry> {
        match self {
            Self::Classic(group) => group.expiry(),
            Self::Consumer(group) => Some(group.expiry()),
        }
    }

    /// Returns whether the group has no members, and no client is about to join.
    pub fn is_abandoned(&self) -> bool {
        match self {
            Self::Classic(group) => group.is(GroupState::Empty) && group.pending.is_empty(),
            Self::Consumer(group) => group.members.is_empty(),
        }
    }

    /// Returns whether the group is abandoned and never had members.
    pub fn came_to_nothing(&self) -> bool {
        let is_new = match self {
            Self::Classic(group) => group.generation == 0,
            Self::Consumer(group) => group.epoch == 0,
        };
        is_new && self.is_abandoned()
    }

    // For the coordinator.

    /// Returns the bytes that the members hold, as [`limits::GROUPS_BYTES_MAX`] counts.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Classic(group) => group.bytes(),
            Self::Consumer(group) => group.bytes(),
        }
    }

    /// Returns when the group next needs a tick.
    pub fn next_deadline(&self) -> Option<u64> {
        match self {
            Self::Classic(group) => group.next_deadline(),
            Self::Consumer(group) => group.next_deadline(),
        }
    }
}

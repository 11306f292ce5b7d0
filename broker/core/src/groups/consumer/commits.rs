//! Decides who may commit, fetch and delete a group's offsets, and how they age.
//!
//! Source: Kafka's `ConsumerGroup.validateOffsetCommit`, `validateOffsetFetch`,
//! `offsetExpirationCondition`.

use alloc::borrow::ToOwned;

use sedge_protocol::ErrorCode;

use super::group::ConsumerGroup;
use super::member::Member;
use crate::groups::expiry::Expiry;
use crate::groups::messages::Committer;
use crate::offsets::OffsetToCommit;

impl ConsumerGroup {
    /// Checks a commit by its member and epoch. A member that is behind may commit what it had at
    /// its epoch and still has (KIP-1251).
    ///
    /// # Errors
    /// The committer is no member; `STALE_MEMBER_EPOCH` (`ILLEGAL_GENERATION` for the classic
    /// protocol and in transactions) if it has another epoch; `UNSUPPORTED_VERSION` if its request
    /// has no epochs.
    pub fn check_commit(
        &self,
        committer: &Committer,
        is_transactional: bool,
        offsets: &[OffsetToCommit],
    ) -> Result<(), ErrorCode> {
        let epoch = committer.generation_id;
        if epoch < 0 && self.members.is_empty() {
            return Ok(());
        }
        let is_outside = committer.member_id.is_empty() && committer.group_instance_id.is_none();
        if is_transactional && epoch == -1 && is_outside {
            // The producer did not say which consumer it commits for.
            return Ok(());
        }
        let member = self.members.get(&committer.member_id);
        let member = member.ok_or(ErrorCode::UnknownMemberId)?;
        if !is_transactional && member.classic.is_none() && !committer.knows_member_epochs {
            return Err(ErrorCode::UnsupportedVersion);
        }
        let had = |offset: &OffsetToCommit| {
            let since = member.epoch_of(offset.topic_id.into(), offset.partition.get());
            since.is_some_and(|since| since <= epoch)
        };
        if epoch < member.epoch && offsets.iter().all(had) {
            return Ok(());
        }
        let checked = check_epoch(member, epoch);
        if is_transactional {
            // No version of TxnOffsetCommit knows the other error.
            return checked.map_err(|_| ErrorCode::IllegalGeneration);
        }
        checked
    }

    /// Checks who fetches offsets: a member by its id and epoch, or a client without them.
    ///
    /// # Errors
    /// As for [`check_commit`](Self::check_commit).
    pub fn check_fetch(&self, member_id: Option<&str>, epoch: i32) -> Result<(), ErrorCode> {
        if member_id.is_none() && epoch < 0 {
            return Ok(());
        }
        let member = member_id.and_then(|member_id| self.members.get(member_id));
        check_epoch(member.ok_or(ErrorCode::UnknownMemberId)?, epoch)
    }

    /// Returns how the group's offsets age: those of topics to which members subscribe do not, the
    /// others age from their commit.
    pub fn expiry(&self) -> Expiry {
        let subscribed = self.subscribed_topics().into_iter();
        Expiry {
            subscribed: subscribed.map(ToOwned::to_owned).collect(),
            emptied_ms: None,
        }
    }
}

fn check_epoch(member: &Member, epoch: i32) -> Result<(), ErrorCode> {
    if epoch == member.epoch {
        return Ok(());
    }
    Err(if member.classic.is_some() {
        ErrorCode::IllegalGeneration
    } else {
        ErrorCode::StaleMemberEpoch
    })
}

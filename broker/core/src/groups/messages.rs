//! Input and output of the coordinator: plain data, independent of API versions, which the handlers
//! know.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;
use sedge_protocol::ErrorCode;

use sedge_protocol::coordinator::CoordinatorRecord;

use crate::machine::Now;
use crate::metadata::Image;
use crate::shard;

pub use crate::shard::Token;

/// The effects of a step of the coordinator.
pub type Actions = shard::Actions<CoordinatorRecord, ReplyBody>;

/// An answer that is known at once, and the step's effects.
pub type Planned<R> = shard::Planned<R, CoordinatorRecord, ReplyBody>;

/// The deferred answer to a JoinGroup or a SyncGroup.
pub type Reply = shard::Reply<ReplyBody>;

impl Actions {
    pub(super) fn join(&mut self, token: Token, reply: JoinReply) {
        self.now.push(Reply {
            token,
            body: ReplyBody::Join(reply),
        });
    }

    pub(super) fn join_refused(&mut self, token: Token, error: ErrorCode, member_id: &str) {
        self.join(
            token,
            Err(JoinRefused {
                error,
                member_id: member_id.into(),
            }),
        );
    }

    pub(super) fn sync(&mut self, token: Token, reply: SyncReply) {
        self.now.push(Reply {
            token,
            body: ReplyBody::Sync(reply),
        });
    }

    pub(super) fn sync_then(&mut self, token: Token, reply: SyncReply) {
        self.then.push(Reply {
            token,
            body: ReplyBody::Sync(reply),
        });
    }

    pub(super) fn join_then(&mut self, token: Token, reply: JoinReply) {
        self.then.push(Reply {
            token,
            body: ReplyBody::Join(reply),
        });
    }
}

#[derive(Debug)]
pub enum ReplyBody {
    Join(JoinReply),
    Sync(SyncReply),
}

impl ReplyBody {
    /// Turns the reply into an error, if the records that it depends on could not be written.
    #[must_use]
    pub fn into_refusal(self, error: ErrorCode) -> Self {
        match self {
            Self::Join(reply) => {
                let member_id = match reply {
                    Ok(joined) => joined.member_id,
                    Err(refused) => refused.member_id,
                };
                Self::Join(Err(JoinRefused { error, member_id }))
            }
            Self::Sync(_) => Self::Sync(Err(error)),
        }
    }
}

/// Who asks, besides what the request says.
#[derive(Clone, Copy)]
pub struct Asker<'a> {
    pub now: Now,
    /// The metadata, at least as new as in [`handle_image`](crate::shard::Shard::handle_image).
    pub image: &'a Image,
    /// Whether the client may see a topic, if regular expressions are to be resolved for it.
    pub may_describe: Option<&'a dyn Fn(&str) -> bool>,
}

impl fmt::Debug for Asker<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asker").finish_non_exhaustive()
    }
}

/// A protocol (assignor) that a member offers, with the member's metadata for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    pub name: String,
    pub metadata: Bytes,
}

#[derive(Clone, Debug)]
pub struct JoinRequest {
    pub group_id: String,
    /// The member's id; empty for a new member.
    pub member_id: String,
    /// KIP-345: the static member's name, if it has one.
    pub group_instance_id: Option<String>,
    pub client_id: String,
    /// The client's host in the form that `DescribeGroups` shows: `/127.0.0.1`.
    pub client_host: String,
    pub session_timeout_ms: i32,
    /// The rebalance timeout; the session timeout if the request's version (0) has none.
    pub rebalance_timeout_ms: i32,
    pub protocol_type: String,
    /// The protocols in the member's order of preference.
    pub protocols: Vec<Protocol>,
    /// KIP-394, from version 4: a new dynamic member is first told its id.
    pub requires_known_member_id: bool,
    /// KIP-814, from version 9: a returning static leader need not assign.
    pub supports_skipping_assignment: bool,
}

impl JoinRequest {
    /// Returns the bytes of the protocols' metadata.
    #[must_use]
    pub fn metadata_bytes(&self) -> usize {
        let metadata = self.protocols.iter().map(|offered| offered.metadata.len());
        metadata.sum()
    }
}

pub type JoinReply = Result<Joined, JoinRefused>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    pub generation_id: i32,
    pub protocol_type: Option<String>,
    pub protocol_name: Option<String>,
    pub leader: String,
    pub skip_assignment: bool,
    pub member_id: String,
    /// For the leader only: all members, with their metadata for the chosen protocol.
    pub members: Vec<JoinedMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    pub member_id: String,
    pub group_instance_id: Option<String>,
    pub metadata: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRefused {
    pub error: ErrorCode,
    pub member_id: String,
}

#[derive(Clone, Debug)]
pub struct SyncRequest {
    pub group_id: String,
    pub generation_id: i32,
    pub member_id: String,
    pub group_instance_id: Option<String>,
    /// Both are `None` before version 5: not checked.
    pub protocol_type: Option<String>,
    pub protocol_name: Option<String>,
    /// From the leader: member ids and assignments.
    pub assignments: Vec<(String, Bytes)>,
}

pub type SyncReply = Result<Synced, ErrorCode>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    pub protocol_type: Option<String>,
    pub protocol_name: Option<String>,
    pub assignment: Bytes,
}

#[derive(Clone, Debug)]
pub struct HeartbeatRequest {
    pub group_id: String,
    pub generation_id: i32,
    pub member_id: String,
    pub group_instance_id: Option<String>,
}

#[derive(Clone, Debug)]
pub struct LeaveRequest {
    pub group_id: String,
    /// The leaving members; one before version 3.
    pub members: Vec<LeavingMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeavingMember {
    /// The member's id; empty if an administrator removes a static member by its instance id.
    pub member_id: String,
    pub group_instance_id: Option<String>,
}

/// The group's error, or each member's in the order of the request.
pub type LeaveReply = Result<Vec<Result<(), ErrorCode>>, ErrorCode>;

/// The client that commits offsets: a member, or (all fields at their defaults) a consumer outside
/// group management.
#[derive(Clone, Debug)]
pub struct Committer {
    pub group_id: String,
    /// The generation; negative outside group management.
    pub generation_id: i32,
    pub member_id: String,
    pub group_instance_id: Option<String>,
    /// From version 9, an unknown group gives `GROUP_ID_NOT_FOUND`, before that
    /// `ILLEGAL_GENERATION`. Only from version 9 may a member of the consumer protocol commit.
    pub knows_member_epochs: bool,
}

/// A group as `DescribeGroups` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    pub state: &'static str,
    pub protocol_type: String,
    /// The chosen protocol; empty unless the group is stable.
    pub protocol: String,
    pub members: Vec<MemberDescription>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberDescription {
    pub member_id: String,
    pub group_instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    /// The member's metadata; empty unless the group is stable.
    pub metadata: Bytes,
    pub assignment: Bytes,
}

/// A group as `ListGroups` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupListing {
    pub group_id: String,
    pub protocol_type: String,
    pub state: &'static str,
    /// `classic` or `consumer`.
    pub group_type: &'static str,
    /// The number of members.
    pub members: usize,
}

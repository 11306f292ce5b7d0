//! Bounds of the group coordinator, each with its reason.

use crate::limits::{OFFSET_BYTES, OFFSET_GROUP_BYTES, OFFSET_TOPIC_BYTES, OFFSETS_BYTES_MAX};

/// Groups known at once. An empty one costs some hundred bytes; an edge device has tens.
pub const GROUPS_MAX: usize = 10_000;

/// Members of one group, even if `group.max.size` is larger (Kafka's default has no bound): the
/// leader's answer carries every member's metadata, and the group's record must fit into one batch.
pub const GROUP_MEMBERS_MAX: usize = 1_000;

/// Members that were told their id and have not joined with it yet. Each entry lives for a session
/// timeout, and a client that never returns may ask again at once.
pub const GROUP_PENDING_MEMBERS_MAX: usize = 1_000;

/// Bytes of an id or a name in a record, whose format allows 32 KiB. Requests could carry more.
pub const TEXT_BYTES_MAX: usize = 8 << 10;

/// Protocols (assignors) that one member may offer. Real clients offer one to four.
pub const MEMBER_PROTOCOLS_MAX: usize = 64;

/// Bytes of all the protocol metadata of one member. A subscription names topics; Streams adds its
/// tasks' state.
pub const MEMBER_METADATA_BYTES_MAX: usize = 1 << 20;

/// Bytes of the leader's assignments to all members together: they go into one record of the group.
pub const GROUP_ASSIGNMENT_BYTES_MAX: usize = 4 << 20;

/// Bytes of protocol metadata that one group may hold, over all its members.
pub const GROUP_METADATA_BYTES_MAX: usize = 8 << 20;

/// Bytes of members with their metadata and assignments, over all groups. Bounds memory, the view,
/// and what a trim writes.
pub const GROUPS_BYTES_MAX: usize = 32 << 20;

/// Bytes counted for a member, in addition to its metadata and its assignment.
pub const MEMBER_BYTES: usize = 512;

const _: () = assert!(
    GROUP_METADATA_BYTES_MAX + MEMBER_METADATA_BYTES_MAX + GROUP_ASSIGNMENT_BYTES_MAX
        <= GROUPS_BYTES_MAX,
    "the largest group fits"
);

/// Topics read from one member's subscription, if the coordinator decodes it.
pub const SUBSCRIPTION_TOPICS_MAX: usize = 100_000;

/// How long a new member's first JoinGroup may wait, whatever its session timeout: until it is
/// answered, the member does not know its id and cannot send heartbeats. Kafka's own constant
/// (`GroupCoordinator.NewMemberJoinTimeoutMs`).
pub const NEW_MEMBER_JOIN_TIMEOUT_MS: u64 = 5 * 60 * 1_000;

/// Delay before the coordinator retries writing a record that could not be written.
pub const SAVE_RETRY_MS: u64 = 1_000;

/// Groups checked in one step of the expiry of offsets, so that a tick stays short.
pub const EXPIRY_GROUPS_PER_TICK: usize = 256;

/// Shortest time that a rebalance waits for members to rejoin, so that a client's rebalance timeout
/// of 0 cannot make the coordinator spin.
pub const REJOIN_WAIT_MS_MIN: u64 = 100;

/// A commit that repeats the one before it is not written again within this time: consumers commit
/// every five seconds whether they moved or not, and flash wears. The only loss is the accuracy of
/// the time from which an unused offset expires after days.
pub const COMMIT_REFRESH_MS: i64 = 60_000;

/// Largest `offset.metadata.max.bytes`: what a record can hold.
pub const OFFSET_METADATA_BYTES_MAX: usize = 16 << 10;

const _: () = assert!(
    GROUPS_MAX * (OFFSET_GROUP_BYTES + OFFSET_TOPIC_BYTES + OFFSET_BYTES) <= OFFSETS_BYTES_MAX,
    "each group may commit"
);

/// Bytes of a regular expression of a subscription: room for a list of topics.
pub const REGEX_BYTES_MAX: usize = 4 << 10;

/// Bytes of a compiled regular expression. Each topic's name is matched against it, a step for each
/// byte of both at most, while no other group is served.
pub const REGEX_SIZE_MAX: usize = 64 << 10;

/// Shortest time between two resolutions of a group's regular expressions if topics come and go:
/// each costs a match for every topic.
pub const REGEX_REFRESH_MS_MIN: u64 = 1_000;
